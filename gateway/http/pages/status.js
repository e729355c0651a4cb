// Shows GET /api/v1/status. No build, no library, and no HTML from text.
'use strict';

const REFRESH_MS = 1000;
const SVG = 'http://www.w3.org/2000/svg';
const find = (id) => document.getElementById(id);

function make(tag, text, ...classes) {
  const element = document.createElement(tag);
  element.textContent = text;
  element.classList.add(...classes);
  return element;
}

const isKnown = (value) => value !== null && value !== undefined;
const count = (value) => (isKnown(value) ? value.toLocaleString('en') : '–');
const milliseconds = (value) => (isKnown(value) ? `${value.toLocaleString('en')} ms` : '–');
const mebibytes = (value) => (isKnown(value) ? `${(value / 2 ** 20).toFixed(1)} MiB` : '–');
const newest = (series) => (series ?? []).at(-1);

function duration(seconds) {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;
}

function showState(text, kind) {
  const state = find('state');
  if (state.textContent !== text) state.textContent = text; // it is read out when it changes
  state.className = `state ${kind}`;
}

function showNumbers(status) {
  const numbers = [
    ['Leader', status.leader ?? 'none'],
    ['Lag', milliseconds(status.lag_ms)],
    ['Events/s', count(newest(status.series.events))],
    ['Delivered/s', count(newest(status.series.delivered))],
    ['Connections', count(status.connections)],
    ['Gateways', count(status.gateways.length)],
  ];
  find('numbers').replaceChildren(
    ...numbers.map(([name, value]) => {
      const box = document.createElement('div');
      box.append(make('dt', name), make('dd', value));
      return box;
    }),
  );
}

/** The points of a line in a box of 100 by 100; a gap repeats the value before it. */
function points(values, highest) {
  let last = 0;
  return values
    .map((value, index) => {
      last = value ?? last;
      const x = values.length > 1 ? (index / (values.length - 1)) * 100 : 100;
      return `${x.toFixed(2)},${(100 - (last / highest) * 100).toFixed(2)}`;
    })
    .join(' ');
}

function chart(title, lines, format) {
  const figure = document.createElement('figure');
  const caption = make('figcaption', '');
  const said = lines.map(({ name, values }) => `${name} ${format(newest(values))}`.trim()).join(', ');
  const values = make('b', '');
  lines.forEach(({ name, values: line }, index) => {
    const text = `${name} ${format(newest(line))}`.trim();
    values.append(...(index ? [' '] : []), make('span', text, ...(name ? [`line-${index}`] : [])));
  });
  caption.append(make('span', title), values);
  const drawing = document.createElementNS(SVG, 'svg');
  const highest = Math.max(0, ...lines.flatMap(({ values }) => values.map((value) => value ?? 0)));
  drawing.setAttribute('viewBox', '0 0 100 100');
  drawing.setAttribute('preserveAspectRatio', 'none');
  drawing.setAttribute('role', 'img');
  drawing.setAttribute('aria-label', `${title}: now ${said}, at most ${format(highest)}`);
  for (const { values } of lines) {
    const line = document.createElementNS(SVG, 'polyline');
    line.setAttribute('points', points(values, highest || 1));
    drawing.append(line);
  }
  figure.append(caption, drawing);
  return figure;
}

function showCharts({ series }) {
  const percentiles = (name) => [
    { name: 'p99', values: series[`${name}_p99_ms`] ?? [] },
    { name: 'p50', values: series[`${name}_p50_ms`] ?? [] },
  ];
  find('charts').replaceChildren(
    chart('Events per second', [{ name: '', values: series.events ?? [] }], count),
    chart('Delivered per second', [{ name: '', values: series.delivered ?? [] }], count),
    chart('Commit to published', percentiles('publish'), milliseconds),
    chart('Published to delivered', percentiles('deliver'), milliseconds),
  );
}

