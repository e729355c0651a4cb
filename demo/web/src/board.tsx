import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useState, type ReactNode } from 'react';

import { Card } from './card';
import { LineForm, NameDialog } from './parts';
import {
  keys,
  STATUSES,
  useProject,
  useSprints,
  useTasks,
  useWrite,
  type Task,
  type TaskStatus,
} from './queries';
import { Sightings } from './sightings';
import { Sprints } from './sprints';
import { COLUMNS, type TaskChange } from './task-dialog';

interface Lifted {
  id: string;
  title: string;
  status: TaskStatus;
  /** False once dropped: the card stays lifted until it has rendered in its column with focus. */
  isHeld: boolean;
}

export function Board({ projectId }: { projectId: string }): ReactNode {
  const queryClient = useQueryClient();
  const tasks = useTasks(projectId);
  const sprints = useSprints(projectId);
  const write = useWrite(keys.tasks(projectId));
  const [sightings] = useState(() => new Sightings());
  const [sprintId, setSprintId] = useState<string>();
  const [over, setOver] = useState<TaskStatus>();
  const [lifted, setLifted] = useState<Lifted>();
  const [announcement, setAnnouncement] = useState('');
  const path = `/projects/${projectId}/tasks`;

  useEffect(() => {
    if (tasks.data) sightings.markLoaded();
  }, [sightings, tasks.data]);

  const change = (id: string, what: TaskChange): void => {
    sightings.recordOwnChange(id);
    queryClient.setQueryData<Task[]>(keys.tasks(projectId), (now) =>
      now?.map((task) => (task.id === id ? { ...task, ...what } : task)),
    );
    write.mutate({ method: 'PATCH', path: `${path}/${id}`, body: what });
  };

  const release = (now: Lifted): void => {
    setLifted({ ...now, isHeld: false });
    setTimeout(() => {
      setLifted((later) => (later?.isHeld ? later : undefined));
    });
  };

  const onLiftKey = (event: React.KeyboardEvent, { id, title, status }: Task): void => {
    const isKnown = [' ', 'Enter', 'Escape', 'ArrowLeft', 'ArrowRight'].includes(event.key);
    if (!isKnown || (!lifted?.isHeld && event.key !== ' ' && event.key !== 'Enter')) return;
    event.preventDefault();
    if (!lifted?.isHeld) {
      setLifted({ id, title, status, isHeld: true });
      setAnnouncement(`${title} is lifted, in ${COLUMNS[status]}.`);
    } else if (event.key === 'Escape') {
      release({ ...lifted, status });
      setAnnouncement(`${title} stays where it was.`);
    } else if (event.key === ' ' || event.key === 'Enter') {
      change(id, { status: lifted.status });
      release(lifted);
      setAnnouncement(`${title} is dropped in ${COLUMNS[lifted.status]}.`);
    } else {
      const next = STATUSES[STATUSES.indexOf(lifted.status) + (event.key === 'ArrowLeft' ? -1 : 1)];
      if (!next) return;
      setLifted({ ...lifted, status: next });
      setAnnouncement(`${title} is over ${COLUMNS[next]}.`);
    }
  };

  const shown = (tasks.data ?? [])
    .filter((task) => sprintId === undefined || task.sprint_id === sprintId)
    .map((task) => ({ task, at: lifted?.id === task.id ? lifted.status : task.status }));

  return (
    <section className="board" aria-label="Board">
      <Heading projectId={projectId} />
      <Sprints projectId={projectId} chosen={sprintId} onChoose={setSprintId} />
      <p id="how-to-move" hidden>
        Space lifts it, left and right move it, space drops it, Escape puts it back.
      </p>
      <p className="unseen" aria-live="assertive">
        {announcement}
      </p>
      <div className="columns">
        {STATUSES.map((status) => {
          const here = shown.filter(({ at }) => at === status);
          return (
            <section
              key={status}
              className="column"
              data-column={status}
              data-over={over === status || undefined}
              aria-label={COLUMNS[status]}
            >
              <h2>
                {COLUMNS[status]} <span className="note">{here.length}</span>
              </h2>
              <ul>
                {here.map(({ task }) => (
                  <Card
                    key={task.id}
                    task={task}
                    sprints={sprints.data ?? []}
                    sightings={sightings}
                    isLifted={lifted?.id === task.id}
                    onOver={setOver}
                    onLiftKey={(event) => {
                      onLiftKey(event, task);
                    }}
                    onChange={(what) => {
                      change(task.id, what);
                    }}
                    onDelete={() => {
                      write.mutate({ method: 'DELETE', path: `${path}/${task.id}` });
                    }}
                  />
                ))}
              </ul>
            </section>
          );
        })}
      </div>
      <LineForm
        label="New task"
        button="Add task"
        onSubmit={(title) => {
          write.mutate(
            { method: 'POST', path, body: { title } },
            {
              onSuccess: (created) => {
                sightings.recordOwnChange((created as Task).id);
              },
            },
          );
        }}
      />
    </section>
  );
}

function Heading({ projectId }: { projectId: string }): ReactNode {
  const [isRenaming, setIsRenaming] = useState(false);
  const project = useProject(projectId);
  const write = useWrite(keys.project(projectId));
  const name = project.data?.name ?? '';
  return (
    <div className="heading">
      <h1>{name}</h1>
      {project.data?.is_owner && (
        <button
          className="quiet"
          onClick={() => {
            setIsRenaming(true);
          }}
        >
          Edit project
        </button>
      )}
      {isRenaming && (
        <NameDialog
          title="Project"
          name={name}
          onClose={() => {
            setIsRenaming(false);
          }}
          onRename={(changed) => {
            write.mutate({
              method: 'PATCH',
              path: `/projects/${projectId}`,
              body: { name: changed },
            });
          }}
          onDelete={() => {
            write.mutate({ method: 'DELETE', path: `/projects/${projectId}` });
          }}
        />
      )}
    </div>
  );
}
