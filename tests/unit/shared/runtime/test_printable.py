import tomllib

import pytest

from shared.runtime.printable import MAX_CHARACTERS, escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tasks", "tasks"),
        ("Café \N{EURO SIGN}", "Café \N{EURO SIGN}"),
        ("a\x1b[2Jb", "a\\u001b[2Jb"),
        ("a\nnext\r\n", "a\\u000anext\\u000d\\u000a"),
        ("a\x9bb\x7f", "a\\u009bb\\u007f"),
        ("a\N{RIGHT-TO-LEFT OVERRIDE}b", "a\\u202eb"),
        ("a\N{LINE SEPARATOR}b\N{ZERO WIDTH SPACE}", "a\\u2028b\\u200b"),
        ("a\N{TAG LATIN SMALL LETTER A}", "a\\U000e0061"),
        ("a\udcff", "a\\udcff"),
    ],
    ids=["plain", "letters", "ESC", "newlines", "C1", "bidi", "separators", "tag", "surrogate"],
)
def test_what_a_terminal_obeys_is_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown
    assert escaped(text).isprintable()


def test_some_characters_may_stay() -> None:
    assert escaped("a\n\tb\x1b", but="\n\t") == "a\n\tb\\u001b"


def test_a_long_text_is_cut() -> None:
    assert escaped("x" * MAX_CHARACTERS) == "x" * MAX_CHARACTERS
    assert escaped("abcdef", limit=4) == "abcd... (2 more)"
    assert len(escaped("\x1b" * 10**6)) < 7 * MAX_CHARACTERS


def test_escapes_are_read_back_by_toml() -> None:
    text = "a\x1b\u202e\U000e0061"
    assert tomllib.loads(f'x = "{escaped(text)}"') == {"x": text}
