import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';

import { useAccount } from './account';

interface CrowdState {
  per_second: number;
}

/** Controls simulated users that change the project on the server. */
export function Crowd({ projectId }: { projectId: string }): ReactNode {
  const account = useAccount();
  const queryClient = useQueryClient();
  const [wanted, setWanted] = useState(20);
  const path = `/projects/${projectId}/crowd`;
  const queryKey = ['crowd', projectId];
  const state = useQuery({
    queryKey,
    queryFn: ({ signal }) => account.request<CrowdState>(path, { signal }),
    // The crowd is not a table row, so no event reports when it stops.
    refetchInterval: ({ state: { data } }) => (data?.per_second ? 2_000 : false),
  });
  const isRunning = (state.data?.per_second ?? 0) > 0;

  const send = async (per_second: number): Promise<void> => {
    const now = await account.request<CrowdState>(path, { method: 'PUT', body: { per_second } });
    queryClient.setQueryData(queryKey, now);
  };

  return (
    <section className="panel" aria-label="A crowd">
      <h2>A crowd</h2>
      <label className="rate">
        <span>
          {wanted} {wanted === 1 ? 'change' : 'changes'} a second
        </span>
        <input
          type="range"
          min={1}
          max={200}
          value={wanted}
          onChange={(event) => {
            setWanted(event.target.valueAsNumber);
          }}
          onPointerUp={() => {
            if (isRunning) void send(wanted);
          }}
        />
      </label>
      <button
        className={isRunning ? '' : 'primary'}
        onClick={() => {
          void send(isRunning ? 0 : wanted);
        }}
      >
        {isRunning ? 'Send them home' : 'Let them work'}
      </button>
      <p className="note">Simulated users, for a minute.</p>
    </section>
  );
}
