"""Reads from Redis what ``find_in_redis`` judges."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError

from operations.check.redis_findings import RedisFacts
from shared.links.redis_link import (
    Client,
    RedisLost,
    connect,
    describe_error,
    read_state,
    translated_errors,
)
from shared.links.redis_sentinel import sentinel_locate
from shared.links.redis_url import parse_redis_url
from shared.protocol.channels import Channel, RedisNames

_PINGS: Final = 10
_KEY_SECONDS: Final = 60  # if the check is interrupted, its keys are gone after that
_BEAT_SECONDS: Final = 1.5  # a running leader writes a heartbeat each second


async def read_redis(
    url: str, names: RedisNames, *, own_database: str
) -> tuple[RedisFacts, float]:
    """Return the facts, and the server's time of day in Unix seconds.

    Tries each command that Neverstale uses, on a separate channel and keys.

    Raises:
        RedisLost: the server cannot be reached, or answers nothing.
    """
    target = parse_redis_url(url)
    client = connect(target, sentinel_locate(target))
    try:
        async with translated_errors(client):
            errors: dict[str, str] = {}
            pings = [await _ping(client, errors) for _ in range(_PINGS)]
            info = await _try(errors, "info", client, "INFO") or {}
            buffer = await _try({}, "", client, "CONFIG", "GET", "client-output-buffer-limit")
            time = await _try(errors, "time", client, "TIME")
        async with translated_errors(client):
            await _try_commands(client, names, errors)
            await _try_pubsub(client, names, errors)
        state = await _state(client, names) if "hgetall" not in errors else {}
        database = state.get("database", "")
        is_foreign = "" not in (database, own_database) and database != own_database
        facts = RedisFacts(
            {name: str(value) for name, value in info.items()},
            errors,
            _pubsub_limit(buffer),
            min(pings),
            database,
            own_database,
            has_foreign_leader=is_foreign and await _beats(client, names, state),
        )
        return facts, time[0] + time[1] / 1e6 if time else 0.0
    finally:
        await client.aclose()


async def _ping(client: Client, errors: dict[str, str]) -> float:
    time = asyncio.get_running_loop().time
    started = time()
    await _try(errors, "ping", client, "PING")
    return time() - started


async def _try(errors: dict[str, str], name: str, client: Client, *words: str | int) -> Any:
    """Return the answer to a command, or None with its error in *errors*."""
    try:
        return await client.execute_command(*words)  # type: ignore[no-untyped-call]
    except RedisError as exc:
        if not isinstance(exc, ResponseError):
            raise
        errors[name] = describe_error(exc)
        return None


async def _try_commands(client: Client, names: RedisNames, errors: dict[str, str]) -> None:
    unique = f"neverstale-check-{secrets.token_hex(8)}"
    log, hash_, text = (
        names.log(Channel("project", unique)),
        names.ticket(f"{unique}-hash"),
        names.ticket(unique),
    )
    script = await _try(errors, "script|load", client, "SCRIPT", "LOAD", "return 1")
    for words in (
        ("ZADD", log, 1, "a"),
        ("EXPIRE", log, _KEY_SECONDS),
        ("ZCARD", log),
        ("ZRANGE", log, 0, -1),
        ("ZREVRANGE", log, 0, -1),
        ("ZRANGEBYSCORE", log, 0, 1),
        ("ZREMRANGEBYRANK", log, 0, 0),
        ("HSET", hash_, "a", "b"),
        ("EXPIRE", hash_, _KEY_SECONDS),
        ("HGET", hash_, "a"),
        ("HGETALL", names.state),
        ("SET", text, "a", "EX", _KEY_SECONDS),
        ("GETDEL", text),
        ("DEL", log, hash_),
        ("PUBLISH", names.channel(Channel("project", unique)), ""),
        *([("EVALSHA", _text(script), 1, log)] if script else []),
    ):
        await _try(errors, str(words[0]).lower(), client, *words)


async def _try_pubsub(client: Client, names: RedisNames, errors: dict[str, str]) -> None:
    pubsub = client.pubsub()
    actions: dict[str, Callable[[str], Awaitable[Any]]] = {
        "subscribe": pubsub.subscribe,
        "unsubscribe": pubsub.unsubscribe,
    }
    try:
        for name, act in actions.items():
            try:
                await act(names.tick)
                await pubsub.get_message(timeout=None)
            except ResponseError as exc:
                errors[name] = describe_error(exc)
                return
    finally:
        await pubsub.aclose()  # type: ignore[no-untyped-call]


async def _state(client: Client, names: RedisNames) -> dict[str, str]:
    try:
        async with translated_errors(client):
            return await read_state(client, names.state)
    except RedisLost:
        return {}


async def _beats(client: Client, names: RedisNames, before: dict[str, str]) -> bool:
    """Whether the leader that wrote this state is running."""
    await asyncio.sleep(_BEAT_SECONDS)
    return (await _state(client, names)).get("alive") != before.get("alive")


def _pubsub_limit(answer: Any) -> str:
    """The limit of the class pubsub in an answer such as ``normal 0 0 0 pubsub 1 2 3``."""
    words = _text(answer[1]).split() if answer else []
    if "pubsub" not in words:
        return ""
    start = words.index("pubsub") + 1
    return " ".join(words[start : start + 3])


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
