"""Channels, the ids in their names, and all names that Neverstale uses in Redis."""

import re
import uuid
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, cast, get_args
from urllib.parse import quote, unquote

ChannelKind: TypeAlias = Literal["project", "user"]
IdType: TypeAlias = Literal["uuid", "bigint", "text"]

MAX_ID_BYTES = 512
_KINDS = get_args(ChannelKind)
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")  # what ``quote`` leaves as it is, except ~
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class InvalidId(ValueError):
    """The text is no id of the required type; the message says what is expected."""


class Channel(NamedTuple):
    """What a subscriber subscribes to: the events of one project, or of one user alone.

    A tuple, because channels are the keys of most dictionaries of a gateway.
    """

    kind: ChannelKind
    id: str

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.id}"

    @property
    def token(self) -> str:
        """The name in characters that need no escape in a URL or a JSON string.

        It has no dots except those of the id.
        """
        if _PLAIN.fullmatch(self.id):  # as most ids are
            return f"{self.kind}:{self.id}"
        escaped = quote(self.id, safe="").replace("~", "%7E").replace("%", "~")
        return f"{self.kind}:{escaped}"


def parse_channel_token(token: str) -> Channel | None:
    """The channel whose ``Channel.token`` this is, or None."""
    kind, _, escaped = token.partition(":")
    if kind not in _KINDS or not escaped:
        return None
    if _PLAIN.fullmatch(escaped):
        return Channel(cast(ChannelKind, kind), escaped)
    channel = Channel(cast(ChannelKind, kind), unquote(escaped.replace("~", "%")))
    return channel if channel.token == token else None


def parse_id(text: str, id_type: IdType) -> str:
    """The spelling of an id that PostgreSQL writes, so that each id has one channel.

    Raises:
        InvalidId: the text is no id of that type, or is longer than 512 bytes.
    """
    if not text or len(text.encode(errors="surrogatepass")) > MAX_ID_BYTES:
        raise InvalidId(f"must have 1 to {MAX_ID_BYTES} bytes")
    if id_type == "uuid":
        if _UUID.fullmatch(text):
            return text
        try:
            return str(uuid.UUID(text))
        except ValueError:
            raise InvalidId("must be a UUID") from None
    if id_type == "bigint":
        number = _parse_integer(text)
        if number is None or not -(2**63) <= number < 2**63:
            raise InvalidId("must be an integer of 64 bits")
        return str(number)
    if _CONTROL.search(text) or not _is_unicode(text):
        raise InvalidId("must be text without control characters")
    return text


def canonical_id(text: str, id_type: IdType) -> str | None:
    """Like ``parse_id``, but None if the text is no id of that type."""
    try:
        return parse_id(text, id_type)
    except InvalidId:
        return None


def _parse_integer(text: str) -> int | None:
    """The integer that PostgreSQL reads from the text, or None.

    Blanks around it are allowed and, since version 16, underscores and 0x, 0o or 0b.
    """
    if not text.isascii():
        return None
    for base in (10, 0):
        try:
            return int(text, base)
        except ValueError:
            continue
    return None


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


@dataclass(frozen=True, slots=True)
class RedisNames:
    """The names of all channels and keys in Redis, which share a prefix.

    In a cluster, channels and their logs are spread over its slots. Everything else is in the
    slot of ``state``.
    """

    prefix: str = ""
    is_cluster: bool = False

    def channel(self, channel: Channel) -> str:
        """The name of the channel.

        In a cluster it is a hash tag: an id with a brace would have another one than its log.
        """
        name = f"{self.prefix}{channel.name}"
        return f"{{{name}}}" if self.is_cluster else name

    def log(self, channel: Channel) -> str:
        """The key of the channel log. Its hash tag is the channel's name, so that both are in
        one cluster slot.
        """
        return f"{{{self.prefix}{channel.name}}}:log"

    @property
    def tick(self) -> str:
        return f"{self.prefix}neverstale:tick"

    @property
    def recheck(self) -> str:
        return f"{self.prefix}neverstale:recheck"

    @property
    def state(self) -> str:
        return f"{self.prefix}neverstale:state"

    @property
    def statuses(self) -> str:
        """The key of the index of all processes that report their status."""
        if self.is_cluster:
            return f"{{{self.state}}}:status"
        return f"{{{self.prefix}neverstale:status}}"

    def status(self, process: str) -> str:
        """The key of one process's status. It shares a cluster slot with the index."""
        return f"{self.statuses}:{process}"

    def ticket(self, digest: str) -> str:
        if self.is_cluster:
            return f"{{{self.state}}}:ticket:{digest}"
        return f"{self.prefix}neverstale:ticket:{digest}"
