// What the code of the guide takes from the app.
declare const url: string;
declare const user: { id: string };
declare function getToken(how: { refresh: boolean }): Promise<string>;
declare function fetchTasks(projectId: string): Promise<string[]>;

// As declared by these packages, which are too large to be installed for a test.
declare module 'react-native' {
  type AppStateStatus = 'active' | 'background' | 'inactive' | 'unknown' | 'extension';
  export const AppState: {
    currentState: AppStateStatus;
    isAvailable: boolean;
    addEventListener(
      type: 'change' | 'memoryWarning' | 'blur' | 'focus',
      listener: (state: AppStateStatus) => void,
    ): { remove(): void };
  };
}

declare module '@react-native-community/netinfo' {
  type NetInfoState =
    | { type: 'unknown'; isConnected: boolean | null; isInternetReachable: null; details: null }
    | { type: 'none'; isConnected: false; isInternetReachable: false; details: null }
    | { type: 'wifi'; isConnected: true; isInternetReachable: boolean | null; details: object };
  const NetInfo: {
    configure(configuration: object): void;
    addEventListener(listener: (state: NetInfoState) => void): () => void;
  };
  export default NetInfo;
}
