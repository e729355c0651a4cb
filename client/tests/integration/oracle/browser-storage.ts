import { setTimeout as sleep } from 'node:timers/promises';

/** At most so long a storage takes. */
const DELAY_MS = 30;

/** A browser's storage, which sees whose data it is given. */
export class BrowserStorage {
  /** Who is signed in. */
  user: string | undefined;
  private readonly texts = new Map<string, string>();

  constructor(private readonly blame: (fault: string) => void) {}

  async getItem(key: string): Promise<string | undefined> {
    await this.delay();
    return this.texts.get(key);
  }

  async setItem(key: string, value: string): Promise<void> {
    const readers = [...value.matchAll(/"reader":"([^"]+)"/g)];
    if (readers.some(([, reader]) => reader !== this.user)) {
      this.blame('leak: stored what another user has read');
    }
    await this.delay();
    this.texts.set(key, value);
  }

  async removeItem(key: string): Promise<void> {
    await this.delay();
    this.texts.delete(key);
  }

  /** Nothing of anybody may be left. */
  expectEmpty(): void {
    if (this.texts.size > 0) this.blame('leak: something is stored after the sign-out');
  }

  private async delay(): Promise<void> {
    await sleep(Math.random() * DELAY_MS);
  }
}
