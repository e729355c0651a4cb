import js from '@eslint/js';
import reactHooks from 'eslint-plugin-react-hooks';
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

const OUTER_WORLD =
  'core/ is pure: it takes time, randomness and what comes from outside as arguments';

export default defineConfig(
  globalIgnores(['dist', 'node_modules', 'tests/consumers']),
  js.configs.recommended,
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  { languageOptions: { parserOptions: { projectService: true } } },
  {
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/explicit-function-return-type': [
        'error',
        { allowExpressions: true, allowTypedFunctionExpressions: true },
      ],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
    },
  },
  // JavaScript cannot declare return types.
  { files: ['**/*.js'], rules: { '@typescript-eslint/explicit-function-return-type': 'off' } },
  { files: ['src/react/**', 'tests/**/*.tsx'], ...reactHooks.configs.flat.recommended },
  {
    files: ['src/core/**'],
    rules: {
      'no-restricted-imports': [
        'error',
        { patterns: [{ regex: '^(?!\\./)', message: OUTER_WORLD }] },
      ],
      'no-restricted-globals': [
        'error',
        ...[
          'window',
          'document',
          'navigator',
          'globalThis',
          'WebSocket',
          'setTimeout',
          'setInterval',
          'queueMicrotask',
          'Date',
          'performance',
          'console',
        ].map((name) => ({ name, message: OUTER_WORLD })),
      ],
      'no-restricted-properties': [
        'error',
        { object: 'Math', property: 'random', message: OUTER_WORLD },
      ],
    },
  },
  {
    files: ['**/*.js'],
    extends: [tseslint.configs.disableTypeChecked],
    languageOptions: { globals: { URL: false, console: false, process: false } },
  },
);
