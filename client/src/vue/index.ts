import {
  inject,
  onMounted,
  provide as provideToChildren,
  readonly,
  shallowReadonly,
  shallowRef,
  toValue,
  watch,
  watchEffect,
  type InjectionKey,
  type MaybeRefOrGetter,
  type ShallowRef,
} from 'vue';

import type { Connection } from '../connection.js';
import type { NeverstaleEvent, Status } from '../core/events.js';
import { provide, toProjectId, type ProviderOptions } from '../frameworks/provide.js';

const KEY: InjectionKey<Readonly<ShallowRef<Connection | undefined>>> = Symbol('neverstale');

/**
 * Provides the connection to the components below, and keeps the query client fresh with its
 * events while the component is mounted.
 *
 * Call it in the `setup` of a component that is mounted while a user is signed in, with
 * `:key="userId"` so that each user gets a new connection. Another `url`, `queryClient` or
 * `shareTabsOf` makes a new connection, too.
 *
 * @param options - a getter or ref, if they change
 */
export function provideNeverstale(options: MaybeRefOrGetter<ProviderOptions>): void {
  const connection = shallowRef<Connection>();
  const read = (): ProviderOptions => toValue(options);
  provideToChildren(KEY, shallowReadonly(connection));
  // Not on a server, which runs `setup` only.
  onMounted(() => {
    watch(
      [() => read().url, () => read().queryClient, () => read().shareTabsOf],
      (_values, _before, onCleanup) => {
        const stop = provide(read, (created) => {
          connection.value = created;
        });
        onCleanup(() => {
          stop();
          connection.value = undefined;
        });
      },
      { immediate: true },
    );
  });
}

/**
 * Returns the connection of the provider above, e.g. for `reconnect()`; undefined until it exists:
 * before the provider is mounted and on a server.
 */
export function useConnection(): Readonly<ShallowRef<Connection | undefined>> {
  const connection = inject(KEY, undefined);
  if (!connection) {
    throw new Error('neverstale: call provideNeverstale() in a component above this one');
  }
  return connection;
}

/**
 * Subscribes to a project while the component is mounted, and returns the project's status.
 *
 * @param projectId - the id as the server writes it; null, undefined or empty: open no project and
 *   return the connection's status
 * @param onEvent - called on every event of the connection while the component is mounted
 */
export function useNeverstale(
  projectId: MaybeRefOrGetter<string | null | undefined>,
  onEvent?: (event: NeverstaleEvent) => void,
): Readonly<ShallowRef<Status>> {
  const connection = useConnection();
  const status = shallowRef<Status>('connecting');
  watchEffect((onCleanup) => {
    const current = connection.value;
    const id = toProjectId(toValue(projectId));
    const stops = [
      id === undefined ? undefined : current?.open(id),
      current?.onStatus(update),
      onEvent && current?.subscribe(onEvent),
    ];
    onCleanup(() => {
      for (const stop of stops) stop?.();
    });
    function update(): void {
      status.value = current?.status(id) ?? 'connecting';
    }
    update();
  });
  return readonly(status);
}

/** Returns the status of the connection as a whole. */
export function useConnectionStatus(): Readonly<ShallowRef<Status>> {
  return useNeverstale(undefined);
}

export type { ProviderOptions } from '../frameworks/provide.js';
export type { RestoringCache } from '../frameworks/start-after.js';
