"""Decide by the headers alone which request bodies are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"})


@dataclass(frozen=True, slots=True)
class BodyRefusal:
    """An HTTP status and its explanation."""

    status: int
    message: str


@dataclass(frozen=True, slots=True)
class BodyHeaders:
    """What a request's headers say about its body; the sequences hold all values of a field."""

    exists: bool
    length: int | None  # None: the body is chunked, or there is none
    encodings: Sequence[str]  # Content-Encoding
    transfer: Sequence[str]  # Transfer-Encoding
    expect: Sequence[str]


def refuse_body(
    method: str, body: BodyHeaders, *, is_expected: bool, max_bytes: int
) -> BodyRefusal | None:
    """Return why a request is refused before any of its body is read, or None.

    Nothing is decompressed: a small body could expand to a large one.
    """
    if body.expect and not (
        body.exists and is_expected and _words(body.expect) == ["100-continue"]
    ):
        return BodyRefusal(417, "Expect must be 100-continue, where a body is read")
    if not body.exists:
        return None
    if method in _WITHOUT_BODY:
        return BodyRefusal(400, f"{method} must not have a body")
    if not is_expected:
        return None  # the answer does not depend on it, and it is not read
    if _words(body.encodings) not in ([], ["identity"]):
        return BodyRefusal(415, "the body must not be compressed")
    if _words(body.transfer) not in ([], ["chunked"]):
        return BodyRefusal(400, "Transfer-Encoding must be chunked, or left out")
    if body.length is not None and body.length > max_bytes:
        return BodyRefusal(413, f"the body must have at most {max_bytes} bytes")
    return None


def _words(values: Sequence[str]) -> list[str]:
    return [word.strip().lower() for value in values for word in value.split(",")]
