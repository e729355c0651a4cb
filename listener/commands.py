"""The commands that set up a database, in a module that imports nothing expensive."""

from typing import Final

COMMANDS: Final = {
    "init": "write a first invalidation.toml from the tables of the database",
    "install": "create or update the change log and the triggers, in one transaction",
    "types": "write the resources of invalidation.toml as a TypeScript declaration",
    "sql": "print the SQL that `install` runs, for use in migrations",
    "disable": "stop capture at once, for an app in trouble; `install` starts it again",
    "uninstall": "remove the change log and all triggers",
}
