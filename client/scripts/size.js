// Bundles each entry point as an app's bundler would, and compares it with its bound and with the
// size that the README documents. Update the README with `node scripts/size.js --write`.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { build } from 'vite';

const BOUNDS_BYTES = {
  index: 4_750,
  'index/sse': 2_048,
  tanstack: 6_272,
  persist: 2_048,
  server: 2_048,
  tabs: 6_650,
  react: 11_264,
  vue: 11_264,
  svelte: 11_264,
  'react-native': 1_024,
  testing: 3_072,
  devtools: 3_072,
  'devtools/panel': 4_096,
};
/** The files of what an entry loads on demand, where the name does not say it. */
const FILES = { 'index/sse': 'sse/index' };
/** Versions of zlib compress a little differently, and the README rounds to 0.1 KiB. */
const TOLERANCE_KIB = 0.1;
const README = fileURLToPath(new URL('../README.md', import.meta.url));
const isWriting = process.argv.includes('--write');
let readme = readFileSync(README, 'utf8');

/** Returns the size of an entry's code without what it loads on demand and what the app provides. */
async function measure(entry) {
  const isFile = entry === 'index' || entry.includes('/');
  const path = FILES[entry] ?? (isFile ? entry : `${entry}/index`);
  const [{ output }] = await build({
    logLevel: 'silent',
    configFile: false,
    build: {
      write: false,
      minify: true,
      lib: {
        entry: fileURLToPath(new URL(`../dist/${path}.js`, import.meta.url)),
        formats: ['es'],
      },
      rolldownOptions: {
        external: [/^(react|vue|svelte)(\/|$)/, /^@tanstack/],
        output: { minify: true },
      },
    },
  });
  const needed = new Set([output.find(({ isEntry }) => isEntry)]);
  for (const { imports } of needed) {
    for (const chunk of output) if (imports.includes(chunk.fileName)) needed.add(chunk);
  }
  return gzipSync([...needed].map(({ code }) => code).join('')).length;
}

function fail(text) {
  console.error(text);
  process.exitCode = 1;
}

for (const [entry, bound] of Object.entries(BOUNDS_BYTES)) {
  const bytes = await measure(entry);
  const kib = bytes / 1_024;
  console.log(`${entry.padEnd(16)} ${bytes} bytes gzipped (bound: ${bound})`);
  if (bytes > bound) fail(`${entry} is over its bound`);

  // What an entry loads on demand is in the row of the entry.
  const [row, part] = entry.split('/');
  const name = row === 'index' ? 'neverstale' : `neverstale/${row}`;
  const before = part === undefined ? '\\|' : ', and';
  const documented = new RegExp(`(^\\| \`${name}\` .*${before} *)([\\d.]+)( KiB)`, 'm');
  const documentedKib = documented.exec(readme)?.[2];
  if (documentedKib === undefined) fail(`README.md does not say the size of ${entry}`);
  else if (isWriting) readme = readme.replace(documented, `$1${kib.toFixed(1)}$3`);
  else if (Math.abs(documentedKib - kib) > TOLERANCE_KIB) {
    fail(
      `README.md says ${documentedKib} KiB for ${entry}, it has ${kib.toFixed(1)}: node scripts/size.js --write`,
    );
  }
}
if (isWriting) writeFileSync(README, readme);
