import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import ts from 'typescript';
import { describe, expect, it, vi } from 'vitest';

import { readSnippet } from './snippet.js';

/** What `neverstale types` writes for the resources `order line`, `project` and `task`. */
const DECLARATION = readFileSync(
  new URL('../../tests/vectors/resources.d.ts', import.meta.url),
  'utf8',
);
// Compiling takes a while.
vi.setConfig({ testTimeout: 60_000 });

const HEAD = `
  import { QueryClient } from '@tanstack/query-core';
  import { createConnection, type Resource } from 'neverstale';
  import { connectQueryClient, type ConnectQueryClientOptions, type Mapping } from 'neverstale/tanstack';
  export const connection = createConnection({ url: '', getToken: () => '' });
  export const queryClient = new QueryClient();
`;
const ORDER_LINE = `'order line': ({ id }) => ({ invalidate: [['lines', id]] })`;

const root = fileURLToPath(new URL('..', import.meta.url));
const { options } = ts.parseJsonConfigFileContent(
  ts.readConfigFile(`${root}tsconfig.json`, (path) => ts.sys.readFile(path)).config,
  ts.sys,
  root,
);
const paths = {
  neverstale: [`${root}src/index.ts`],
  'neverstale/react': [`${root}src/react/index.tsx`],
  'neverstale/*': [`${root}src/*/index.ts`],
};
const parsed = new Map<string, ts.SourceFile>();

/** Type-checks an app against the package; returns its errors. */
function errorsOfApp(app: string, declaration = ''): string[] {
  const file = `${root}app.tsx`;
  const files = new Map([
    [file, app],
    [`${root}neverstale.d.ts`, declaration],
  ]);
  const host = ts.createCompilerHost(options);
  const readSource = host.getSourceFile.bind(host);
  host.fileExists = (name) => files.has(name) || ts.sys.fileExists(name);
  host.readFile = (name) => files.get(name) ?? ts.sys.readFile(name);
  host.getSourceFile = (name, how) => {
    const source = parsed.get(name) ?? readSource(name, how);
    if (source && !files.has(name)) parsed.set(name, source);
    return source;
  };
  const program = ts.createProgram([...files.keys()], { ...options, paths }, host);
  return program
    .getSemanticDiagnostics(program.getSourceFile(file))
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
}

/** Type-checks code that binds a connection. */
function errorsIn(code: string, declaration = ''): string[] {
  return errorsOfApp(HEAD + code, declaration);
}

describe('without a declaration', () => {
  it('a mapping has any resource, or none', () => {
    const app = `
      connectQueryClient(connection, queryClient);
      connectQueryClient(connection, queryClient, { batchMs: 5 });
      connectQueryClient(connection, queryClient, { mapping: {} });
      export const mapping: Mapping = { ${ORDER_LINE}, anything: () => ({}) };
      export const resource: Resource = 'anything';
    `;
    expect(errorsIn(app)).toEqual([]);
  });
});

describe('with the declaration of the resources', () => {
  it('a mapping has an entry for each that the default mapping has not', () => {
    const app = `
      connectQueryClient(connection, queryClient, { mapping: { ${ORDER_LINE} } });
      export const mapping: Mapping = { ${ORDER_LINE}, task: () => ({}) };
      export const resource: Resource = 'order line';
    `;
    expect(errorsIn(app, DECLARATION)).toEqual([]);
  });

  it('a missing entry, a missing mapping and an unknown resource are errors', () => {
    const app = `
      export const one: Mapping = { task: () => ({}) };
      export const two: ConnectQueryClientOptions = { batchMs: 5 };
      export const three: Mapping = { ${ORDER_LINE}, tsak: () => ({}) };
      export const four: Mapping = { ${ORDER_LINE}, sprint: () => ({}) };
      export const five: Resource = 'tsak';
    `;
    expect(errorsIn(app, DECLARATION)).toEqual([
      expect.stringContaining(`Property '"order line"' is missing`),
      expect.stringContaining(`Property 'mapping' is missing`),
      expect.stringContaining(`'tsak' does not exist`),
      expect.stringContaining(`'sprint' does not exist`),
      expect.stringContaining(`'"tsak"' is not assignable`),
    ]);
  });

  it('more resources can be declared by hand', () => {
    const more = `${DECLARATION}\ndeclare module 'neverstale' { interface Resources { report: true } }`;
    const app = `
      connectQueryClient(connection, queryClient, { mapping: { ${ORDER_LINE}, report: () => ({}) } });
    `;
    expect(errorsIn(app, more)).toEqual([]);
  });

  it('no mapping is needed where the default mapping has all', () => {
    const app = `
      connectQueryClient(connection, queryClient, { batchMs: 5 });
      connectQueryClient(connection, queryClient, { mapping: { task: () => ({}) } });
    `;
    const line = '    "order line": true;\n';
    expect(DECLARATION).toContain(line);
    expect(errorsIn(app, DECLARATION.replace(line, ''))).toEqual([]);
  });
});

it("the guide's test of an app type-checks", () => {
  expect(errorsOfApp(readSnippet('Testing'))).toEqual([]);
});
