import { QueryClient, QueryClientProvider, useQuery } from '@tanstack/react-query';
import { act, StrictMode, useState, version, type ReactNode } from 'react';
import { createRoot, type Root } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import type { NeverstaleEvent } from '../src/index.js';
import {
  NeverstaleProvider,
  useConnection,
  useConnectionStatus,
  useNeverstale,
} from '../src/react/index.js';
import type { ConnectQueryClientOptions } from '../src/tanstack/index.js';
import { subscribed } from './core/script.js';
import { Hub } from './tabs/hub.js';
import { pass, World } from './world.js';

let world: World;
let queryClient: QueryClient;
let root: Root;
let container: HTMLElement;

beforeEach(() => {
  vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);
  vi.useFakeTimers();
  world = new World();
  queryClient = new QueryClient({
    defaultOptions: { queries: { staleTime: Infinity, gcTime: Infinity, retry: false } },
  });
  container = document.createElement('div');
  root = createRoot(container);
});

afterEach(async () => {
  await act(async () => {
    root.unmount();
    await pass(1);
  });
  vi.useRealTimers();
});

function App({
  children,
  url = 'wss://live.example.com/ws',
  options,
}: {
  children?: ReactNode;
  url?: string;
  options?: ConnectQueryClientOptions;
}): ReactNode {
  return (
    <StrictMode>
      <QueryClientProvider client={queryClient}>
        <NeverstaleProvider
          url={url}
          getToken={() => 'T'}
          queryClient={queryClient}
          environment={world}
          options={options}
        >
          {children}
        </NeverstaleProvider>
      </QueryClientProvider>
    </StrictMode>
  );
}

async function render(app: ReactNode): Promise<void> {
  await act(async () => {
    root.render(app);
    await pass();
  });
}

/** Something happens, and React takes note. */
async function happens(what: () => void): Promise<void> {
  await act(async () => {
    what();
    await pass(20);
  });
}

function Project({
  id,
  onEvent,
}: {
  id: string | null | undefined;
  onEvent?: (event: NeverstaleEvent) => void;
}): ReactNode {
  const status = useNeverstale(id, onEvent);
  return <p>{`${id === '' ? 'none' : (id ?? 'none')}: ${status}`}</p>;
}

function Status(): ReactNode {
  return <p>{useConnectionStatus()}</p>;
}

it('is tested under the React that the project is named after', ({ task }) => {
  expect(task.file.projectName).toBe(`react ${version.split('.')[0] ?? ''}`);
});

describe('one socket', () => {
  it('in StrictMode, from mounting to unmounting', async () => {
    await render(
      <App>
        <Project id="P" />
      </App>,
    );
    expect(world.sockets).toHaveLength(1);
    expect(world.socket.url.searchParams.get('project_id')).toBe('P');
    await happens(() => {
      world.socket.connected(['P']);
    });
    expect(container.textContent).toBe('P: live');
    await render(null);
    expect(world.openSockets).toEqual([]);
    expect(world.isListenedTo).toBe(false);
  });

  it('through mounts, unmounts and fast switches of projects', async () => {
    for (let round = 0; round < 20; round++) {
      const id = `P${String(round % 3)}`;
      await render(<App>{round % 4 === 3 ? null : <Project id={id} />}</App>);
      if (round === 5)
        await happens(() => {
          world.socket.connected(['P0']);
        });
      if (round % 7 === 6) await render(null);
    }
    await render(
      <App>
        <Project id="last" />
      </App>,
    );
    expect(world.mostOpenSockets).toBe(1);
    await happens(() => {
      world.socket.connected(['P0']);
    });
    const subscribed = world.socket.sent.filter((message) => 'age' in message);
    expect(subscribed.at(-1)).toMatchObject({ project_id: 'last' });
  });

  it('a switch leaves one project for the other on the same socket', async () => {
    await render(
      <App>
        <Project id="P" />
      </App>,
    );
    await happens(() => {
      world.socket.connected(['P']);
    });
    await render(
      <App>
        <Project id="Q" />
      </App>,
    );
    expect(world.socket.sent).toEqual([
      { type: 'unsubscribe', project_id: 'P' },
      { type: 'subscribe', project_id: 'Q', age: 60_000 },
    ]);
    expect(container.textContent).toBe('Q: connecting');
    expect(world.sockets).toHaveLength(1);
  });

  it('another URL closes it before the next one opens', async () => {
    await render(
      <App>
        <Project id="P" />
      </App>,
    );
    await render(
      <App url="wss://other.example.com/ws">
        <Project id="P" />
      </App>,
    );
    expect(world.sockets.map(({ isClosed }) => isClosed)).toEqual([true, false]);
    expect(world.mostOpenSockets).toBe(1);
    expect(world.socket.url.searchParams.get('project_id')).toBe('P');
  });

  it.each([null, undefined, ''])('needs no project', async (none) => {
    await render(
      <App>
        <Project id={none} />
        <Status />
      </App>,
    );
    await happens(() => {
      world.socket.connected([]);
    });
    expect(world.socket.url.searchParams.has('project_id')).toBe(false);
    expect(container.textContent).toBe('none: livelive');
  });
});

