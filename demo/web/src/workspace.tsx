import { useNeverstale } from 'neverstale/react';
import { useEffect, useState, useSyncExternalStore, type ReactNode } from 'react';

import { useAccount } from './account';
import { Board } from './board';
import { EventPanel } from './event-panel';
import type { Journal } from './journal';
import type { Link } from './link';
import { Members } from './members';
import { Messages } from './messages';
import { Avatar, Brand } from './parts';
import { ProjectList } from './project-list';
import { useProjects } from './queries';
import { StatusLight } from './status-light';

/** The project in the URL's hash, or the first one. */
function useProjectId(): string | undefined {
  const hash = useSyncExternalStore(
    (listener) => {
      window.addEventListener('hashchange', listener);
      return () => {
        window.removeEventListener('hashchange', listener);
      };
    },
    () => location.hash,
  );
  const projects = useProjects();
  return hash.slice(2) || projects.data?.[0]?.id;
}

export function Workspace(props: {
  journal: Journal;
  link: Link;
  onSignOut: () => void;
}): ReactNode {
  const { journal, link } = props;
  const { user } = useAccount();
  const projectId = useProjectId();
  useNeverstale(undefined, journal.record);

  return (
    <>
      <header className="top">
        <Brand />
        <StatusLight link={link} />
        <span className="user">
          <Avatar name={user.name} />
          <span>{user.name}</span>
          <a href="/" target="_blank" rel="noopener">
            Second tab
          </a>
          <button className="quiet" onClick={props.onSignOut}>
            Sign out
          </button>
        </span>
      </header>
      <div className="layout">
        <ProjectList current={projectId} />
        {projectId === undefined ? (
          <main className="project" />
        ) : (
          <Project key={projectId} projectId={projectId} />
        )}
        <EventPanel journal={journal} projectId={projectId} />
      </div>
    </>
  );
}

function Project({ projectId }: { projectId: string }): ReactNode {
  const status = useNeverstale(projectId);
  return (
    <main className="project">
      {status === 'forbidden' ? (
        <NoAccess />
      ) : (
        <>
          <Board projectId={projectId} />
          <div className="below">
            <Messages projectId={projectId} />
            <Members projectId={projectId} />
          </div>
        </>
      )}
    </main>
  );
}

function NoAccess(): ReactNode {
  const [heading, setHeading] = useState<HTMLElement | null>(null);
  useEffect(() => heading?.focus(), [heading]);
  return (
    <section className="no-access" role="alert">
      <h1 ref={setHeading} tabIndex={-1}>
        You are no longer in this project
      </h1>
      <p>
        Its owner removed you, or the project was deleted. If you are invited again, it reappears
        here.
      </p>
    </section>
  );
}
