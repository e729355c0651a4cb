import { STATUSES, type TaskStatus } from './queries';

const THRESHOLD_PX = 4;

/**
 * Moves a card with the pointer until it is dropped.
 *
 * @param on - `over` gets the column under the pointer, or undefined; `drop` gets the column that
 *   the card was dropped on
 */
export function dragCard(
  start: React.PointerEvent,
  card: HTMLElement,
  on: { over: (status: TaskStatus | undefined) => void; drop: (status: TaskStatus) => void },
): void {
  const controller = new AbortController();
  const { signal } = controller;
  let isDragging = false;

  // Listen on the window: another user's change may remove the card during the drag.
  window.addEventListener(
    'pointermove',
    (event) => {
      if (event.pointerId !== start.pointerId) return;
      const x = event.clientX - start.clientX;
      const y = event.clientY - start.clientY;
      if (!isDragging && Math.hypot(x, y) < THRESHOLD_PX) return;
      isDragging = true;
      card.dataset.dragged = '';
      card.style.translate = `${x}px ${y}px`;
      on.over(columnAt(event));
    },
    { signal },
  );
  const end = (event: PointerEvent): void => {
    if (event.pointerId !== start.pointerId) return;
    controller.abort();
    const status = event.type === 'pointerup' ? columnAt(event) : undefined;
    delete card.dataset.dragged;
    card.style.translate = '';
    on.over(undefined);
    if (!isDragging) return;
    // Suppress the click that follows a drag, which would open the card.
    window.addEventListener('click', suppressEvent, { capture: true, once: true });
    setTimeout(() => {
      window.removeEventListener('click', suppressEvent, { capture: true });
    });
    if (status) on.drop(status);
  };
  window.addEventListener('pointerup', end, { signal });
  window.addEventListener('pointercancel', end, { signal });
}

function suppressEvent(event: Event): void {
  event.preventDefault();
  event.stopPropagation();
}

function columnAt({ clientX, clientY }: PointerEvent): TaskStatus | undefined {
  const column = document.elementFromPoint(clientX, clientY)?.closest<HTMLElement>('[data-column]');
  return STATUSES.find((status) => status === column?.dataset.column);
}
