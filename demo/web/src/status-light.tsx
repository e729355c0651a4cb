import type { Status } from 'neverstale';
import { useConnection, useConnectionStatus } from 'neverstale/react';
import { useState, type ReactNode } from 'react';

const TEXTS: Readonly<Record<Status, string>> = {
  connecting: 'Connecting',
  live: 'Live',
  degraded: 'Not live',
  offline: 'Offline',
  forbidden: 'No access',
  unauthorized: 'Signed out',
};

export function StatusLight(): ReactNode {
  const connection = useConnection();
  const status = useConnectionStatus();
  const [isCut, setIsCut] = useState(false);
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
          setIsCut(!isCut);
          if (isCut) connection?.connect();
          else connection?.disconnect();
        }}
      >
        Cut the socket
      </button>
    </span>
  );
}
