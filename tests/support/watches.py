"""``[[watch]]`` sections for tables of a test's own, and rules for reading their log."""

from typing import Final

from listener.leader.publication import PublicationRules
from shared.config.access_rules import AccessRules

RULES: Final = PublicationRules(AccessRules("uuid", "uuid", "", ""), frozenset(), 1000)


def watch(table: str, **keys: str) -> str:
    """Return a [[watch]] section. Project and id are columns of that name unless given."""
    keys = {"resource": "x", "id": "id", "project": "project", **keys}
    lines = [f"{key} = '''{value}'''" for key, value in keys.items() if key != "ignore"]
    if "ignore" in keys:
        lines.append(f"ignore = {keys['ignore']}")
    return "\n".join(["[[watch]]", f'table = "{table}"', *lines, ""])
