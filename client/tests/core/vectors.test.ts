import { readFileSync } from 'node:fs';

import { expect, it } from 'vitest';

import { parseFrame } from '../../src/core/protocol.js';
import { Script, stale } from './script.js';

const VECTORS = JSON.parse(
  readFileSync(new URL('../../../tests/vectors/frames.json', import.meta.url), 'utf8'),
) as { name: string; text: string }[];
const PROJECT = 'a9011000-0000-4000-8000-000000000001';
const CURSOR = `project:${PROJECT}.g.r.5`;

/** What a frame makes stale, and whether it brings the vectors' cursor. */
const EXPECTED: Record<string, { stale: string[]; isNew: boolean }> = {
  cache_invalidate: { stale: [], isNew: true },
  'cache_invalidate that may change access': { stale: [PROJECT], isNew: false },
  'reconnect through a log': { stale: [PROJECT], isNew: true },
  'reconnect, plain': { stale: ['*'], isNew: false },
  'reconnect of a project, v1': { stale: [PROJECT], isNew: true },
  connected: { stale: [PROJECT], isNew: true },
  'connected, resumed': { stale: [], isNew: false },
  error: { stale: [], isNew: false },
};

it.each(Object.keys(EXPECTED))('the documented bytes are understood: %s', (name) => {
  const text = VECTORS.find((vector) => vector.name === name)?.text ?? '';
  const script = new Script({ [`project:${PROJECT}`]: 'old', 'user:U': 'u' });
  script.want(PROJECT);
  script.token();
  const { type } = JSON.parse(text) as { type: string };
  if (type !== 'connected') {
    const resumed = [`project:${PROJECT}`, 'user:U'];
    script.frame({ type: 'connected', cursors: {}, resumed, heartbeat: 30 });
  }
  const effects = script.feed({ is: 'text', text });
  expect(stale(effects)).toEqual(EXPECTED[name]?.stale);
  expect(script.session.cursors[`project:${PROJECT}`] === CURSOR).toBe(EXPECTED[name]?.isNew);
});

it.each(VECTORS.filter(({ name }) => name !== 'refusal'))(
  'every example is a frame: $name',
  ({ text }) => {
    expect(parseFrame(text)).toEqual(JSON.parse(text));
  },
);
