"""Converts names: to SQL identifiers, TOML strings, snake case and singular."""

import re
from textwrap import wrap
from typing import Final

from listener.capture.expressions import quote_identifier
from shared.runtime.printable import escaped

_COMMENT_WIDTH: Final = 100
_SIMPLE: Final = re.compile(r"[a-z_][a-z0-9_]*")
# From pg_get_keywords() of PostgreSQL 14 to 18: words that must be quoted as a name.
RESERVED: Final = frozenset(
    re.findall(
        r"\w+",
        """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast
    check collate collation column concurrently constraint create cross current_catalog
    current_date current_role current_schema current_time current_timestamp current_user
    default deferrable desc distinct do else end except false fetch for foreign freeze from
    full grant group having ilike in initially inner intersect into is isnull join lateral
    leading left like limit localtime localtimestamp natural not notnull null offset on only
    or order outer overlaps placing primary references returning right select session_user
    similar some symmetric system_user table tablesample then to trailing true union unique
    user using variadic verbose when where window with
    """,
    )
)
_IRREGULAR: Final = {
    "people": "person",
    "children": "child",
    "movies": "movie",
    "series": "series",
    "news": "news",
}
_ENDINGS: Final = (
    ("ies", "y"),
    ("sses", "ss"),
    ("xes", "x"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("tuses", "tus"),
    ("ss", "ss"),
    ("us", "us"),
    ("is", "is"),
    ("s", ""),
)


def identifier(name: str) -> str:
    """Return the name in SQL, quoted only if necessary."""
    plain = _SIMPLE.fullmatch(name) and name not in RESERVED
    return name if plain else quote_identifier(name)


def snake_case(name: str) -> str:
    """Convert ``OrderLines`` or ``Order Lines`` to ``order_lines``."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"\W+", "_", apart).strip("_").lower()


def singular(name: str) -> str:
    """Return a table's name in snake case, with its last word in the singular."""
    before, underscore, word = snake_case(name).rpartition("_")
    if word in _IRREGULAR:
        return before + underscore + _IRREGULAR[word]
    for ending, replacement in _ENDINGS:
        if word.endswith(ending):
            return before + underscore + word.removesuffix(ending) + replacement
    return before + underscore + word


def toml_string(text: str) -> str:
    """Return the text as a TOML string on one line."""
    if '"' in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_printable(quoted)}"'


def toml_lines(text: str) -> str:
    """Return the text, which ends with a newline, as a multi-line TOML string."""
    lines = text.replace("\\", "\\\\").replace('"""', '""\\"').split("\n")
    return '"""\n' + "\n".join(map(_printable, lines)) + '"""'


def toml_comment(text: str) -> str:
    """Return the text as TOML comments, safe for any names in it."""
    lines = wrap(_printable(text), _COMMENT_WIDTH, break_long_words=False)
    return "\n".join(f"# {line}" for line in lines)


def _printable(text: str) -> str:
    """Return the whole text, with unprintable characters as escapes that TOML reads."""
    return escaped(text, limit=len(text))
