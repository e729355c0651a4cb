// The same client in Node: node plain/node.js <http://gateway:port> <project id> <token>
import WebSocket from 'ws';

import { PlainClient } from './plain-client.js';

const [gateway, projectId, token] = process.argv.slice(2);
const client = new PlainClient({
  url: new URL('/api/v1/messages/ws', gateway).href,
  invalidate: (keys) => console.log(JSON.stringify(keys ?? 'everything')),
  onState: (state) => console.log(JSON.stringify(state)),
  WebSocketClass: WebSocket,
});
client.connect(projectId, token);
process.once('SIGTERM', () => client.close());
