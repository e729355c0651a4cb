import type { ProviderOptions } from '../../src/svelte/index.js';

/** The properties of the page under test; Svelte follows changes of them. */
export const props: {
  options: ProviderOptions;
  projectId: string | null;
  isOpen: boolean;
  onEvent: (event: never) => void;
} = $state({
  options: { url: '', getToken: () => null, queryClient: undefined as never },
  projectId: null,
  isOpen: false,
  onEvent: () => undefined,
});
