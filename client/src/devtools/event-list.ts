import type { Change, Stale } from '../core/events.js';
import { element, setText } from './elements.js';
import type { AffectedQuery, Entry, EventEntry, Recorder, StatusEntry } from './recorder.js';
import { clock, count, explainReset } from './texts.js';

interface Row {
  readonly root: HTMLElement;
  readonly update: () => void;
}

/** The recorded entries, newest first. A row that was opened stays open. */
export class EventList {
  readonly root = element('ol', { class: 'events' });
  private readonly rows = new Map<Entry, Row>();
  private readonly empty = element('li', { class: 'soft' }, 'No event yet.');

  constructor(private readonly recorder: Recorder) {}

  update(): void {
    const { entries } = this.recorder;
    const kept = new Set(entries);
    for (const [entry, row] of this.rows) {
      if (kept.has(entry)) continue;
      row.root.remove();
      this.rows.delete(entry);
    }
    for (const entry of entries) {
      const row = this.rows.get(entry);
      if (row) row.update();
      else this.add(entry);
    }
    if (entries.length > 0) this.empty.remove();
    else this.root.append(this.empty);
  }

  private add(entry: Entry): void {
    const row = entry.kind === 'status' ? statusRow(entry) : eventRow(entry);
    this.rows.set(entry, row);
    this.root.prepend(row.root);
  }
}

function statusRow({ at, status, lastError }: StatusEntry): Row {
  const root = element(
    'li',
    { class: 'line' },
    time(at),
    element('span', { class: 'dot', 'data-status': status }),
    element('b', {}, status),
  );
  if (lastError !== undefined && status !== 'live') root.append(element('span', {}, lastError));
  return { root, update: () => undefined };
}

function eventRow({ at, event, queries }: EventEntry): Row {
  const outcome = element('span', { class: 'outcome' });
  const states = queries.map(({ queryHash }) => {
    const state = element('span');
    return { state, item: element('li', {}, element('code', {}, queryHash), state) };
  });
  const isReset = event.type === 'stale';
  const root = element(
    'li',
    {},
    element(
      'details',
      {},
      element(
        'summary',
        { class: 'line' },
        time(at),
        ...(isReset ? resetHead(event) : changeHead(event)),
        outcome,
      ),
      element('p', { class: 'soft' }, isReset ? resetText(event) : changeText(event)),
      element('ul', { class: 'rows' }, ...states.map(({ item }) => item)),
    ),
  );
  const update = (): void => {
    setText(outcome, summarize(queries));
    states.forEach(({ state }, index) => {
      const query = queries[index];
      if (!query) return;
      state.dataset.status = query.state;
      const took = query.tookMs === undefined ? '' : ` in ${query.tookMs} ms`;
      setText(state, query.state + (query.state === 'refetched' ? took : ''));
    });
  };
  update();
  return { root, update };
}

function changeHead({ resource, action, id }: Change): Node[] {
  return [element('b', {}, resource), element('span', {}, action), element('code', {}, id)];
}

function resetHead({ projectId, reason }: Stale): Node[] {
  return [
    element('b', { class: 'reset' }, 'reset'),
    element('span', {}, reason),
    element('code', {}, projectId ?? 'everything'),
  ];
}

function changeText({ projectId, timestamp }: Change): string {
  const where =
    projectId === null ? 'Of no project, for the user alone' : `Of project ${projectId}`;
  return `${where}; changed at ${timestamp}.`;
}

function resetText(event: Stale): string {
  const { fetchedBefore } = event;
  const bound =
    fetchedBefore === undefined ? '' : ` Only what was fetched before ${clock(fetchedBefore)}.`;
  return explainReset(event) + bound;
}

function summarize(queries: readonly AffectedQuery[]): string {
  if (queries.length === 0) return 'no query became stale';
  const of = (state: AffectedQuery['state']): number =>
    queries.filter((query) => query.state === state).length;
  const parts = (['refetched', 'fetching', 'failed'] as const)
    .filter((state) => of(state) > 0)
    .map((state) => `${of(state)} ${state}`);
  return [count(queries.length, 'query', 'queries') + ' stale', ...parts].join(', ');
}

function time(at: number): HTMLElement {
  return element('time', { datetime: new Date(at).toISOString() }, clock(at));
}
