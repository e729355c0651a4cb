import { browserEnvironment, type Environment } from '../environment.js';

/** The part of React Native's `AppState` that the environment uses. */
export interface AppStateLike {
  readonly currentState: string | null;
  addEventListener(
    type: 'change',
    listener: (state: string) => void,
  ): { readonly remove: () => void };
}

/** The part of `@react-native-community/netinfo` that the environment uses. */
export interface NetInfoLike {
  addEventListener(listener: (state: { readonly isConnected: boolean | null }) => void): () => void;
}

export interface ReactNativeModules {
  /** `AppState` of `react-native`. */
  AppState: AppStateLike;
  /** `@react-native-community/netinfo`. Default: the network is assumed to be there. */
  NetInfo?: NetInfoLike | undefined;
}

/** No data is older: this module is loaded before anything can be fetched by what imports it. */
const LOADED_AT = Date.now();

/**
 * The environment of an app on React Native: `environment` of a connection or a provider.
 *
 * Import it in the app's first module, so that it is loaded before anything is fetched.
 */
export function reactNativeEnvironment({ AppState, NetInfo }: ReactNativeModules): Environment {
  let isOnline = true;
  // `inactive` is a visible app on iOS: under the notification center, or in the app switcher.
  const isVisible = (): boolean => AppState.currentState !== 'background';
  return {
    ...browserEnvironment(),
    baseUrl: undefined,
    // React Native's cannot stream a response.
    fetch: undefined,
    loadedAt: LOADED_AT,
    isOnline: () => isOnline,
    isVisible,
    onSignal(listener) {
      let wasOnline = isOnline;
      const stopNetwork = NetInfo?.addEventListener(({ isConnected }) => {
        isOnline = isConnected !== false;
        if (isOnline === wasOnline) return;
        wasOnline = isOnline;
        listener(isOnline ? 'online' : 'offline');
      });
      const appState = AppState.addEventListener('change', (state) => {
        if (state !== 'active') return;
        listener('visible');
        listener('focus');
      });
      return () => {
        stopNetwork?.();
        appState.remove();
      };
    },
  };
}
