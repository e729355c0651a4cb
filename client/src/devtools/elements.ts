type Child = Node | string;

/**
 * Create an element. What comes from the server or the app only ever becomes text, never markup.
 *
 * @param attributes - `class`, `aria-label` and so on
 */
export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Readonly<Record<string, string>> = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const created = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) created.setAttribute(key, value);
  created.append(...children);
  return created;
}

export function button(text: string, onClick: () => void): HTMLButtonElement {
  const created = element('button', { type: 'button' }, text);
  created.addEventListener('click', onClick);
  return created;
}

/** Replace an element's text if it differs: a screen reader announces each replacement. */
export function setText(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

/**
 * Add a style sheet to a shadow root; the returned function removes it. Unlike a `<style>`, no
 * Content-Security-Policy blocks it.
 */
export function addStyles(root: ShadowRoot, css: string): () => void {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);
  root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
  return () => {
    root.adoptedStyleSheets = root.adoptedStyleSheets.filter((other) => other !== sheet);
  };
}
