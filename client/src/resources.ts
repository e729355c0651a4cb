import type { Resources } from './index.js';

/** The name of a declared resource; any text if none is declared. */
export type Resource = [keyof Resources] extends [never]
  ? string
  : Extract<keyof Resources, string>;
