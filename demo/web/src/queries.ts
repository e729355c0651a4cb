import {
  useMutation,
  useQuery,
  useQueryClient,
  type QueryKey,
  type UseMutationResult,
  type UseQueryResult,
} from '@tanstack/react-query';
import { useConnectionStatus } from 'neverstale/react';

import { useAccount, type User } from './account';

export interface Project {
  id: string;
  name: string;
  owner_id: string;
  is_owner: boolean;
}
export interface Sprint {
  id: string;
  name: string;
}
export const STATUSES = ['todo', 'doing', 'done'] as const;
export type TaskStatus = (typeof STATUSES)[number];
export interface Task {
  id: string;
  sprint_id: string | null;
  title: string;
  status: TaskStatus;
}
export interface Member extends User {
  role: string;
}
export interface Message {
  id: string;
  user_id: string;
  name: string;
  body: string;
  created_at: string;
}

/** Query keys that match the default mapping. */
export const keys = {
  projects: ['projects', 'list'],
  project: (id: string) => ['projects', 'detail', id],
  sprints: (id: string) => ['sprints', 'list', id],
  tasks: (id: string) => ['tasks', 'list', id],
  members: (id: string) => ['projectMembers', id],
  messages: (id: string) => ['messages', 'list', id],
};

function useRead<T>(queryKey: QueryKey, path: string): UseQueryResult<T> {
  const account = useAccount();
  return useQuery({
    queryKey,
    queryFn: ({ signal }) => account.request<T>(path, { signal }),
  });
}

export const useProjects = (): UseQueryResult<Project[]> => useRead(keys.projects, '/projects');
export const useProject = (id: string): UseQueryResult<Project> =>
  useRead(keys.project(id), `/projects/${id}`);
export const useSprints = (id: string): UseQueryResult<Sprint[]> =>
  useRead(keys.sprints(id), `/projects/${id}/sprints`);
export const useTasks = (id: string): UseQueryResult<Task[]> =>
  useRead(keys.tasks(id), `/projects/${id}/tasks`);
export const useMembers = (id: string): UseQueryResult<Member[]> =>
  useRead(keys.members(id), `/projects/${id}/members`);
export const useMessages = (id: string): UseQueryResult<Message[]> =>
  useRead(keys.messages(id), `/projects/${id}/messages`);

export interface Write {
  method: 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  path: string;
  body?: unknown;
}

/** Sends a change to the server. While live, the change's event invalidates the queries. */
export function useWrite(queryKey: QueryKey): UseMutationResult<unknown, Error, Write> {
  const account = useAccount();
  const queryClient = useQueryClient();
  const status = useConnectionStatus();
  return useMutation({
    mutationFn: ({ method, path, body }: Write) => account.request(path, { method, body }),
    // Without live events, refetch to show the change; after an error, refetch to undo it.
    onSettled: (_, error) =>
      error !== null || status !== 'live' ? queryClient.invalidateQueries({ queryKey }) : undefined,
  });
}
