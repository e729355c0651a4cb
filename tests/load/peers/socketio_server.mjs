// Socket.IO with its Redis adapter: publish through Redis, as several servers would.
import { createServer } from 'node:http';

import { createAdapter } from '@socket.io/redis-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';

import { listen } from './control.mjs';

const [port, role, redisUrl] = process.argv.slice(2);
const publisher = createClient({ url: redisUrl });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);
const adapter = createAdapter(publisher, subscriber);

if (role === 'publish') {
  // The process that publishes is another one than the measured one.
  const io = new Server({ adapter });
  listen(Number(port), (channel, text) => io.to(channel).emit('m', text));
} else {
  const http = createServer();
  const io = new Server(http, { adapter, transports: ['websocket'], pingInterval: 600_000 });
  io.on('connection', (socket) => socket.join(socket.handshake.query.channel));
  http.listen(Number(port), '127.0.0.1');
}
