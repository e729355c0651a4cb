import { defineConfig } from 'vitest/config';

/** What `tests/integration/test_client.py` runs, with real stacks at hand. */
export default defineConfig({
  test: {
    include: ['tests/integration/**/*.test.ts'],
    // All at once: they wait most of the time, for a tick to grow old and for servers to restart.
    maxWorkers: 8,
    testTimeout: 30_000,
    hookTimeout: 90_000,
  },
});
