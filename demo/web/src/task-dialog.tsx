import { useState, type ReactNode } from 'react';

import { Dialog, textOf } from './parts';
import { STATUSES, type Sprint, type Task, type TaskChange, type TaskStatus } from './queries';

export const COLUMNS: Readonly<Record<TaskStatus, string>> = {
  todo: 'To do',
  doing: 'Doing',
  done: 'Done',
};

/** Edits a task. Only what the user changed is sent, so that a change made meanwhile is kept. */
export function TaskDialog(props: {
  task: Task;
  sprints: readonly Sprint[];
  onClose: () => void;
  onChange: (fields: TaskChange['fields']) => void;
  onDelete: () => void;
}): ReactNode {
  const { task, sprints } = props;
  const [opened] = useState(task);
  return (
    <Dialog
      title="Task"
      onClose={props.onClose}
      onSubmit={(form) => {
        const title = textOf(form, 'title').trim();
        const status = STATUSES.find((one) => one === textOf(form, 'status'));
        const sprint_id = textOf(form, 'sprint') || null;
        const fields = {
          ...(title !== '' && title !== opened.title && { title }),
          ...(status && status !== opened.status && { status }),
          ...(sprint_id !== opened.sprint_id && { sprint_id }),
        };
        if (Object.keys(fields).length > 0) props.onChange(fields);
      }}
      onDelete={props.onDelete}
    >
      {task !== opened && (
        <p className="problem" role="alert">
          Somebody has just changed this task. What you did not change here keeps its new value.
        </p>
      )}
      <label>
        Title
        <input name="title" required maxLength={500} defaultValue={opened.title} />
      </label>
      <label>
        Column
        <select name="status" defaultValue={opened.status}>
          {STATUSES.map((status) => (
            <option key={status} value={status}>
              {COLUMNS[status]}
            </option>
          ))}
        </select>
      </label>
      <label>
        Sprint
        <select name="sprint" defaultValue={opened.sprint_id ?? ''}>
          <option value="">None</option>
          {sprints.map(({ id, name }) => (
            <option key={id} value={id}>
              {name}
            </option>
          ))}
        </select>
      </label>
    </Dialog>
  );
}
