// Bundles each entry point as an app's bundler would, and holds it against its bound.
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { build } from 'vite';

const BOUNDS_BYTES = {
  index: 4_096,
  'tanstack/index': 4_096,
  'persist/index': 2_048,
  'server/index': 2_048,
  'tabs/index': 6_144,
  'react/index': 9_216,
};

for (const [entry, bound] of Object.entries(BOUNDS_BYTES)) {
  const [{ output }] = await build({
    logLevel: 'silent',
    configFile: false,
    build: {
      write: false,
      minify: true,
      lib: {
        entry: fileURLToPath(new URL(`../dist/${entry}.js`, import.meta.url)),
        formats: ['es'],
      },
      rolldownOptions: { external: [/^react/, /^@tanstack/], output: { minify: true } },
    },
  });
  const bytes = gzipSync(output[0].code).length;
  console.log(`${entry.padEnd(16)} ${bytes} bytes gzipped (bound: ${bound})`);
  if (bytes > bound) process.exitCode = 1;
}
