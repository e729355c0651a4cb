import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';

import { useAccount } from './account';

interface CrowdState {
  per_second: number;
}

/** Simulated users, who change the project from the server's side. */
export function Crowd({ projectId }: { projectId: string }): ReactNode {
  const account = useAccount();
  const queryClient = useQueryClient();
  const [wanted, setWanted] = useState(20);
  const path = `/projects/${projectId}/crowd`;
  const queryKey = ['crowd', projectId];
  const state = useQuery({
    queryKey,
    queryFn: ({ signal }) => account.request<CrowdState>(path, { signal }),
    // it is no table's, so that nobody tells when it goes home
    refetchInterval: ({ state: { data } }) => (data?.per_second ? 2_000 : false),
  });
  const isHere = (state.data?.per_second ?? 0) > 0;

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
            if (isHere) void send(wanted);
          }}
        />
      </label>
      <button
        className={isHere ? '' : 'primary'}
        onClick={() => {
          void send(isHere ? 0 : wanted);
        }}
      >
        {isHere ? 'Send them home' : 'Let them work'}
      </button>
      <p className="note">Simulated users, for a minute.</p>
    </section>
  );
}
