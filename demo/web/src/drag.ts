import { STATUSES, type TaskStatus } from './queries';

const THRESHOLD_PX = 4;
/** The window scrolls while the pointer is this close to its top or bottom. */
const EDGE_PX = 80;
const SCROLL_PX_PER_FRAME = 14;

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
  const startScroll = window.scrollY;
  // A card that is moved down makes the page longer: scroll no further than its content.
  const maxScroll = document.documentElement.scrollHeight - window.innerHeight;
  let pointer: { clientX: number; clientY: number } = start;
  let isDragging = false;

  const place = (): void => {
    const x = pointer.clientX - start.clientX;
    const y = pointer.clientY - start.clientY + window.scrollY - startScroll;
    card.style.translate = `${x}px ${y}px`;
    on.over(columnAt(pointer));
  };
  const scroll = (): void => {
    if (signal.aborted) return;
    const step = scrollStep(pointer.clientY);
    const top = Math.min(Math.max(window.scrollY + step, 0), maxScroll);
    if (step !== 0 && top !== window.scrollY) {
      window.scrollTo({ top, behavior: 'instant' });
      place();
    }
    requestAnimationFrame(scroll);
  };

  // Listen on the window: another user's change may remove the card during the drag.
  window.addEventListener(
    'pointermove',
    (event) => {
      if (event.pointerId !== start.pointerId) return;
      pointer = event;
      if (!isDragging) {
        const { clientX, clientY } = start;
        if (Math.hypot(event.clientX - clientX, event.clientY - clientY) < THRESHOLD_PX) return;
        isDragging = true;
        card.dataset.dragged = '';
        scroll();
      }
      place();
    },
    { signal },
  );
  const end = (event: PointerEvent): void => {
    if (event.pointerId !== start.pointerId) return;
    controller.abort();
    on.over(undefined);
    if (!isDragging) return;
    const status = event.type === 'pointerup' ? columnAt(event) : undefined;
    if (status) on.drop(status);
    // Suppress the click that follows a drag, which would open the card.
    window.addEventListener('click', suppressEvent, { capture: true, once: true });
    // The card stays where it was dropped until React, notified in a timer set by `drop`, has
    // rendered it in its new column.
    setTimeout(() => {
      window.removeEventListener('click', suppressEvent, { capture: true });
      delete card.dataset.dragged;
      card.style.translate = '';
    });
  };
  window.addEventListener('pointerup', end, { signal });
  window.addEventListener('pointercancel', end, { signal });
}

/** Return how far to scroll in this frame: the further, the closer the pointer is to the edge. */
function scrollStep(clientY: number): number {
  const below = clientY - (window.innerHeight - EDGE_PX);
  const beyond = clientY < EDGE_PX ? clientY - EDGE_PX : Math.max(below, 0);
  return Math.round((beyond / EDGE_PX) * SCROLL_PX_PER_FRAME);
}

function suppressEvent(event: Event): void {
  event.preventDefault();
  event.stopPropagation();
}

function columnAt({
  clientX,
  clientY,
}: {
  clientX: number;
  clientY: number;
}): TaskStatus | undefined {
  const column = document.elementFromPoint(clientX, clientY)?.closest<HTMLElement>('[data-column]');
  return STATUSES.find((status) => status === column?.dataset.column);
}
