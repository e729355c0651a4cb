import { STATUSES, type TaskStatus } from './queries';

const THRESHOLD_PX = 4;

/**
 * Lets a card follow the pointer until it is dropped.
 *
 * @param on - `over`: the column below it, or none; `drop`: where it was let go
 */
export function dragCard(
  start: React.PointerEvent,
  card: HTMLElement,
  on: { over: (status: TaskStatus | undefined) => void; drop: (status: TaskStatus) => void },
): void {
  const controller = new AbortController();
  const { signal } = controller;
  let isDragging = false;

  // On the window: the card may be gone when somebody else moves it meanwhile.
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
    // The click that follows would open what was only dragged.
    window.addEventListener('click', swallow, { capture: true, once: true });
    setTimeout(() => {
      window.removeEventListener('click', swallow, { capture: true });
    });
    if (status) on.drop(status);
  };
  window.addEventListener('pointerup', end, { signal });
  window.addEventListener('pointercancel', end, { signal });
}

function swallow(event: Event): void {
  event.preventDefault();
  event.stopPropagation();
}

function columnAt({ clientX, clientY }: PointerEvent): TaskStatus | undefined {
  const column = document.elementFromPoint(clientX, clientY)?.closest<HTMLElement>('[data-column]');
  return STATUSES.find((status) => status === column?.dataset.column);
}
