import { cleanup } from '@testing-library/react';
import { afterEach } from 'vitest';

afterEach(cleanup);

// The code in the guide's section on testing is a test.
await import('guide:Testing');
