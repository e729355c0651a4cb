import { dehydrate, HydrationBoundary, QueryClient } from '@tanstack/react-query';
import { prefetchCursors } from 'neverstale/server';

import { projectsQuery, tasksQuery } from '../../api';
import { readSession } from '../../session';
import { Board } from './board';

export default async function Page({ params }: { params: Promise<{ projectId: string }> }) {
  const { projectId } = await params;
  const { token, read } = await readSession();
  const queryClient = new QueryClient();
  // First the cursors, then the data: what changes in between is fetched again, and never missed.
  await prefetchCursors(queryClient, {
    url: process.env.GATEWAY_URL ?? '',
    token,
    projectIds: [projectId],
  });
  await Promise.all([
    queryClient.prefetchQuery(projectsQuery(read)),
    queryClient.prefetchQuery(tasksQuery(read, projectId)),
  ]);
  return (
    <HydrationBoundary state={dehydrate(queryClient)}>
      <Board projectId={projectId} />
    </HydrationBoundary>
  );
}
