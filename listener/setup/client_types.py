"""The TypeScript declaration of the resources, with which the npm package checks mappings."""

import json
import re
from collections.abc import Iterable
from typing import Final

from listener.capture.watches import Watch

_IDENTIFIER: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


def render_client_types(watches: Iterable[Watch]) -> str:
    """Return a declaration file that adds each resource to the interface ``Resources``.

    The text is ASCII, and depends on nothing but the set of resources.
    """
    names = sorted({watch.resource for watch in watches})
    return "\n".join(
        [
            "// Written by `neverstale types` from invalidation.toml: do not edit.",
            "export {};",
            "",
            'declare module "neverstale" {',
            "  interface Resources {",
            *(f"    {_property_name(name)}: true;" for name in names),
            "  }",
            "}",
            "",
        ]
    )


def _property_name(resource: str) -> str:
    return resource if _IDENTIFIER.fullmatch(resource) else json.dumps(resource)
