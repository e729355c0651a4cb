import type { Connection } from '../connection.js';
import type { NeverstaleEvent } from '../core/events.js';
import { History } from './history.js';
import type { Message, Statuses } from './messages.js';

/** The tab that holds the socket: opens what any tab wants, and hands on what it hears. */
export class Leader {
  private readonly history: History;
  private readonly opened = new Map<string, Map<string, () => void>>();
  private readonly stops: (() => void)[];
  private next = 0;
  private told = '';

  constructor(
    private readonly id: string,
    readonly connection: Connection,
    private readonly tell: {
      others: (message: Message) => void;
      self: (event: NeverstaleEvent) => void;
      status: (statuses: Statuses) => void;
    },
  ) {
    this.history = new History(connection.environment.now());
    this.stops = [
      connection.subscribe((event) => {
        this.hear(event);
      }),
      connection.onStatus(() => {
        this.tellStatus();
      }),
    ];
    tell.others({ is: 'lead' });
  }

  /** Closes the connection, of which nobody is told: another tab goes on. */
  end(): void {
    for (const stop of this.stops) stop();
    this.connection.close();
  }

  join(message: Extract<Message, { is: 'join' }>): void {
    const cursors = this.connection.cursors();
    this.tell.others({
      is: 'welcome',
      tab: message.tab,
      leader: this.id,
      next: this.next,
      missed: this.history.missed(message.cursors, message.loadedAt, cursors),
      cursors,
      statuses: this.statuses(),
    });
    this.want(message.tab, message.projectIds);
  }

  want(tab: string, projectIds: readonly string[]): void {
    const before = this.opened.get(tab) ?? new Map<string, () => void>();
    const after = projectIds.map((id) => [id, before.get(id) ?? this.connection.open(id)] as const);
    this.opened.set(tab, new Map(after));
    for (const [id, leave] of before) if (!projectIds.includes(id)) leave();
  }

  private hear(event: NeverstaleEvent): void {
    this.history.add(event, this.connection.environment.now());
    const cursors = this.connection.cursors();
    this.tell.others({ is: 'event', leader: this.id, number: this.next, event, cursors });
    this.next += 1;
    this.tell.self(event);
  }

  private tellStatus(): void {
    const statuses = this.statuses();
    const spelled = JSON.stringify(statuses);
    if (spelled === this.told) return;
    this.told = spelled;
    this.tell.others({ is: 'status', leader: this.id, statuses });
    this.tell.status(statuses);
  }

  private statuses(): Statuses {
    const ids = [...this.opened.values()].flatMap((projects) => [...projects.keys()]);
    const each = ids.map((id) => [id, this.connection.status(id)] as const);
    return { ...Object.fromEntries(each), '': this.connection.status() };
  }
}
