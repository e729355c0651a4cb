/** What a stream sends: an event's data, or a comment. */
export type StreamPart = { readonly data: string } | 'comment';

/**
 * Parses a stream of server-sent events that comes in pieces (the HTML standard, 9.2.6). Other
 * fields than `data` and `id` are ignored.
 */
export class EventParser {
  /** The newest event id. */
  lastId = '';
  #rest = '';
  #data: string[] = [];

  /** Returns what this piece completes. */
  feed(text: string): StreamPart[] {
    // A CR at the end may be half of a line break.
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? '';
    return lines.flatMap((line) => this.#take(line));
  }

  #take(line: string): StreamPart[] {
    if (line === '') {
      const data = this.#data;
      this.#data = [];
      return data.length > 0 ? [{ data: data.join('\n') }] : [];
    }
    if (line.startsWith(':')) return ['comment'];
    const [, name, value = ''] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (name === 'data') this.#data.push(value);
    if (name === 'id') this.lastId = value;
    return [];
  }
}
