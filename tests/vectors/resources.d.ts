// Written by `neverstale types` from invalidation.toml: do not edit.
export {};

declare module "neverstale" {
  interface Resources {
    "order line": true;
    project: true;
    task: true;
  }
}
