import { fileURLToPath } from 'node:url';

import { defineConfig } from 'vitest/config';

import { guideSnippets } from './tests/snippet.js';

const REACT_18 = fileURLToPath(new URL('tests/react18/node_modules', import.meta.url));
const TESTING_LIBRARY = fileURLToPath(
  new URL(
    'node_modules/@testing-library/react/dist/@testing-library/react.esm.js',
    import.meta.url,
  ),
);

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'node',
          include: ['tests/**/*.test.ts'],
          exclude: ['tests/integration/**'],
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
