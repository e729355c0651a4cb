"""Where the keys of tokens come from: a setting, or a document that is read repeatedly."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

import aiohttp

from gateway.auth.key_set import InvalidKeys, KeySet

MAX_DOCUMENT_BYTES: Final = 256 * 1024
FETCH_SECONDS: Final = 5.0
URL_REST_SECONDS: Final = 5.0
FILE_REFRESH_SECONDS: Final = 2.0

State: TypeAlias = Literal["ok", "degraded", "missing"]

log = logging.getLogger(__name__)


class DocumentUnavailable(Exception):
    """The document can't be read now. The message gives the reason."""


class KeySource(Protocol):
    """The current keys. When they change, ``keys`` is another object."""

    @property
    def keys(self) -> KeySet | None: ...

    @property
    def state(self) -> State:
        """``degraded``: the last attempt to read keys failed; ``missing``: all have failed."""
        ...

    async def refresh(self) -> None:
        """Read the keys again, unless that was tried very recently."""
        ...

    async def run(self) -> None:
        """Read the keys at intervals. Never returns."""
        ...


class FixedKeys:
    """Keys that never change."""

    state: Final = "ok"

    def __init__(self, keys: KeySet) -> None:
        self.keys: KeySet | None = keys

    async def refresh(self) -> None:
        pass

    async def run(self) -> None:
        await asyncio.Event().wait()


class DocumentKeys:
    """The keys of a JWK set, read every *refresh_seconds* and on request.

    Reads are at least *rest_seconds* apart, however many requests come. While the document
    can't be read, the last keys stay in use.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[bytes]],
        parse: Callable[[bytes], KeySet],
        *,
        keys: KeySet | None,
        refresh_seconds: float,
        rest_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keys = keys
        self._fetch = fetch
        self._parse = parse
        self._refresh_seconds = refresh_seconds
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._reading = asyncio.Lock()
        self._tried_at = -float("inf")
        self._document: bytes | None = None
        self._fault: str | None = None

    @property
    def state(self) -> State:
        if self.keys is None:
            return "missing"
        return "ok" if self._fault is None else "degraded"

    async def refresh(self) -> None:
        async with self._reading:  # concurrent callers wait for the result of this read
            if self._clock() < self._tried_at + self._rest_seconds:
                return
            try:
                self._accept(await self._fetch())
                if self._fault is not None:
                    log.info("keys can be read again")
                self._fault = None
            except (DocumentUnavailable, InvalidKeys) as exc:
                if self._fault != str(exc):
                    log.warning("keys could not be read", extra={"reason": str(exc)})
                self._fault = str(exc)
            finally:
                self._tried_at = self._clock()

    async def run(self) -> None:
        while True:
            await self.refresh()
            is_ok = self._fault is None
            await asyncio.sleep(self._refresh_seconds if is_ok else self._rest_seconds)

    def _accept(self, document: bytes) -> None:
        if document == self._document:
            return
        self.keys = self._parse(document)
        self._document = document
        log.info("keys read", extra={"kids": [key.kid for key in self.keys.keys]})
        for reason in self.keys.unused:
            log.warning("a key is not used", extra={"reason": reason})


def read_file(path: Path) -> bytes:
    """Read the file. Raises ``DocumentUnavailable``."""
    try:
        with path.open("rb") as file:
            document = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as exc:
        raise DocumentUnavailable(f"can't be read: {exc.strerror}") from exc
    if len(document) > MAX_DOCUMENT_BYTES:
        raise DocumentUnavailable(f"is longer than {MAX_DOCUMENT_BYTES} bytes")
    return document


async def fetch_url(url: str) -> bytes:
    """Return the body of a response with status 200; redirects are not followed.

    The operator has configured this URL, not the one that a redirect leads to.
    Raises ``DocumentUnavailable``.
    """
    document = bytearray()
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=FETCH_SECONDS)) as http,
            http.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise DocumentUnavailable(f"the response has status {response.status}")
            async for chunk in response.content.iter_chunked(MAX_DOCUMENT_BYTES):
                document += chunk
                if len(document) > MAX_DOCUMENT_BYTES:
                    raise DocumentUnavailable(f"is longer than {MAX_DOCUMENT_BYTES} bytes")
    except TimeoutError as exc:
        raise DocumentUnavailable(f"no response within {FETCH_SECONDS} s") from exc
    except aiohttp.ClientConnectionError as exc:  # its text contains host and port only
        raise DocumentUnavailable(str(exc) or type(exc).__name__) from exc
    except aiohttp.ClientError as exc:
        raise DocumentUnavailable(type(exc).__name__) from exc
    return bytes(document)
