import { QueryClient } from '@tanstack/vue-query';
import { createConnection } from 'neverstale';
import { persistQueryClient } from 'neverstale/persist';
import { connectQueryClient, readCursors } from 'neverstale/tanstack';

const queryClient = new QueryClient();
const cursors = readCursors(queryClient);
const connection = createConnection({ url, getToken, cursors });
connectQueryClient(connection, queryClient);
persistQueryClient({ queryClient, storage: localStorage, userId: user.id, schemaVersion: 1 });
