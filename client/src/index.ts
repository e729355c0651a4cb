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
