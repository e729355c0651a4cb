import { useMutationState, useQueryClient } from '@tanstack/react-query';
import type { Status } from 'neverstale';
import { useConnection } from 'neverstale/react';
import type { ReactNode } from 'react';

const OUTDATED: Partial<Record<Status, string>> = {
  connecting: 'Connecting',
  degraded: 'Not live',
  offline: 'Offline',
};

/** Says that the page may be outdated, what it caught up with, and what was not saved. */
export function Notice(props: { status: Status; caughtUp: ReadonlySet<string> }): ReactNode {
  const { status, caughtUp } = props;
  const connection = useConnection();
  const state = OUTDATED[status];
  const since = connection && ` since ${new Date(connection.info().since).toLocaleTimeString()}`;
  return (
    <>
      <p className="notice" data-status={status} aria-live="polite">
        {state === undefined
          ? describe(caughtUp)
          : `${state}${since ?? ''}: this page may be outdated. It catches up once it is connected.`}
      </p>
      <FailedChange />
    </>
  );
}

function describe(caughtUp: ReadonlySet<string>): string | undefined {
  if (caughtUp.size === 0) return undefined;
  if (caughtUp.has('everything')) return 'Caught up: everything was fetched again.';
  const changes = caughtUp.size === 1 ? 'a change' : `${caughtUp.size} changes`;
  return `Caught up with ${changes} made while this page was not live.`;
}

/** Says why the newest change of this user's own was not saved, until there is a newer one. */
function FailedChange(): ReactNode {
  const mutationCache = useQueryClient().getMutationCache();
  const mutations = useMutationState({
    select: (mutation) => ({ mutation, error: mutation.state.error }),
  });
  const newest = mutations.at(-1);
  if (!newest?.error) return null;
  return (
    <p className="problem" role="alert">
      Not saved: {newest.error.message}{' '}
      <button
        className="quiet"
        onClick={() => {
          mutationCache.remove(newest.mutation);
        }}
      >
        Dismiss
      </button>
    </p>
  );
}
