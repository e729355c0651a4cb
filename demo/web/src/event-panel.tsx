import { useSyncExternalStore, type ReactNode } from 'react';

import { Crowd } from './crowd';
import type { Entry, Journal } from './journal';

/** A change received later than this after its commit was missed and then replayed. */
const LATE_MS = 1_500;

export function EventPanel(props: { journal: Journal; projectId: string | undefined }): ReactNode {
  const { entries, count, medianMs } = useSyncExternalStore(
    props.journal.subscribe,
    props.journal.read,
  );
  return (
    <aside className="live" aria-label="Events">
      {props.projectId !== undefined && <Crowd key={props.projectId} projectId={props.projectId} />}
      <section className="panel">
        <h2>Invalidations</h2>
        <dl className="numbers">
          <div>
            <dt>received</dt>
            <dd data-testid="count">{count}</dd>
          </div>
          <div>
            <dt>median latency</dt>
            <dd>{medianMs === undefined ? '–' : duration(medianMs)}</dd>
          </div>
        </dl>
        {entries.length === 0 && (
          <p className="note">Change something, here or in another tab: it shows up at once.</p>
        )}
        <ol className="events" tabIndex={0} aria-label="Newest invalidations">
          {entries.map((entry) => (
            <Event key={entry.number} entry={entry} />
          ))}
        </ol>
      </section>
      <p className="note">
        The same demo without the npm package: <a href="/plain/">the plain client</a>
      </p>
    </aside>
  );
}

function Event({ entry }: { entry: Entry }): ReactNode {
  const { title, detail, latencyMs, refetched } = entry;
  const isLate = latencyMs !== undefined && latencyMs > LATE_MS;
  return (
    <li>
      <span className="what">
        <strong>{title}</strong>
        {latencyMs !== undefined && (
          <span className="latency">
            {isLate && 'caught up after '}
            {duration(latencyMs)}
          </span>
        )}
      </span>
      <code>{detail}</code>
      <span className="note">
        {refetched.length > 0 ? `refetched ${refetched.join(', ')}` : 'nothing on screen'}
      </span>
    </li>
  );
}

function duration(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}
