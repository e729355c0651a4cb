import { useConnectionStatus, useNeverstale } from 'neverstale/react';
import { useEffect, useState, useSyncExternalStore, type ReactNode } from 'react';

import { useAccount } from './account';
import { Board } from './board';
import { CrowdPanel } from './crowd';
import { DevtoolsSwitch } from './devtools';
import { EventPanel } from './event-panel';
import type { Journal } from './journal';
import { Members } from './members';
import { Messages } from './messages';
import { Notice } from './notice';
import { Avatar, Brand } from './parts';
import { ProjectList } from './project-list';
import { useProjects, useUsers } from './queries';
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

export function Workspace(props: { journal: Journal; onSignOut: () => void }): ReactNode {
  const { journal, onSignOut } = props;
  const { user } = useAccount();
  const users = useUsers();
  const projectId = useProjectId();
  const status = useNeverstale(projectId, journal.record);
  // A project whose access was lost before stays forbidden.
  const connectionStatus = useConnectionStatus();
  const caughtUp = useSyncExternalStore(journal.subscribe, () => journal.read().caughtUp);
  const name = users.data?.find(({ id }) => id === user.id)?.name ?? user.name;

  useEffect(() => {
    journal.setLive(projectId, status === 'live');
  }, [journal, projectId, status]);
  useEffect(() => {
    if (connectionStatus === 'unauthorized') onSignOut();
  }, [connectionStatus, onSignOut]);

  return (
    <>
      <header className="top">
        <div className="bar">
          <Brand />
          <StatusLight />
          <DevtoolsSwitch />
          <span className="user">
            <Avatar name={name} />
            <span className="name">{name}</span>
            <a href="/" target="_blank" rel="noopener">
              Second tab
            </a>
            <button className="quiet" onClick={onSignOut}>
              Sign out
            </button>
          </span>
        </div>
        <Notice status={status} caughtUp={caughtUp} />
      </header>
      <div className="layout">
        <ProjectList current={projectId} />
        <main className="project" data-status={status}>
          {status === 'forbidden' && <NoAccess />}
          {status !== 'forbidden' && projectId !== undefined && (
            <Project key={projectId} projectId={projectId} caughtUp={caughtUp} />
          )}
        </main>
        <aside className="live" aria-label="Events">
          {status !== 'forbidden' && projectId !== undefined && (
            <CrowdPanel key={projectId} projectId={projectId} />
          )}
          <EventPanel journal={journal} />
          <p className="note">
            The same demo without the npm package: <a href="/plain/">the plain client</a>
          </p>
        </aside>
      </div>
    </>
  );
}

function Project(props: { projectId: string; caughtUp: ReadonlySet<string> }): ReactNode {
  const { projectId, caughtUp } = props;
  return (
    <>
      <Board projectId={projectId} caughtUp={caughtUp} />
      <div className="below">
        <Messages projectId={projectId} />
        <Members projectId={projectId} />
      </div>
    </>
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
