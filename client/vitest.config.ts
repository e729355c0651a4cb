import { fileURLToPath } from 'node:url';

import { defineConfig } from 'vitest/config';

const REACT_18 = fileURLToPath(new URL('tests/react18/node_modules', import.meta.url));

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
        test: { name: 'react 19', include: ['tests/**/*.test.tsx'], environment: 'happy-dom' },
      },
      {
        resolve: {
          alias: {
            'react-dom': `${REACT_18}/react-dom`,
            react: `${REACT_18}/react`,
          },
        },
        test: {
          name: 'react 18',
          include: ['tests/**/*.test.tsx'],
          environment: 'happy-dom',
          // What is not inlined finds its React past the aliases.
          server: { deps: { inline: [/@tanstack\/react-query/] } },
        },
      },
    ],
  },
});
