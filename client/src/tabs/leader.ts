import type { Connection } from '../connection.js';
import type { NeverstaleEvent } from '../core/events.js';
import { History } from './history.js';
import type { Message, State } from './messages.js';

/** The tab that holds the socket: opens the projects that any tab wants, and forwards events. */
export class Leader {
  private readonly history: History;
  private readonly opened = new Map<string, Map<string, () => void>>();
  private readonly stops: (() => void)[];
  private next = 0;
  private lastState = '';

  constructor(
    private readonly id: string,
    readonly connection: Connection,
    private readonly send: {
      others: (message: Message) => void;
      self: (event: NeverstaleEvent) => void;
      state: (state: State) => void;
    },
  ) {
    this.history = new History(connection.environment.now());
    this.stops = [
      connection.subscribe((event) => {
        this.forward(event);
      }),
      connection.onStatus(() => {
        this.sendState();
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
      ...this.state(),
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

  private sendState(): void {
    const state = this.state();
    const serialized = JSON.stringify(state);
    if (serialized === this.lastState) return;
    this.lastState = serialized;
    this.send.others({ is: 'status', leader: this.id, ...state });
    this.send.state(state);
  }

  private state(): State {
    const ids = [...this.opened.values()].flatMap((projects) => [...projects.keys()]);
    const each = ids.map((id) => [id, this.connection.status(id)] as const);
    const statuses = { ...Object.fromEntries(each), '': this.connection.status() };
    return { statuses, info: this.connection.info() };
  }
}
