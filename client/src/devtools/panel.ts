import type { Connection } from '../connection.js';
import { addStyles, button, element, setText } from './elements.js';
import { EventList } from './event-list.js';
import type { Recorder } from './recorder.js';
import { PANEL_STYLES } from './styles.js';
import { count, duration } from './texts.js';

const TICK_MS = 1_000;

export interface Panel {
  readonly close: () => void;
}

/** Shows the panel in a shadow root, and moves the focus to it. */
export function openPanel(
  root: ShadowRoot,
  connection: Connection,
  recorder: Recorder,
  onClose: () => void,
): Panel {
  const { environment } = connection;
  const dot = element('span', { class: 'dot' });
  const status = element('strong', { role: 'status' });
  const since = element('span', { class: 'soft' });
  const facts = element('dl');
  const projects = element('ul', { class: 'rows' });
  const cursors = element('ul', { class: 'rows' });
  const cursorCount = element('summary');
  const events = new EventList(recorder);
  const toggle = button('', () => {
    if (isPaused()) connection.connect();
    else connection.disconnect();
  });
  const closing = button('Close', onClose);
  let frame: number | undefined;
  let stopTick: (() => void) | undefined;

  const isPaused = (): boolean => connection.status() === 'offline';

  const panel = element(
    'section',
    { class: 'panel', 'aria-label': 'Neverstale devtools' },
    element(
      'header',
      {},
      element('h2', {}, 'Neverstale'),
      element('p', { class: 'status' }, dot, status, since),
      button('Reconnect', connection.reconnect),
      toggle,
      closing,
    ),
    element(
      'div',
      { class: 'body' },
      element(
        'div',
        { class: 'side' },
        element('h3', {}, 'Connection'),
        facts,
        element('h3', {}, 'Projects'),
        projects,
        element('details', {}, cursorCount, cursors),
      ),
      element(
        'div',
        { class: 'main' },
        element(
          'div',
          { class: 'bar' },
          element('h3', {}, 'Events'),
          button('Clear', () => {
            recorder.clear();
          }),
        ),
        events.root,
      ),
    ),
  );

  function update(): void {
    const now = environment.now();
    const { since: changedAt, lastError, nextAttemptAt } = connection.info();
    const current = connection.status();
    dot.dataset.status = current;
    setText(status, current);
    setText(since, `for ${duration(now - changedAt)}`);
    setText(toggle, isPaused() ? 'Connect' : 'Disconnect');
    const next = nextAttemptAt === undefined ? 'none due' : `in ${duration(nextAttemptAt - now)}`;
    facts.replaceChildren(
      ...fact('Last error', lastError ?? 'none'),
      ...fact('Next attempt', current === 'live' ? 'not needed' : next),
      ...fact('Network', environment.isOnline() ? 'online' : 'offline'),
    );
    projects.replaceChildren(
      ...connection.projects().map((id) => {
        const status = connection.status(id);
        return row(id, element('span', { 'data-status': status }, status));
      }),
    );
    if (projects.childElementCount === 0) projects.append(note('No project is open.'));
    const all = Object.entries(connection.cursors());
    setText(cursorCount, count(all.length, 'cursor', 'cursors'));
    cursors.replaceChildren(
      ...all.map(([channel, cursor]) => row(channel, element('code', {}, cursor))),
    );
    events.update();
  }

  function updateSoon(): void {
    frame ??= requestAnimationFrame(() => {
      frame = undefined;
      update();
    });
  }

  function tick(): void {
    updateSoon();
    stopTick = environment.setTimer(tick, TICK_MS);
  }

  const removeStyles = addStyles(root, PANEL_STYLES);
  panel.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') onClose();
  });
  root.append(panel);
  update();
  closing.focus();
  const stopChanges = recorder.changes.add(updateSoon);
  tick();
  return {
    close() {
      stopChanges();
      stopTick?.();
      if (frame !== undefined) cancelAnimationFrame(frame);
      panel.remove();
      removeStyles();
    },
  };
}

function fact(name: string, value: string): [HTMLElement, HTMLElement] {
  return [element('dt', {}, name), element('dd', {}, value)];
}

function row(name: string, value: HTMLElement): HTMLElement {
  return element('li', {}, element('code', {}, name), value);
}

function note(text: string): HTMLElement {
  return element('li', { class: 'soft' }, text);
}
