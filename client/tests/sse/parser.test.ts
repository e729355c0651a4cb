import { describe, expect, it } from 'vitest';

import { EventParser, type StreamPart } from '../../src/sse/parser.js';

const STREAM =
  'retry: 1500\n\n' +
  'data: {"a":1}\nid: one\n\n' +
  ':\n\n' +
  'id: two\n\n' +
  'data:{"b":\ndata: "\u2028: x"}\n\n' +
  'event: other\ndata\n\n';
const PARTS: StreamPart[] = [
  { data: '{"a":1}' },
  'comment',
  { data: '{"b":\n"\u2028: x"}' },
  { data: '' },
];

function parse(pieces: readonly string[]): { parts: StreamPart[]; lastId: string } {
  const parser = new EventParser();
  return { parts: pieces.flatMap((piece) => parser.feed(piece)), lastId: parser.lastId };
}

describe('a stream of events', () => {
  it.each(['\n', '\r\n', '\r'])(
    'is parsed with line breaks %j, whole or in pieces',
    (lineBreak) => {
      const text = STREAM.replaceAll('\n', lineBreak);
      // The last CR may be half of a line break: the event ends with what follows.
      const whole = `${text}:`;
      const expected = { parts: PARTS, lastId: 'two' };
      expect(parse([whole])).toEqual(expected);
      for (const size of [1, 2, 3, 7]) {
        const pieces = whole.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? [];
        expect(parse(pieces)).toEqual(expected);
      }
    },
  );

  it('has no event that is not complete', () => {
    expect(parse(['data: {"a":1}\n'])).toEqual({ parts: [], lastId: '' });
  });
});
