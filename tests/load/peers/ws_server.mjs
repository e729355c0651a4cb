// Node's `ws`, as its README broadcasts: one send for each subscriber of a channel.
import { WebSocketServer } from 'ws';

import { listen } from './control.mjs';

const [port, control] = process.argv.slice(2).map(Number);
const channels = new Map();
new WebSocketServer({ port, host: '127.0.0.1', perMessageDeflate: false }).on('connection', (socket, request) => {
  const channel = request.url.slice(1);
  if (!channels.has(channel)) channels.set(channel, new Set());
  channels.get(channel).add(socket);
  socket.on('close', () => channels.get(channel).delete(socket));
});

listen(control, (channel, text) => {
  for (const socket of channels.get(channel) ?? []) socket.send(text);
});
