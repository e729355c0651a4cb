import { useEffect, useRef, useState, type ReactNode } from 'react';

import { dragCard } from './drag';
import type { Sprint, Task, TaskStatus } from './queries';
import { glow, type Sightings } from './sightings';
import { TaskDialog, type TaskChange } from './task-dialog';

export function Card(props: {
  task: Task;
  sprints: readonly Sprint[];
  sightings: Sightings;
  isLifted: boolean;
  onLiftKey: (event: React.KeyboardEvent) => void;
  onOver: (status: TaskStatus | undefined) => void;
  onChange: (change: TaskChange) => void;
  onDelete: () => void;
}): ReactNode {
  const { task, sprints, sightings, isLifted } = props;
  const [isOpen, setIsOpen] = useState(false);
  const card = useRef<HTMLLIElement>(null);
  const handle = useRef<HTMLButtonElement>(null);

  useEffect(() => {
    if (sightings.recordSeen(task) && card.current) glow(card.current);
  }, [sightings, task]);
  useEffect(() => {
    if (isLifted) handle.current?.focus(); // the card was remounted in another column
  }, [isLifted]);

  const startDrag = (event: React.PointerEvent): void => {
    if (!card.current || event.button !== 0) return;
    dragCard(event, card.current, {
      over: props.onOver,
      drop: (status) => {
        if (status !== task.status) props.onChange({ status });
      },
    });
  };

  return (
    <li
      ref={card}
      className="card"
      data-lifted={isLifted || undefined}
      onPointerDown={(event) => {
        // Touch scrolls on the card and drags only by the handle.
        if (event.pointerType === 'mouse') startDrag(event);
      }}
    >
      <button
        className="title"
        onClick={() => {
          setIsOpen(true);
        }}
      >
        {task.title}
      </button>
      <span className="note">{sprints.find(({ id }) => id === task.sprint_id)?.name}</span>
      <button
        ref={handle}
        className="handle"
        aria-label={`Move ${task.title}`}
        aria-describedby="how-to-move"
        aria-pressed={isLifted}
        onKeyDown={props.onLiftKey}
        onPointerDown={(event) => {
          if (event.pointerType !== 'mouse') startDrag(event);
        }}
      >
        <span aria-hidden="true">⠿</span>
      </button>
      {isOpen && (
        <TaskDialog
          task={task}
          sprints={sprints}
          onClose={() => {
            setIsOpen(false);
          }}
          onChange={props.onChange}
          onDelete={props.onDelete}
        />
      )}
    </li>
  );
}
