export interface Listeners<T> {
  readonly add: (listener: (value: T) => void) => () => void;
  readonly notify: (value: T) => void;
  readonly clear: () => void;
}

/** A set of listeners; an exception in one is rethrown later and does not stop the others. */
export function makeListeners<T>(): Listeners<T> {
  const listeners = new Set<(value: T) => void>();
  return {
    add(listener) {
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
      };
    },
    notify(value) {
      for (const listener of [...listeners]) {
        try {
          listener(value);
        } catch (error) {
          queueMicrotask(() => {
            throw error;
          });
        }
      }
    },
    clear() {
      listeners.clear();
    },
  };
}
