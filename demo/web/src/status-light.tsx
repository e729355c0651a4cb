import type { Status } from 'neverstale';
import { useConnectionStatus } from 'neverstale/react';
import { useSyncExternalStore, type ReactNode } from 'react';

import type { Link } from './link';

const TEXTS: Readonly<Record<Status, string>> = {
  connecting: 'Connecting',
  live: 'Live',
  degraded: 'Not live: trying again',
  offline: 'Offline',
  forbidden: 'No access',
};

export function StatusLight({ link }: { link: Link }): ReactNode {
  const status = useConnectionStatus();
  const isCut = useSyncExternalStore(link.subscribe, link.isCut);
  return (
    <span className="status">
      <span role="status" data-status={status} className="light">
        {TEXTS[status]}
      </span>
      <button
        role="switch"
        aria-checked={isCut}
        className="switch"
        onClick={() => {
          link.cut(!isCut);
        }}
      >
        Cut the socket
      </button>
    </span>
  );
}
