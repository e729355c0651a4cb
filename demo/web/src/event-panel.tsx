import { useState, useSyncExternalStore, type ReactNode } from 'react';

import type { Entry, Journal } from './journal';

/** The newest invalidations: a panel, and where there is no space for it a strip that opens. */
export function EventPanel({ journal }: { journal: Journal }): ReactNode {
  const { entries, count, medianMs } = useSyncExternalStore(journal.subscribe, journal.read);
  const [isOpen, setIsOpen] = useState(false);
  const [newest] = entries;
  return (
    <section className="panel invalidations" data-open={isOpen || undefined}>
      <h2>Invalidations</h2>
      <button
        className="strip"
        aria-expanded={isOpen}
        onClick={() => {
          setIsOpen(!isOpen);
        }}
      >
        <span className={isOpen ? 'what' : 'unseen'}>Invalidations</span>
        {!isOpen && (newest ? <What entry={newest} /> : 'No invalidation yet')}
      </button>
      <dl className="numbers">
        <div>
          <dt>received</dt>
          <dd data-testid="count">{count}</dd>
        </div>
        <div>
          <dt>median latency</dt>
          <dd data-testid="median">{medianMs === undefined ? '–' : duration(medianMs)}</dd>
        </div>
      </dl>
      {newest === undefined && (
        <p className="note">Change something, here or in another tab: it shows up at once.</p>
      )}
      <ol className="events" tabIndex={0} aria-label="Newest invalidations">
        {entries.map((entry) => (
          <li key={entry.number}>
            <What entry={entry} />
            <code>{entry.detail}</code>
          </li>
        ))}
      </ol>
    </section>
  );
}

/** Cause and effect: what changed, and what was refetched for it. */
function What({ entry }: { entry: Entry }): ReactNode {
  const { title, latencyMs, isCaughtUp, refetched } = entry;
  return (
    <>
      <span className="what">
        <strong>{title}</strong>
        {isCaughtUp && <span className="tag">caught up</span>}
        {latencyMs !== undefined && <span className="latency">{duration(latencyMs)}</span>}
      </span>
      <span className="note">
        {refetched.length > 0 ? `refetched ${refetched.join(', ')}` : 'nothing on screen'}
      </span>
    </>
  );
}

function duration(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}
