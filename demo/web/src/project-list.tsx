import type { ReactNode } from 'react';

import { LineForm, QueryState } from './parts';
import { useProjects, useWrite } from './queries';

export function ProjectList({ current }: { current: string | undefined }): ReactNode {
  const projects = useProjects();
  const write = useWrite();
  return (
    <nav className="projects" aria-label="Projects">
      <h2>Projects</h2>
      <QueryState query={projects} />
      <ul>
        {projects.data?.map(({ id, name, is_owner }) => (
          <li key={id}>
            <a href={`#/${id}`} aria-current={id === current ? 'page' : undefined}>
              <span className="name">{name}</span>
              {is_owner && <span className="note">yours</span>}
            </a>
          </li>
        ))}
      </ul>
      <LineForm
        label="New project"
        button="Add"
        onSubmit={(name) => {
          write.mutate({ method: 'POST', path: '/projects', body: { name } });
        }}
      />
    </nav>
  );
}
