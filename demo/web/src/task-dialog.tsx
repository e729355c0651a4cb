import type { ReactNode } from 'react';

import { Dialog, textOf } from './parts';
import { STATUSES, type Sprint, type Task, type TaskStatus } from './queries';

export const COLUMNS: Readonly<Record<TaskStatus, string>> = {
  todo: 'To do',
  doing: 'Doing',
  done: 'Done',
};

export type TaskChange = Partial<Pick<Task, 'title' | 'status' | 'sprint_id'>>;

export function TaskDialog(props: {
  task: Task;
  sprints: readonly Sprint[];
  onClose: () => void;
  onChange: (change: TaskChange) => void;
  onDelete: () => void;
}): ReactNode {
  const { task, sprints } = props;
  return (
    <Dialog
      title="Task"
      onClose={props.onClose}
      onSubmit={(form) => {
        const status = textOf(form, 'status');
        props.onChange({
          title: textOf(form, 'title'),
          status: STATUSES.find((one) => one === status) ?? task.status,
          sprint_id: textOf(form, 'sprint') || null,
        });
      }}
      onDelete={props.onDelete}
    >
      <label>
        Title
        <input name="title" required maxLength={500} defaultValue={task.title} />
      </label>
      <label>
        Column
        <select name="status" defaultValue={task.status}>
          {STATUSES.map((status) => (
            <option key={status} value={status}>
              {COLUMNS[status]}
            </option>
          ))}
        </select>
      </label>
      <label>
        Sprint
        <select name="sprint" defaultValue={task.sprint_id ?? ''}>
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
