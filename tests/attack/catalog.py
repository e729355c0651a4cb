"""All attacks by name."""

from typing import Final

from tests.attack import anonymous, redis_values, roles, rows, users
from tests.attack.registry import Attack

ATTACKS: Final = {
    each.name: each
    for module in (anonymous, users, roles, rows, redis_values)
    for each in vars(module).values()
    if isinstance(each, Attack)
}
