import { useEffect, useRef, type ReactNode } from 'react';

import { dragCard } from './drag';
import type { Task, TaskStatus } from './queries';
import { glow, type Sightings } from './sightings';

export function Card(props: {
  task: Task;
  sprintName: string | undefined;
  sightings: Sightings;
  /** The server has not answered this user's change yet. */
  isPending: boolean;
  /** Changed while the page was not live. */
  isCaughtUp: boolean;
  isLifted: boolean;
  onLiftKey: (event: React.KeyboardEvent) => void;
  onOver: (status: TaskStatus | undefined) => void;
  onDrop: (status: TaskStatus) => void;
  onOpen: () => void;
}): ReactNode {
  const { task, sightings, isPending, isLifted } = props;
  const card = useRef<HTMLLIElement>(null);
  const handle = useRef<HTMLButtonElement>(null);

  useEffect(() => {
    if (sightings.recordSeen(task, isPending) && card.current) glow(card.current);
  }, [sightings, task, isPending]);
  useEffect(() => {
    if (isLifted) handle.current?.focus(); // the card was remounted in another column
  }, [isLifted]);

  const startDrag = (event: React.PointerEvent): void => {
    if (!card.current || event.button !== 0) return;
    dragCard(event, card.current, {
      over: props.onOver,
      drop: (status) => {
        if (status !== task.status) props.onDrop(status);
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
      <button className="title" onClick={props.onOpen}>
        {task.title}
      </button>
      <span className="note">
        {props.sprintName}
        {props.isCaughtUp && <span className="tag">caught up</span>}
      </span>
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
    </li>
  );
}
