import type { ReactNode } from 'react';

import { useAccount } from './account';
import { Avatar, Panel } from './parts';
import { useMembers, useProject, useUsers, useWrite } from './queries';

export function Members({ projectId }: { projectId: string }): ReactNode {
  const { user } = useAccount();
  const members = useMembers(projectId);
  const project = useProject(projectId);
  const users = useUsers();
  const write = useWrite();
  const path = (userId: string): string => `/projects/${projectId}/members/${userId}`;
  const isOwner = project.data?.is_owner ?? false;
  const absent = users.data?.filter(({ id }) => !members.data?.some((one) => one.id === id)) ?? [];

  return (
    <Panel title="Members" query={members}>
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
    </Panel>
  );
}
