// Socket.IO with its Redis adapter: publish through Redis, as several servers would.
import { createServer } from 'node:http';
import { createServer as createControl } from 'node:net';
import { createAdapter } from '@socket.io/redis-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';

const [port, control, redisUrl] = process.argv.slice(2);
const publisher = createClient({ url: redisUrl });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);

if (control === 'publish') {
  // The process that publishes is another one than the measured one.
  const io = new Server({ adapter: createAdapter(publisher, subscriber) });
  createControl((connection) => {
    let pending = Buffer.alloc(0);
    connection.on('data', (data) => {
      pending = Buffer.concat([pending, data]);
      for (;;) {
        const end = pending.indexOf(10);
        if (end < 0) return;
        const [channel, size] = pending.subarray(0, end).toString().split(' ');
        const next = end + 1 + Number(size);
        if (pending.length < next) return;
        io.to(channel).emit('m', pending.subarray(end + 1, next).toString());
        pending = pending.subarray(next);
      }
    });
  }).listen(Number(port), '127.0.0.1');
} else {
  const http = createServer();
  const io = new Server(http, {
    adapter: createAdapter(publisher, subscriber),
    transports: ['websocket'],
    pingInterval: 600_000,
  });
  io.on('connection', (socket) => socket.join(socket.handshake.query.channel));
  http.listen(Number(port), '127.0.0.1');
}
