import { useQueryClient } from '@tanstack/react-query';
import { useConnection } from 'neverstale/react';
import { useEffect, useState, type ReactNode } from 'react';

/** Shows the devtools of the npm package; `?devtools` opens them at once. Their code is loaded then. */
export function DevtoolsSwitch(): ReactNode {
  const connection = useConnection();
  const queryClient = useQueryClient();
  const [isOn, setIsOn] = useState(() => new URLSearchParams(location.search).has('devtools'));

  useEffect(() => {
    if (!isOn || !connection) return;
    const mounted = import('neverstale/devtools').then(({ mountDevtools }) =>
      mountDevtools(connection, queryClient, { initialIsOpen: true }),
    );
    return () => {
      void mounted.then((remove) => {
        remove();
      });
    };
  }, [isOn, connection, queryClient]);

  return (
    <button
      role="switch"
      aria-checked={isOn}
      className="switch devtools"
      onClick={() => {
        setIsOn(!isOn);
      }}
    >
      Devtools
    </button>
  );
}
