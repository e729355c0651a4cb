export interface User {
  id: string;
  name: string;
}
export interface Project {
  id: string;
  name: string;
}
export interface Task {
  id: string;
  title: string;
  status: string;
}

/** Reads from the API; on the server with a token, in the browser with the cookie. */
export type Read = <T>(path: string) => Promise<T>;

export const browserRead: Read = async (path) => answer(await fetch(`/api${path}`));

export async function answer<T>(response: Response): Promise<T> {
  if (!response.ok) throw new Error(`${response.url}: ${response.status}`);
  return response.json() as Promise<T>;
}

/** The queries of the pages, the same on the server and in the browser. */
export const projectsQuery = (read: Read) => ({
  queryKey: ['projects', 'list'],
  queryFn: () => read<Project[]>('/projects'),
});
export const tasksQuery = (read: Read, projectId: string) => ({
  queryKey: ['tasks', 'list', projectId],
  queryFn: () => read<Task[]>(`/projects/${projectId}/tasks`),
});
