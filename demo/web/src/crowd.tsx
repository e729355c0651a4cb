import { useState, type ReactNode } from 'react';

import { Panel } from './parts';
import { useCrowd, useWrite } from './queries';

/** Controls simulated users that change the project on the server. */
export function CrowdPanel({ projectId }: { projectId: string }): ReactNode {
  const [wanted, setWanted] = useState(20);
  const crowd = useCrowd(projectId);
  const write = useWrite();
  const perSecond = crowd.data?.per_second ?? 0;

  const send = (per_second: number): void => {
    write.mutate({ method: 'PUT', path: `/projects/${projectId}/crowd`, body: { per_second } });
  };

  return (
    <Panel title="A crowd" query={crowd}>
      <label>
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
            if (perSecond > 0) send(wanted);
          }}
        />
      </label>
      <button
        className={perSecond > 0 ? '' : 'primary'}
        onClick={() => {
          send(perSecond > 0 ? 0 : wanted);
        }}
      >
        {perSecond > 0 ? 'Send them home' : 'Let them work'}
      </button>
      <p className="note">
        {perSecond > 0
          ? `At work: ${perSecond} a second, for a minute.`
          : 'Simulated users, for a minute.'}
      </p>
    </Panel>
  );
}
