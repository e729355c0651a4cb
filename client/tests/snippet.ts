import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import type { Plugin } from 'vite';

const fromHere = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Returns the first block of code in a section of the guide. */
export function readSnippet(heading: string): string {
  const guide = readFileSync(fromHere('../../docs/how-to/tanstack-query.md'), 'utf8');
  const code = guide.split(`\n## ${heading}\n`)[1]?.match(/^```tsx\n(.*?)^```/ms)?.[1];
  if (code === undefined) throw new Error(`the guide has no code under "${heading}"`);
  return code;
}

/** Makes `guide:HEADING` import a section's code, and `neverstale/*` our sources: a Vite plugin. */
export function guideSnippets(): Plugin {
  return {
    name: 'guide-snippets',
    enforce: 'pre',
    resolveId(id: string): string | undefined {
      const [, heading] = /^guide:(\w+)$/.exec(id) ?? [];
      if (heading !== undefined) return fromHere(`./guide-${heading}.tsx`);
      const entry = /^neverstale(\/\w+)?$/.exec(id);
      if (entry === null) return undefined;
      const path = fromHere(`../src${entry[1] ?? ''}/index.ts`);
      return existsSync(path) ? path : `${path}x`;
    },
    load(id: string): string | undefined {
      const [, heading] = /guide-(\w+)\.tsx$/.exec(id) ?? [];
      return heading === undefined ? undefined : readSnippet(heading);
    },
  };
}
