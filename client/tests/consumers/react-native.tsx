import { AppState } from 'react-native';
import { createConnection } from 'neverstale';
import { reactNativeEnvironment } from 'neverstale/react-native';

const environment = reactNativeEnvironment({ AppState, NetInfo: undefined });
createConnection({ url, getToken, environment });
