// Writes compressed copies next to the built assets: aiohttp sends them where they are accepted.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { brotliCompressSync, gzipSync } from 'node:zlib';

const folder = new URL('dist/assets/', import.meta.url);
for (const name of readdirSync(folder)) {
  const content = readFileSync(new URL(name, folder));
  writeFileSync(new URL(`${name}.br`, folder), brotliCompressSync(content));
  writeFileSync(new URL(`${name}.gz`, folder), gzipSync(content, { level: 9 }));
}
