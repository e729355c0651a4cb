import type { Connection } from '../connection.js';
import type { NeverstaleEvent } from '../core/events.js';
import { History } from './history.js';
import type { Message, Statuses } from './messages.js';

/** The tab that holds the socket: opens the projects that any tab wants, and forwards events. */
export class Leader {
  private readonly history: History;
  private readonly opened = new Map<string, Map<string, () => void>>();
  private readonly stops: (() => void)[];
  private next = 0;
  private lastStatuses = '';

  constructor(
    private readonly id: string,
    readonly connection: Connection,
    private readonly send: {
      others: (message: Message) => void;
      self: (event: NeverstaleEvent) => void;
      status: (statuses: Statuses) => void;
    },
  ) {
    this.history = new History(connection.environment.now());
    this.stops = [
      connection.subscribe((event) => {
        this.forward(event);
      }),
      connection.onStatus(() => {
        this.sendStatus();
      }),
    ];
    send.others({ is: 'lead' });
  }

  /** Close the connection without sending a status to the other tabs: one of them takes over. */
  end(): void {
    for (const stop of this.stops) stop();
    this.connection.close();
  }

  join(message: Extract<Message, { is: 'join' }>): void {
    const cursors = this.connection.cursors();
    this.send.others({
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

  private forward(event: NeverstaleEvent): void {
    this.history.add(event, this.connection.environment.now());
    const cursors = this.connection.cursors();
    this.send.others({ is: 'event', leader: this.id, number: this.next, event, cursors });
    this.next += 1;
    this.send.self(event);
  }

  private sendStatus(): void {
    const statuses = this.statuses();
    const serialized = JSON.stringify(statuses);
    if (serialized === this.lastStatuses) return;
    this.lastStatuses = serialized;
    this.send.others({ is: 'status', leader: this.id, statuses });
    this.send.status(statuses);
  }

  private statuses(): Statuses {
    const ids = [...this.opened.values()].flatMap((projects) => [...projects.keys()]);
    const each = ids.map((id) => [id, this.connection.status(id)] as const);
    return { ...Object.fromEntries(each), '': this.connection.status() };
  }
}
