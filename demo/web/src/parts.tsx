import type { UseQueryResult } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';

export function Brand(): ReactNode {
  return (
    <span className="brand">
      <svg viewBox="0 0 24 24" width="24" height="24" aria-hidden="true">
        <circle cx="12" cy="12" r="9" fill="none" stroke="currentColor" strokeWidth="3" />
        <circle cx="12" cy="12" r="3" fill="currentColor" />
      </svg>
      <span className="name">Neverstale</span>
    </span>
  );
}

export function Avatar({ name }: { name: string }): ReactNode {
  return (
    <span className="avatar" aria-hidden="true">
      {name.slice(0, 1)}
    </span>
  );
}

/** Says that a query is still loading, or that its newest fetch failed. */
export function QueryState({ query }: { query: UseQueryResult }): ReactNode {
  if (query.isPending) return <p className="note loading">Loading</p>;
  if (!query.isError) return null;
  const problem = query.data === undefined ? 'This cannot be loaded' : 'This may be outdated';
  return (
    <p className="problem" role="alert">
      {problem}: {query.error.message}{' '}
      <button className="quiet" onClick={() => void query.refetch()}>
        Try again
      </button>
    </p>
  );
}

export function Panel(props: {
  title: string;
  query: UseQueryResult;
  children: ReactNode;
}): ReactNode {
  return (
    <section className="panel" aria-label={props.title} aria-busy={props.query.isPending}>
      <h2>{props.title}</h2>
      <QueryState query={props.query} />
      {props.children}
    </section>
  );
}

/** A single-line input with a submit button. */
export function LineForm(props: {
  label: string;
  button: string;
  onSubmit: (text: string) => void;
}): ReactNode {
  const [text, setText] = useState('');
  return (
    <form
      className="line"
      onSubmit={(event) => {
        event.preventDefault();
        if (text.trim() === '') return;
        props.onSubmit(text.trim());
        setText('');
      }}
    >
      <input
        aria-label={props.label}
        placeholder={props.label}
        maxLength={500}
        value={text}
        onChange={(event) => {
          setText(event.target.value);
        }}
      />
      <button type="submit">{props.button}</button>
    </form>
  );
}

/** A native modal dialog: it traps and restores focus, and Escape closes it. */
export function Dialog(props: {
  title: string;
  onClose: () => void;
  onSubmit: (form: FormData) => void;
  onDelete?: (() => void) | undefined;
  children: ReactNode;
}): ReactNode {
  return (
    <dialog
      aria-label={props.title}
      ref={(dialog) => {
        if (dialog && !dialog.open) dialog.showModal();
      }}
      onClose={props.onClose}
    >
      <form
        method="dialog"
        onSubmit={(event) => {
          props.onSubmit(new FormData(event.currentTarget));
        }}
      >
        <h2>{props.title}</h2>
        {props.children}
        <div className="actions">
          {props.onDelete && (
            <button
              type="button"
              className="quiet"
              onClick={() => {
                props.onDelete?.();
                props.onClose();
              }}
            >
              Delete
            </button>
          )}
          <button type="button" className="quiet" onClick={props.onClose}>
            Cancel
          </button>
          <button type="submit" className="primary">
            Save
          </button>
        </div>
      </form>
    </dialog>
  );
}

/** A dialog that renames or deletes an object. */
export function NameDialog(props: {
  title: string;
  name: string;
  onClose: () => void;
  onRename: (name: string) => void;
  onDelete: () => void;
}): ReactNode {
  return (
    <Dialog
      title={props.title}
      onClose={props.onClose}
      onSubmit={(form) => {
        props.onRename(textOf(form, 'name'));
      }}
      onDelete={props.onDelete}
    >
      <label>
        Name
        <input name="name" required maxLength={500} defaultValue={props.name} />
      </label>
    </Dialog>
  );
}

export function textOf(form: FormData, name: string): string {
  const value = form.get(name);
  return typeof value === 'string' ? value : '';
}
