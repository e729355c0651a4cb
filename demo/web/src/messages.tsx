import type { ReactNode } from 'react';

import { Avatar, LineForm, Panel } from './parts';
import { useMessages, useWrite } from './queries';

export function Messages({ projectId }: { projectId: string }): ReactNode {
  const messages = useMessages(projectId);
  const write = useWrite();
  return (
    <Panel title="Messages" query={messages}>
      <LineForm
        label="Write to everybody"
        button="Send"
        onSubmit={(body) => {
          write.mutate({ method: 'POST', path: `/projects/${projectId}/messages`, body: { body } });
        }}
      />
      <ul className="messages" tabIndex={0} aria-label="Newest messages">
        {messages.data?.map(({ id, name, body, created_at }) => (
          <li key={id}>
            <Avatar name={name} />
            <p>
              <strong>{name}</strong>{' '}
              <time dateTime={created_at}>
                {new Date(created_at).toLocaleTimeString([], { timeStyle: 'short' })}
              </time>
              <br />
              {body}
            </p>
          </li>
        ))}
      </ul>
      {messages.data?.length === 0 && <p className="note">Nobody has written yet.</p>}
    </Panel>
  );
}
