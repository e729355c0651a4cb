import { defineConfig } from 'vitest/config';

/** What `make bench-requests` runs. */
export default defineConfig({
  test: {
    include: ['tests/load/*.bench.ts'],
    // Where there is no window TanStack Query does not poll.
    environment: 'happy-dom',
    disableConsoleIntercept: true,
    testTimeout: 300_000,
  },
});
