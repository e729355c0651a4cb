"""The commands of operators, in a module that imports nothing expensive."""

from typing import Final

COMMANDS: Final = {
    "check": "find what is wrong with the database, Redis, gateways and a token; exit with 1 "
    "if there is a problem",
    "status": "show who leads, the lag, rates, connections and resets of all processes, and "
    "the Redis servers",
}
