import { useEffect, useState, type ReactNode } from 'react';

import { Card } from './card';
import { LineForm, NameDialog, QueryState } from './parts';
import {
  STATUSES,
  useChangeTask,
  usePendingChanges,
  useProject,
  useSprints,
  useTasks,
  useWrite,
  type Task,
  type TaskChange,
  type TaskStatus,
} from './queries';
import { Sightings } from './sightings';
import { Sprints } from './sprints';
import { COLUMNS, TaskDialog } from './task-dialog';

interface Lifted {
  id: string;
  title: string;
  status: TaskStatus;
  /** False once dropped: the card stays lifted until it has rendered in its column with focus. */
  isHeld: boolean;
}

export function Board(props: {
  projectId: string;
  /** Ids of rows that changed while the page was not live. */
  caughtUp: ReadonlySet<string>;
}): ReactNode {
  const { projectId, caughtUp } = props;
  const tasks = useTasks(projectId);
  const sprints = useSprints(projectId);
  const pending = usePendingChanges();
  const { mutate: changeTask } = useChangeTask();
  const write = useWrite();
  const [sightings] = useState(() => new Sightings());
  const [sprintId, setSprintId] = useState<string>();
  const [over, setOver] = useState<TaskStatus>();
  const [lifted, setLifted] = useState<Lifted>();
  const [openId, setOpenId] = useState<string>();
  const [announcement, setAnnouncement] = useState('');
  const path = `/projects/${projectId}/tasks`;
  const sprint = sprints.data?.find(({ id }) => id === sprintId);

  useEffect(() => {
    if (tasks.data) sightings.markLoaded();
  }, [sightings, tasks.data]);

  const change = (id: string, fields: TaskChange['fields']): void => {
    changeTask({ projectId, id, fields });
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

  const all = (tasks.data ?? []).map((task) => withChanges(task, pending));
  const open = all.find(({ id }) => id === openId);
  const shown = all
    .filter((task) => sprint === undefined || task.sprint_id === sprint.id)
    .map((task) => ({ task, at: lifted?.id === task.id ? lifted.status : task.status }));

  return (
    <section className="board" aria-label="Board" aria-busy={tasks.isPending}>
      <Heading projectId={projectId} />
      <Sprints projectId={projectId} chosen={sprint} onChoose={setSprintId} />
      <QueryState query={tasks} />
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
                {COLUMNS[status]} <span className="note">{tasks.data ? here.length : ''}</span>
              </h2>
              <ul>
                {here.map(({ task }) => (
                  <Card
                    key={task.id}
                    task={task}
                    sprintName={sprints.data?.find(({ id }) => id === task.sprint_id)?.name}
                    sightings={sightings}
                    isPending={pending.some(({ id }) => id === task.id)}
                    isCaughtUp={caughtUp.has(task.id)}
                    isLifted={lifted?.id === task.id}
                    onOver={setOver}
                    onLiftKey={(event) => {
                      onLiftKey(event, task);
                    }}
                    onDrop={(dropped) => {
                      change(task.id, { status: dropped });
                    }}
                    onOpen={() => {
                      setOpenId(task.id);
                    }}
                  />
                ))}
                {tasks.data && here.length === 0 && <li className="note empty">No task</li>}
              </ul>
            </section>
          );
        })}
      </div>
      {open && (
        <TaskDialog
          task={open}
          sprints={sprints.data ?? []}
          onClose={() => {
            setOpenId(undefined);
          }}
          onChange={(fields) => {
            change(open.id, fields);
          }}
          onDelete={() => {
            write.mutate({ method: 'DELETE', path: `${path}/${open.id}` });
          }}
        />
      )}
      <LineForm
        label="New task"
        button="Add task"
        onSubmit={(title) => {
          write.mutate(
            { method: 'POST', path, body: { title } },
            {
              onSuccess: (created) => {
                sightings.recordCreated((created as Task).id);
              },
            },
          );
        }}
      />
    </section>
  );
}

function withChanges(task: Task, changes: readonly TaskChange[]): Task {
  return changes.reduce(
    (now, { id, fields }) => (id === task.id ? { ...now, ...fields } : now),
    task,
  );
}

function Heading({ projectId }: { projectId: string }): ReactNode {
  const [isRenaming, setIsRenaming] = useState(false);
  const project = useProject(projectId);
  const write = useWrite();
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
