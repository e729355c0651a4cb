'use client';

import { useQuery } from '@tanstack/react-query';
import { useNeverstale } from 'neverstale/react';
import Link from 'next/link';

import { browserRead, projectsQuery, tasksQuery } from '../../api';

export function Board({ projectId }: { projectId: string }) {
  const status = useNeverstale(projectId);
  const projects = useQuery(projectsQuery(browserRead));
  const tasks = useQuery(tasksQuery(browserRead, projectId));
  return (
    <>
      <p role="status">{status}</p>
      <nav>
        {projects.data?.map(({ id, name }) => (
          <Link key={id} href={`/projects/${id}`}>
            {name}
          </Link>
        ))}
      </nav>
      <ul aria-label="Tasks">
        {tasks.data?.map(({ id, title }) => (
          <li key={id}>{title}</li>
        ))}
      </ul>
    </>
  );
}