/** Replaces a table's rows. A column is [heading, cell of a row, classes of a row's cell]. */
function showTable(id, columns, rows) {
  const head = document.createElement('tr');
  for (const [name, , kind] of columns) {
    const cell = make('th', name, ...(kind === 'number' ? ['number'] : []));
    cell.scope = 'col';
    head.append(cell);
  }
  const body = rows.map((row) => {
    const line = document.createElement('tr');
    for (const [, value, kind] of columns) {
      const classes = typeof kind === 'function' ? kind(row) : kind;
      line.append(make('td', value(row), ...(classes ? [classes] : [])));
    }
    return line;
  });
  if (rows.length === 0) {
    const cell = make('td', 'none', 'none');
    cell.colSpan = columns.length;
    const line = document.createElement('tr');
    line.append(cell);
    body.push(line);
  }
  find(id).replaceChildren(head, ...body);
}

function showTables(status) {
  const health = ({ state, degraded }) => [state, ...(degraded ?? [])].join(', ');
  const isFine = ({ state, degraded }) =>
    ['ready', 'leader', 'standby'].includes(state) && !degraded?.length ? 'good' : 'bad';
  showTable(
    'gateways',
    [
      ['Process', (row) => row.name],
      ['State', health, isFine],
      ['Connections', (row) => count(row.connections), 'number'],
      ['Channels', (row) => count(row.channels), 'number'],
      ['Resumed', (row) => count(row.resumed), 'number'],
      ['Up', (row) => duration(row.uptime_seconds), 'number'],
      ['Version', (row) => row.version],
    ],
    status.gateways,
  );
  showTable(
    'listeners',
    [
      ['Process', (row) => row.name],
      ['State', (row) => (row.redis ? row.state : `${row.state}, no Redis`), isFine],
      ['Up', (row) => duration(row.uptime_seconds), 'number'],
      ['Version', (row) => row.version],
    ],
    status.listeners,
  );
  showTable(
    'redis',
    [
      ['Server', (row) => row.address],
      ['State', (row) => (row.up ? 'up' : 'down'), (row) => (row.up ? 'good' : 'bad')],
      ['Slots', (row) => count(row.slots), 'number'],
      ['Replicas', (row) => count(row.replicas), 'number'],
      ['Memory', (row) => mebibytes(row.used_memory_bytes), 'number'],
      ['Leader', (row) => (row.leader ? 'linked' : 'not linked')],
      ['Gateways', (row) => `${count(row.gateways)} of ${count(status.gateways.length)}`, 'number'],
      ['Version', (row) => row.version ?? '–'],
    ],
    status.redis_nodes,
  );
  showTable(
    'channels',
    [
      ['Channel', (row) => row.channel],
      ['Subscribers', (row) => count(row.subscribers), 'number'],
    ],
    status.top_channels,
  );
  showTable(
    'resets',
    [
      ['At', (row) => new Date(row.at * 1000).toLocaleTimeString()],
      ['Reason', (row) => row.reason],
      ['Of', (row) => (row.kind === 'listener' ? 'all clients' : `${count(row.count)} clients`)],
      ['By', (row) => row.name],
    ],
    status.resets,
  );
}

function showOverall(status) {
  const isDegraded = ({ state, degraded }) => state !== 'ready' || degraded?.length > 0;
  if (!status.leader) showState('No leader', 'bad');
  else if (!status.live) showState('Changes are missed', 'bad');
  else if (status.gateways.length === 0) showState('No gateway', 'bad');
  else if (status.gateways.some(isDegraded)) showState('A gateway is degraded', 'bad');
  else if (status.redis_nodes.some(({ up }) => !up)) showState('A Redis server is down', 'bad');
  else showState('Live', 'good');
}

async function refresh() {
  try {
    const response = await fetch('/api/v1/status', { cache: 'no-store' });
    if (response.status === 401) {
      location.reload(); // the session has ended: sign in again
      return;
    }
    if (!response.ok) throw new Error(`status ${response.status}`);
    const status = await response.json();
    showNumbers(status);
    showCharts(status);
    showTables(status);
    showOverall(status);
  } catch (error) {
    showState(`Not known: ${error.message}`, 'bad');
  }
  setTimeout(whenVisible, REFRESH_MS);
}

/** A hidden page asks for nothing until it is shown again. */
function whenVisible() {
  if (document.hidden) document.addEventListener('visibilitychange', whenVisible, { once: true });
  else void refresh();
}

whenVisible();
