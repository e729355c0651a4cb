import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';

import { listUsers, useAccount } from './account';
import { Avatar } from './parts';
import { keys, useMembers, useProject, useWrite } from './queries';

export function Members({ projectId }: { projectId: string }): ReactNode {
  const { user } = useAccount();
  const members = useMembers(projectId);
  const project = useProject(projectId);
  const users = useQuery({ queryKey: ['users'], queryFn: listUsers });
  const write = useWrite(keys.members(projectId));
  const path = (userId: string): string => `/projects/${projectId}/members/${userId}`;
  const isOwner = project.data?.is_owner ?? false;
  const absent = users.data?.filter(({ id }) => !members.data?.some((one) => one.id === id)) ?? [];

  return (
    <section className="panel" aria-label="Members">
      <h2>Members</h2>
      <ul className="people">
        {members.data?.map(({ id, name, role }) => (
          <li key={id} className="person">
            <Avatar name={name} />
            <span className="name">{name}</span>
            <span className="note">{role}</span>
            {role !== 'owner' && (isOwner || id === user.id) && (
              <button
                className="quiet"
                aria-label={id === user.id ? 'Leave the project' : `Remove ${name}`}
                onClick={() => {
                  write.mutate({ method: 'DELETE', path: path(id) });
                }}
              >
                {id === user.id ? 'Leave' : 'Remove'}
              </button>
            )}
          </li>
        ))}
        {isOwner &&
          members.data &&
          absent.map(({ id, name }) => (
            <li key={id} className="person absent">
              <Avatar name={name} />
              <span className="name">{name}</span>
              <button
                className="quiet"
                aria-label={`Invite ${name}`}
                onClick={() => {
                  write.mutate({ method: 'PUT', path: path(id) });
                }}
              >
                Invite
              </button>
            </li>
          ))}
      </ul>
    </section>
  );
}
