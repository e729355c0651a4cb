import {
  parseFrame,
  projectChannel,
  SUBPROTOCOL,
  type Cursors,
  type ServerFrame,
} from '../core/protocol.js';
import { browserEnvironment, type Environment, type Socket } from '../environment.js';
import { stampFetches } from '../tanstack/hydration.js';
import type { AnyQueryClient } from '../tanstack/query-client.js';

export interface PrefetchCursorsOptions {
  /** The gateway's WebSocket endpoint, as the server reaches it. */
  url: string;
  /** JWT of the user who requested the page. */
  token: string;
  /** The projects whose data the page shows, as the gateway writes their ids. Default: none. */
  projectIds?: readonly string[] | undefined;
  /** Render without cursors if the gateway does not answer by then. Default: 1,000 ms. */
  timeoutMs?: number | undefined;
  /** For tests, and for runtimes without `WebSocket`. Default: `browserEnvironment()`. */
  environment?: Pick<Environment, 'openSocket' | 'setTimer' | 'warn'> | undefined;
}

/**
 * For server rendering: reads the cursors of the user and of the projects, and adds them to all that
 * the query client fetches from then on. In the browser, data that comes with cursors is fetched
 * again only if something changed since. Call it before the first `prefetchQuery`.
 *
 * It never rejects: without cursors it warns, and the browser fetches everything again.
 */
export async function prefetchCursors(
  queryClient: AnyQueryClient,
  options: PrefetchCursorsOptions,
): Promise<void> {
  const cursors = await readServerCursors(options);
  if (cursors) stampFetches(queryClient, cursors);
}

function readServerCursors(options: PrefetchCursorsOptions): Promise<Cursors | undefined> {
  const { projectIds = [], timeoutMs = 1_000, environment = browserEnvironment() } = options;
  return new Promise((resolve) => {
    let cursors: Cursors = {};
    let unanswered = projectIds.length;
    let socket: Socket | undefined;
    let isConnected = false;
    let hasEnded = false;
    const stopTimer = environment.setTimer(() => {
      end(`the gateway did not answer within ${timeoutMs} ms`);
    }, timeoutMs);

    function end(problem?: string): void {
      if (hasEnded) return;
      hasEnded = true;
      stopTimer();
      socket?.close();
      if (problem !== undefined) environment.warn(`rendered without cursors: ${problem}`);
      resolve(problem === undefined ? cursors : undefined);
    }

    function receive(frame: ServerFrame): void {
      if (frame.type === 'connected') {
        isConnected = true;
        cursors = frame.cursors;
        for (const projectId of projectIds) {
          socket?.send(JSON.stringify({ type: 'subscribe', project_id: projectId }));
        }
      } else if (frame.type === 'subscribed') {
        cursors = { ...cursors, [projectChannel(frame.project_id)]: frame.cursor };
        unanswered -= 1;
      } else if (frame.type === 'error' && frame.project_id !== undefined) {
        // Nothing of a project without a cursor counts as fresh.
        unanswered -= 1;
      }
      if (isConnected && unanswered === 0) end();
    }

    try {
      const url = options.url.replace(/^http/, 'ws');
      socket = environment.openSocket(url, [SUBPROTOCOL, `bearer.${options.token}`], {
        text(text) {
          try {
            receive(parseFrame(text));
          } catch {
            end('the gateway sent what is not a frame');
          }
        },
        closed: (code) => {
          end(`the gateway closed the connection with ${code}`);
        },
      });
    } catch (error) {
      end(String(error));
    }
  });
}
