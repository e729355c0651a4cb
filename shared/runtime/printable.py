"""Escapes text of foreign origin for terminals and logs."""

from typing import Final

MAX_CHARACTERS: Final = 2000


def escaped(text: str, *, limit: int = MAX_CHARACTERS, but: str = "") -> str:
    """Return *text* without characters that a terminal obeys, and bounded.

    Control characters, line and paragraph separators, bidirectional and other format
    characters, and lone surrogates become ``\\u`` escapes, as in JSON and TOML. Spaces and the
    characters in *but* stay. Only the first *limit* characters are kept.
    """
    kept = text[:limit]
    if not kept.isprintable():
        kept = "".join(
            character
            if character.isprintable() or character in but
            else escape_character(character)
            for character in kept
        )
    return kept if len(text) <= limit else f"{kept}... ({len(text) - limit} more)"


def escape_character(character: str) -> str:
    """Return the escape of one character: ``\\u202e`` or ``\\U000e0001``."""
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
