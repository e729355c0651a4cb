import type { Connection } from '../connection.js';
import type { AnyQueryClient } from '../tanstack/query-client.js';
import { addStyles, button, element, setText } from './elements.js';
import type { Panel } from './panel.js';
import { Recorder } from './recorder.js';
import { BUTTON_STYLES } from './styles.js';

export interface DevtoolsOptions {
  /** Default: false. */
  initialIsOpen?: boolean | undefined;
  /** Default: `bottom-left`. */
  buttonPosition?: 'bottom-left' | 'bottom-right' | undefined;
  /** Default: `system`. */
  theme?: 'light' | 'dark' | 'system' | undefined;
}

/**
 * Adds a button to the page that opens a panel: the connection, its projects and cursors, the newest
 * events and which queries each made stale. The panel's code is loaded when it is first opened.
 *
 * Call it after `connectQueryClient`; events before are not recorded.
 *
 * @returns a function that removes it
 */
export function mountDevtools(
  connection: Connection,
  queryClient: AnyQueryClient,
  options: DevtoolsOptions = {},
): () => void {
  const { initialIsOpen = false, buttonPosition = 'bottom-left', theme = 'system' } = options;
  const recorder = new Recorder(connection, queryClient);
  const host = element('div', { 'data-neverstale': theme });
  const root = host.attachShadow({ mode: 'open' });
  const label = element('span');
  const dot = element('span', { class: 'dot' });
  const toggle = button('', () => {
    void open();
  });
  let panel: Panel | undefined;
  let isMounted = true;

  async function open(): Promise<void> {
    const { openPanel } = await import('./panel.js');
    if (!isMounted || toggle.hidden) return;
    panel = openPanel(root, connection, recorder, close);
    toggle.hidden = true;
  }

  function close(): void {
    panel?.close();
    panel = undefined;
    toggle.hidden = false;
    toggle.focus();
  }

  function update(): void {
    const status = connection.status();
    dot.dataset.status = status;
    setText(label, `Neverstale: ${status}`);
  }

  addStyles(root, BUTTON_STYLES);
  toggle.className = `toggle ${buttonPosition}`;
  toggle.setAttribute('aria-expanded', 'false');
  toggle.append(dot, label);
  root.append(toggle);
  document.body.append(host);
  recorder.changes.add(update);
  update();
  if (initialIsOpen) void open();
  return () => {
    isMounted = false;
    panel?.close();
    recorder.stop();
    host.remove();
  };
}
