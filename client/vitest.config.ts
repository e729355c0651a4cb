import { fileURLToPath } from 'node:url';

import { compile, compileModule } from 'svelte/compiler';
import { defineConfig } from 'vitest/config';

import { guideSnippets } from './tests/snippet.js';

const REACT_18 = fileURLToPath(new URL('tests/react18/node_modules', import.meta.url));
const TESTING_LIBRARY = fileURLToPath(
  new URL(
    'node_modules/@testing-library/react/dist/@testing-library/react.esm.js',
    import.meta.url,
  ),
);

/** Compiles components and the modules that use runes, as the plugin of an app's bundler does. */
const svelte = {
  name: 'svelte',
  transform(code: string, id: string): { code: string } | undefined {
    const options = { filename: id, generate: 'client' } as const;
    if (id.endsWith('.svelte')) return compile(code, options).js;
    return id.endsWith('.svelte.ts') ? compileModule(code, options).js : undefined;
  },
};

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'node',
          include: ['tests/**/*.test.ts'],
          exclude: ['tests/integration/**', 'tests/svelte/**'],
        },
      },
      {
        plugins: [svelte],
        // Else Node's conditions choose the build of Svelte for servers.
        resolve: { conditions: ['browser'] },
        test: {
          name: 'svelte',
          include: ['tests/svelte/*.test.ts'],
          environment: 'happy-dom',
          // What is not inlined is neither compiled nor resolved by the conditions.
          server: { deps: { inline: [/svelte/] } },
        },
      },
      {
        plugins: [guideSnippets()],
        test: { name: 'react 19', include: ['tests/**/*.test.tsx'], environment: 'happy-dom' },
      },
      {
        plugins: [guideSnippets()],
        resolve: {
          alias: {
            'react-dom': `${REACT_18}/react-dom`,
            react: `${REACT_18}/react`,
            // The package's other build is CommonJS, whose imports no alias reaches.
            '@testing-library/react': TESTING_LIBRARY,
          },
        },
        test: {
          name: 'react 18',
          include: ['tests/**/*.test.tsx'],
          environment: 'happy-dom',
          // What is not inlined finds its React past the aliases.
          server: { deps: { inline: [/@tanstack\/react-query/, /@testing-library\/react/] } },
        },
      },
    ],
  },
});
