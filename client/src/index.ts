export {
  createConnection,
  UnauthorizedError,
  type Connection,
  type ConnectionInfo,
  type ConnectionOptions,
} from './connection.js';
export type { Change, NeverstaleEvent, Stale, Status } from './core/events.js';
export type { Action, Cursors } from './core/protocol.js';
export { browserEnvironment } from './environment.js';
export type { Environment, EnvironmentSignal, Socket, SocketListener } from './environment.js';
export type { Resource } from './resources.js';

/**
 * The resources of the app, which `neverstale types` declares from `invalidation.toml`. With them
 * mappings are checked; without, a resource is any text. Declare what only `neverstale.notify()`
 * names by hand.
 */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type -- apps add to it
export interface Resources {}
