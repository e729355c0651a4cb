// The port on which the measured servers get messages: a line "<channel> <bytes>", then these bytes.
import { createServer } from 'node:net';

export function listen(port, publish) {
  createServer((connection) => {
    let pending = Buffer.alloc(0);
    connection.on('data', (data) => {
      pending = Buffer.concat([pending, data]);
      for (;;) {
        const end = pending.indexOf(10);
        if (end < 0) return;
        const [channel, size] = pending.subarray(0, end).toString().split(' ');
        const next = end + 1 + Number(size);
        if (pending.length < next) return;
        publish(channel, pending.subarray(end + 1, next).toString());
        pending = pending.subarray(next);
      }
    });
  }).listen(port, '127.0.0.1');
}