it('is shared by the tabs of a user, if they shall', async () => {
  const hub = new Hub();
  const other = new World();
  const shared = { shareTabsOf: 'U', queryClient, url: 'wss://live.example.com/ws' };
  const provider = (environment: World, id: string): ReactNode => (
    <NeverstaleProvider
      {...shared}
      getToken={() => 'T'}
      environment={environment}
      tabs={hub.tab(id)}
    >
      <Project id="P" />
    </NeverstaleProvider>
  );
  await render(
    <StrictMode>
      {provider(world, 'one')}
      {provider(other, 'two')}
    </StrictMode>,
  );
  // The code for it is loaded on demand.
  await act(async () => {
    await vi.dynamicImportSettled();
    await pass();
  });
  await happens(() => {
    world.socket.connected([]);
    world.socket.frame(subscribed('P'));
  });
  expect(container.textContent).toBe('P: liveP: live');
  expect([world.sockets.length, other.sockets.length]).toEqual([1, 0]);
});

describe('events', () => {
  it('reach a mounted consumer with its newest callback, and no unmounted one', async () => {
    const heard: string[] = [];
    function Consumer(): ReactNode {
      const [count, setCount] = useState(0);
      useNeverstale('P', (event) => {
        heard.push(`${event.type} ${String(count)}`);
        setCount(count + 1);
      });
      return null;
    }
    await render(
      <App>
        <Consumer />
      </App>,
    );
    await happens(() => {
      world.socket.connected(['P'], { resumed: [] });
    });
    await happens(() => {
      world.socket.change('P', 7);
    });
    await happens(() => {
      world.socket.change('P', 8);
    });
    expect(heard).toEqual(['stale 0', 'change 1', 'change 2']);
    await render(<App />);
    await happens(() => {
      world.socket.change('P', 9);
    });
    expect(heard).toHaveLength(3);
  });

  it('refetch what is on the screen', async () => {
    let version_ = 1;
    function Task(): ReactNode {
      useNeverstale('P');
      const { data } = useQuery({
        queryKey: ['tasks', 'detail', 'T'],
        queryFn: () => Promise.resolve(`v${String(version_)}`),
      });
      return <p>{data}</p>;
    }
    await render(
      <App>
        <Task />
      </App>,
    );
    await happens(() => {
      world.socket.connected(['P']);
    });
    expect(container.textContent).toBe('v1');
    version_ = 2;
    await happens(() => {
      world.socket.change('P', 7);
    });
    await act(() => pass(1));
    expect(container.textContent).toBe('v2');
  });
});

describe('options', () => {
  const invoices: ConnectQueryClientOptions = {
    mapping: { invoice: () => ({ invalidate: [['invoices']] }) },
  };

  it('apply from the next event on, over the same socket', async () => {
    queryClient.setQueryData(['invoices'], 'v1');
    const page = (options?: ConnectQueryClientOptions): ReactNode => (
      <App {...(options && { options })}>
        <Project id="P" />
      </App>
    );
    await render(page());
    await happens(() => {
      world.socket.connected(['P']);
    });
    await render(page(invoices));
    await happens(() => {
      world.socket.change('P', 7, 'invoice');
    });
    expect(queryClient.getQueryState(['invoices'])?.isInvalidated).toBe(true);
    expect(world.warnings).toEqual([]);
    await render(page());
    await happens(() => {
      world.socket.change('P', 8, 'invoice');
    });
    expect(world.warnings.join()).toContain('no mapping for the resource "invoice"');
    expect(world.sockets).toHaveLength(1);
  });
});

describe('status', () => {
  it('follows the connection and each project', async () => {
    await render(
      <App>
        <Project id="P" />
        <Status />
      </App>,
    );
    expect(container.textContent).toBe('P: connectingconnecting');
    await happens(() => {
      world.socket.connected(['P']);
    });
    expect(container.textContent).toBe('P: livelive');
    await happens(() => {
      world.socket.frame({ type: 'status', live: false });
    });
    expect(container.textContent).toBe('P: degradeddegraded');
    await happens(() => {
      world.socket.end(4403);
    });
    expect(container.textContent).toBe('P: connectingconnecting');
    await act(() => pass(500));
    await happens(() => {
      world.socket.end(4403);
    });
    expect(container.textContent).toBe('P: forbiddenconnecting');
    await happens(() => {
      world.socket.connected([]);
    });
    expect(container.textContent).toBe('P: forbiddenlive');
    await happens(() => {
      world.signal('offline');
    });
    expect(container.textContent).toBe('P: forbiddenoffline');
  });

  it('is connecting on a server, which opens no socket', () => {
    expect(
      renderToString(
        <App>
          <Status />
        </App>,
      ),
    ).toContain('connecting');
    expect(world.sockets).toEqual([]);
  });

  it('is unauthorized when nobody is signed in, until the app connects again', async () => {
    let token: string | null = null;
    function SignIn(): ReactNode {
      const connection = useConnection();
      return <button onClick={() => connection?.reconnect()}>{useConnectionStatus()}</button>;
    }
    await render(
      <NeverstaleProvider
        url="wss://live.example.com/ws"
        getToken={() => token}
        queryClient={queryClient}
        environment={world}
      >
        <SignIn />
      </NeverstaleProvider>,
    );
    expect(container.textContent).toBe('unauthorized');
    expect(world.sockets).toEqual([]);
    token = 'T';
    await happens(() => {
      container.querySelector('button')?.click();
    });
    expect(world.sockets).toHaveLength(1);
  });
});

describe('hooks without a provider', () => {
  function Connection(): ReactNode {
    useConnection();
    return null;
  }

  it.each([<Project id="P" />, <Status />, <Connection />])('say what is missing', (element) => {
    vi.spyOn(console, 'error').mockReturnValue();
    expect(() => renderToString(element)).toThrow(/<NeverstaleProvider>/);
  });
});
