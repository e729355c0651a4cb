// Node's `ws`, as its README broadcasts: one send for each subscriber of a channel.
import { createServer } from 'node:net';
import { WebSocketServer } from 'ws';

const [port, control] = process.argv.slice(2).map(Number);
const channels = new Map();
new WebSocketServer({ port, host: '127.0.0.1', perMessageDeflate: false }).on('connection', (socket, request) => {
  const channel = request.url.slice(1);
  if (!channels.has(channel)) channels.set(channel, new Set());
  channels.get(channel).add(socket);
  socket.on('close', () => channels.get(channel).delete(socket));
});

createServer((publisher) => {
  let pending = Buffer.alloc(0);
  publisher.on('data', (data) => {
    pending = Buffer.concat([pending, data]);
    for (;;) {
      const end = pending.indexOf(10);
      if (end < 0) return;
      const [channel, size] = pending.subarray(0, end).toString().split(' ');
      const next = end + 1 + Number(size);
      if (pending.length < next) return;
      const text = pending.subarray(end + 1, next).toString();
      for (const socket of channels.get(channel) ?? []) socket.send(text);
      pending = pending.subarray(next);
    }
  });
}).listen(control, '127.0.0.1');
