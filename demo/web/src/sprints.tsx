import { useState, type ReactNode } from 'react';

import { LineForm, NameDialog } from './parts';
import { useSprints, useWrite, type Sprint } from './queries';

/** Filters the board by sprint, or shows all tasks. */
export function Sprints(props: {
  projectId: string;
  chosen: Sprint | undefined;
  onChoose: (sprintId: string | undefined) => void;
}): ReactNode {
  const { projectId, chosen: sprint, onChoose } = props;
  const [isRenaming, setIsRenaming] = useState(false);
  const sprints = useSprints(projectId);
  const write = useWrite();
  const path = `/projects/${projectId}/sprints`;

  return (
    <section className="sprints" aria-label="Sprints">
      {[{ id: undefined, name: 'All tasks' }, ...(sprints.data ?? [])].map(({ id, name }) => (
        <button
          key={id ?? ''}
          className="chip"
          aria-pressed={id === sprint?.id}
          onClick={() => {
            onChoose(id);
          }}
        >
          {name}
        </button>
      ))}
      {sprint && (
        <button
          className="quiet"
          onClick={() => {
            setIsRenaming(true);
          }}
        >
          Edit sprint
        </button>
      )}
      <LineForm
        label="New sprint"
        button="Add"
        onSubmit={(name) => {
          write.mutate({ method: 'POST', path, body: { name } });
        }}
      />
      {sprint && isRenaming && (
        <NameDialog
          title="Sprint"
          name={sprint.name}
          onClose={() => {
            setIsRenaming(false);
          }}
          onRename={(name) => {
            write.mutate({ method: 'PATCH', path: `${path}/${sprint.id}`, body: { name } });
          }}
          onDelete={() => {
            write.mutate({ method: 'DELETE', path: `${path}/${sprint.id}` });
          }}
        />
      )}
    </section>
  );
}
