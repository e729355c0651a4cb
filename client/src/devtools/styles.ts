/** The button, and what button and panel share. */
export const BUTTON_STYLES = `
:host {
  all: initial;
  color-scheme: light dark;
  --ground: light-dark(#ffffff, #181b23);
  --sunken: light-dark(#f1f3f6, #12141b);
  --line: light-dark(#d5d9e1, #343a48);
  --text: light-dark(#16181d, #eceef3);
  --soft: light-dark(#555b67, #a6adbb);
  --accent: light-dark(#4338ca, #a5b4fc);
  --good: light-dark(#177245, #5fd39a);
  --wait: light-dark(#8a5a00, #f0bf5a);
  --bad: light-dark(#b3261e, #ff9a92);
}
:host([data-neverstale='light']) { color-scheme: light; }
:host([data-neverstale='dark']) { color-scheme: dark; }
* { box-sizing: border-box; }
button {
  font: 600 12px/20px system-ui, sans-serif;
  padding: 4px 10px;
  border: 1px solid var(--line);
  border-radius: 6px;
  background: var(--ground);
  color: var(--text);
  cursor: pointer;
  white-space: nowrap;
}
button:hover { background: var(--sunken); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
.dot {
  display: inline-block;
  flex: none;
  width: 8px;
  height: 8px;
  border-radius: 50%;
  background: var(--wait);
}
.dot[data-status='live'] { background: var(--good); }
.dot[data-status='offline'], .dot[data-status='forbidden'], .dot[data-status='unauthorized'] {
  background: var(--bad);
}
.toggle {
  position: fixed;
  bottom: var(--neverstale-devtools-bottom, 12px);
  z-index: 99999;
  display: flex;
  align-items: center;
  gap: 8px;
  padding: 6px 12px;
  border-radius: 999px;
  box-shadow: 0 2px 8px #0003;
}
.toggle[hidden] { display: none; }
.bottom-left { left: 12px; }
.bottom-right { right: 12px; }
`;

export const PANEL_STYLES = `
.panel {
  position: fixed;
  inset: auto 0 0;
  z-index: 99999;
  display: flex;
  flex-direction: column;
  height: 50vh;
  min-height: 260px;
  max-height: 100vh;
  border-top: 1px solid var(--line);
  background: var(--ground);
  color: var(--text);
  font: 13px/20px system-ui, sans-serif;
  box-shadow: 0 -4px 16px #0002;
}
h2, h3, p, ul, ol, dl, dd { margin: 0; padding: 0; }
ul, ol { list-style: none; }
h2 { font-size: 14px; }
h3 { font-size: 12px; color: var(--soft); }
header, .bar, .status, .line { display: flex; align-items: center; gap: 8px; }
header { padding: 8px 12px; border-bottom: 1px solid var(--line); }
.status { margin-right: auto; }
.soft, time, dt { color: var(--soft); }
.body { display: grid; grid-template-columns: minmax(240px, 400px) 1fr; min-height: 0; flex: 1; }
.side, .main { overflow: auto; padding: 12px; }
.side { border-right: 1px solid var(--line); background: var(--sunken); }
.side h3, .side details { margin-top: 12px; }
.side h3:first-child { margin-top: 0; }
.bar { justify-content: space-between; margin-bottom: 4px; }
dl { display: grid; grid-template-columns: auto 1fr; gap: 0 12px; }
code, time { font: 12px/20px ui-monospace, monospace; }
code, dd, .line span { overflow-wrap: anywhere; min-width: 0; }
.rows li { display: flex; justify-content: space-between; gap: 12px; }
.rows > li > :last-child { text-align: right; }
.rows > li > span { white-space: nowrap; }
[data-status='live'], [data-status='refetched'] { color: var(--good); }
[data-status='forbidden'], [data-status='failed'] { color: var(--bad); }
summary { cursor: pointer; border-radius: 4px; }
.events > li { border-top: 1px solid var(--line); }
.line { padding: 4px 0; }
.events li.line { padding-left: 20px; }
summary::before { content: '▸'; width: 8px; margin-right: 4px; color: var(--soft); }
[open] > summary::before { content: '▾'; }
summary { list-style: none; }
summary::-webkit-details-marker { display: none; }
.events details > p, .events details > ul { padding: 0 0 6px 20px; }
.outcome { margin-left: auto; color: var(--soft); text-align: right; }
.reset { color: var(--wait); }
@media (max-width: 640px) {
  .panel { height: 70vh; }
  header { flex-wrap: wrap; }
  .status { flex: 1 0 calc(100% - 120px); }
  .body { display: block; overflow: auto; }
  .side, .main { overflow: visible; }
  .side { border-right: 0; border-bottom: 1px solid var(--line); }
  .line { flex-wrap: wrap; }
  .outcome { margin-left: 20px; text-align: left; flex-basis: 100%; }
}
`;
