"""Rights in PostgreSQL and Redis as docs/how-to tells operators to grant them."""

import re
from typing import Final

from tests.support.processes import ROOT

PASSWORD: Final = "x" * 40


def documented_grants(listener: str, gateway: str) -> str:
    """Return the grants of docs/how-to/postgresql-roles.md for these two roles."""
    text = (ROOT / "docs" / "how-to" / "postgresql-roles.md").read_text()
    blocks = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    [grants] = [block for block in blocks if "grant " in block]
    grants = grants.replace("neverstale_listener", listener)
    return str(grants.replace("neverstale_gateway", gateway))


def documented_rights() -> list[str]:
    text = (ROOT / "docs" / "how-to" / "redis.md").read_text()
    [block] = re.findall(r"```\n(~\* [^`]+)```", text)
    return str(block).split()
