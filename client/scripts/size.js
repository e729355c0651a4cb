// Bundles each entry point as an app's bundler would, and holds it against its bound.
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { build } from 'vite';

const BOUNDS_BYTES = {
  index: 4_500,
  'tanstack/index': 5_632,
  'persist/index': 1_024,
  'tabs/index': 6_400,
  'react/index': 9_728,
  'testing/index': 3_072,
  'devtools/index': 2_048,
  'devtools/panel': 4_096,
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
