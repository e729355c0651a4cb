export interface Listeners<T> {
  readonly add: (listener: (value: T) => void) => () => void;
  readonly notify: (value: T) => void;
}

/**
 * A set of listeners; an exception in one does not stop the others.
 *
 * @param warn - called with each exception
 */
export function makeListeners<T>(warn: (text: string, error: unknown) => void): Listeners<T> {
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
          warn('a listener failed', error);
        }
      }
    },
  };
}
