import { defineConfig } from 'vite';

export default defineConfig({
  logLevel: 'warn',
  // The linked package has its own for its tests; the page must have one of each.
  resolve: {
    dedupe: [
      'react',
      '@tanstack/query-core',
      '@tanstack/query-async-storage-persister',
      '@tanstack/query-persist-client-core',
    ],
  },
  build: {
    rolldownOptions: {
      input: { board: 'index.html', plain: 'plain/index.html' },
      onLog: (level, log, handle) => {
        // 'use client' is for servers that render React, and means nothing in a bundle.
        if (log.code !== 'MODULE_LEVEL_DIRECTIVE') handle(level, log);
      },
    },
  },
});
