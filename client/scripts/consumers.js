// Uses the built package as apps do: each app is a folder of its own that has only the packages it
// depends on itself, as pnpm installs them. Compiles the app, and the guide's code for it, without
// skipLibCheck and with exactOptionalPropertyTypes; then loads each entry by `import` and `require`.
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import ts from 'typescript';

const fromPackage = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const GUIDE = readFileSync(fromPackage('../docs/how-to/frameworks.md'), 'utf8');
const PERSIST = ['@tanstack/query-persist-client-core', '@tanstack/query-async-storage-persister'];
const APPS = [
  {
    file: 'react.tsx',
    packages: ['react', '@types/react', '@tanstack/react-query', ...PERSIST],
    entries: [
      'neverstale/react',
      'neverstale/persist',
      'neverstale/server',
      'neverstale/tanstack',
      'neverstale/tabs',
      'neverstale/testing',
      'neverstale/devtools',
    ],
  },
  {
    file: 'vue.ts',
    section: 'Vue',
    packages: ['vue', '@tanstack/vue-query', ...PERSIST],
    entries: ['neverstale/vue', 'neverstale/tanstack'],
  },
  {
    file: 'svelte.ts',
    section: 'Svelte',
    packages: ['svelte', '@tanstack/svelte-query', ...PERSIST],
    entries: ['neverstale/svelte', 'neverstale/tanstack'],
    // As Svelte itself.
    isEsmOnly: true,
  },
  {
    file: 'solid.ts',
    section: 'Solid, and others',
    packages: ['solid-js', '@tanstack/solid-query', ...PERSIST],
    entries: ['neverstale', 'neverstale/tanstack'],
  },
  {
    file: 'react-native.tsx',
    section: 'React Native',
    packages: ['react', '@types/react', '@tanstack/react-query'],
    entries: ['neverstale/react-native', 'neverstale/react', 'neverstale'],
  },
];
const ESM_OPTIONS = {
  strict: true,
  exactOptionalPropertyTypes: true,
  target: ts.ScriptTarget.ES2022,
  lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'],
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  jsx: ts.JsxEmit.ReactJSX,
  types: [],
  noEmit: true,
};
const COMMONJS_OPTIONS = {
  ...ESM_OPTIONS,
  module: ts.ModuleKind.Node16,
  moduleResolution: ts.ModuleResolutionKind.Node16,
};

/** Makes a folder with our package and the app's own dependencies. */
function install(folder, packages) {
  const ours = join(folder, 'node_modules/neverstale');
  mkdirSync(ours, { recursive: true });
  cpSync(fromPackage('package.json'), join(ours, 'package.json'));
  cpSync(fromPackage('dist'), join(ours, 'dist'), { recursive: true });
  for (const name of packages) {
    const link = join(folder, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(fromPackage(`node_modules/${name}`), link);
  }
}

/** Checks that debuggers and error trackers can show the sources of each entry. */
function checkSourceMaps() {
  const { exports } = JSON.parse(readFileSync(fromPackage('package.json'), 'utf8'));
  for (const { import: esm, require: common, ...direct } of Object.values(exports)) {
    for (const file of [esm, common, direct].map((conditions) => conditions?.default)) {
      if (file === undefined) continue;
      const { sourcesContent } = JSON.parse(readFileSync(fromPackage(`${file}.map`), 'utf8'));
      if (!sourcesContent?.[0]) throw new Error(`${file} has no source map with its source`);
    }
  }
}

/** Returns the blocks of code in a section of the guide; of components, only the script. */
function codeOf(section) {
  const text = section ? GUIDE.split(`\n## ${section}\n`)[1].split('\n## ')[0] : '';
  return [...text.matchAll(/^```(?:tsx?|vue|svelte)\n(.*?)^```/gms)].map(
    ([, code]) => /<script[^>]*>\n(.*?)<\/script>/s.exec(code)?.[1] ?? code,
  );
}

/** Compiles; checks the apps and our package, not others. */
function compile(files, options) {
  const program = ts.createProgram(files, options);
  const wrong = program
    .getSourceFiles()
    .filter(({ fileName }) => fileName.startsWith(root))
    .flatMap((file) => [
      ...program.getSyntacticDiagnostics(file),
      ...program.getSemanticDiagnostics(file),
    ]);
  if (wrong.length === 0) return;
  const host = {
    getCurrentDirectory: () => root,
    getCanonicalFileName: (name) => name,
    getNewLine: () => '\n',
  };
  console.error(ts.formatDiagnostics(wrong, host));
  process.exitCode = 1;
}

const root = realpathSync(mkdtempSync(join(tmpdir(), 'neverstale-consumers-')));
const modules = [];
const commonModules = [];
/** Makes a file of an app. */
function write(list, app, name, lines) {
  const path = join(root, app, name);
  writeFileSync(path, lines.join('\n'));
  list.push(path);
}

try {
  checkSourceMaps();
  cpSync(fromPackage('tests/consumers/app.d.ts'), join(root, 'app.d.ts'));
  for (const { file, section, packages, entries, isEsmOnly = false } of APPS) {
    install(join(root, file), packages);
    write(modules, file, file, [readFileSync(fromPackage(`tests/consumers/${file}`), 'utf8')]);
    codeOf(section).forEach((code, index) => {
      write(modules, file, `guide-${index}.tsx`, [code, 'export {};']);
    });
    write(
      [],
      file,
      'load.mjs',
      entries.map((entry) => `import '${entry}';`),
    );
    if (isEsmOnly) continue;
    const required = entries.map((entry) => `require('${entry}')`);
    write([], file, 'load.cjs', required);
    const imported = required.map((call, index) => `import e${index} = ${call}; void e${index};`);
    write(commonModules, file, 'common.cts', imported);
  }
  compile([join(root, 'app.d.ts'), ...modules], ESM_OPTIONS);
  compile(commonModules, COMMONJS_OPTIONS);
  write(
    [],
    '.',
    'load.mjs',
    APPS.map(({ file }) => `import './${file}/load.mjs';`),
  );
  const common = APPS.filter(({ isEsmOnly }) => !isEsmOnly);
  write(
    [],
    '.',
    'load.cjs',
    common.map(({ file }) => `require('./${file}/load.cjs');`),
  );
  const run = (...code) => execFileSync(process.execPath, code, { cwd: root, stdio: 'inherit' });
  run('load.mjs');
  // Without what newer versions of Node can do, but Jest cannot: to require a module of ES.
  run('--no-experimental-require-module', 'load.cjs');
} finally {
  rmSync(root, { recursive: true });
}
