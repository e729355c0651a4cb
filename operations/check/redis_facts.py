"""Reads from a Redis server what ``find_in_redis`` judges."""

import asyncio
import secrets
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError

from operations.check.redis_findings import RedisFacts
from shared.links.redis_link import (
    Client,
    RedisLost,
    describe_error,
    read_state,
    translated_errors,
)
from shared.protocol.channels import Channel, RedisNames
from shared.protocol.slots import SeenRange, slot_of

_PINGS: Final = 10
_KEY_SECONDS: Final = 60  # if the check is interrupted, its keys are gone after that
_BEAT_SECONDS: Final = 1.5  # a running leader writes a heartbeat each second


async def read_redis(
    client: Client,
    names: RedisNames,
    *,
    own_database: str,
    served: Collection[SeenRange] = (),
) -> RedisFacts:
    """Try each command that Neverstale uses, on a separate channel and keys.

    *served*: the slots of a cluster's primary, to which the channel belongs. Commands on the
    state and tickets, whose slot may be elsewhere, are refused there with MOVED.

    Raises:
        RedisLost: the server cannot be reached, or answers nothing.
    """
    async with translated_errors(client):
        errors: dict[str, str] = {}
        pings = [await _ping(client, errors) for _ in range(_PINGS)]
        info = await _try(errors, "info", client, "INFO") or {}
        config = await _read_config(client)
        time = await _try(errors, "time", client, "TIME")
        now = datetime.now(UTC).timestamp()
    channel = _unique_channel(names, served)
    async with translated_errors(client):
        await _try_commands(client, names, channel, errors)
        await _try_pubsub(client, names, channel, errors)
    state = await _state(client, names) if "hgetall" not in errors else {}
    database = state.get("database", "")
    is_foreign = "" not in (database, own_database) and database != own_database
    return RedisFacts(
        {name: str(value) for name, value in info.items()},
        errors,
        _pubsub_limit(config.get("client-output-buffer-limit", "")),
        config.get("cluster-require-full-coverage", ""),
        time[0] + time[1] / 1e6 - now if time else None,
        min(pings),
        database,
        own_database,
        has_foreign_leader=is_foreign and await _beats(client, names, state),
    )


def _unique_channel(names: RedisNames, served: Collection[SeenRange]) -> Channel:
    """Return a channel that nobody uses, in one of the slots that are served."""
    while True:
        channel = Channel("project", f"neverstale-check-{secrets.token_hex(8)}")
        slot = slot_of(names.channel(channel))
        if not served or any(one.first <= slot <= one.last for one in served):
            return channel


async def _read_config(client: Client) -> dict[str, str]:
    """Return those of the settings that the server shows."""
    found = {}
    for name in ("client-output-buffer-limit", "cluster-require-full-coverage"):
        if answer := await _try({}, "", client, "CONFIG", "GET", name):
            found[name] = _text(answer[1])
    return found


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


async def _try_commands(
    client: Client, names: RedisNames, channel: Channel, errors: dict[str, str]
) -> None:
    log, hash_, text = (
        names.log(channel),
        names.ticket(f"{channel.id}-hash"),
        names.ticket(channel.id),
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
        ("DEL", log),
        ("DEL", hash_),
        *([("EVALSHA", _text(script), 1, log)] if script else []),
        *_publishing(names, channel),
    ):
        await _try(errors, str(words[0]).lower(), client, *words)
    for command in ("NODES", "SLOTS") if names.is_cluster else ():
        await _try(errors, f"cluster|{command.lower()}", client, "CLUSTER", command)


def _publishing(names: RedisNames, channel: Channel) -> list[tuple[str, str, str]]:
    """Return commands as those that publish in the channel and, in a cluster, ticks."""
    if not names.is_cluster:
        return [("PUBLISH", names.channel(channel), "")]
    tick = f"{names.tick}:{channel.id}"  # gateways do not subscribe to it
    return [("SPUBLISH", names.channel(channel), ""), ("PUBLISH", tick, "")]


async def _try_pubsub(
    client: Client, names: RedisNames, channel: Channel, errors: dict[str, str]
) -> None:
    shard = names.channel(channel)
    pool = client.on_new_connection().connection_pool
    connection = await pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        for command, name in (
            ("SUBSCRIBE", names.tick),
            ("UNSUBSCRIBE", names.tick),
            *((("SSUBSCRIBE", shard), ("SUNSUBSCRIBE", shard)) if names.is_cluster else ()),
        ):
            await connection.send_command(command, name)
            try:
                await connection.read_response()
            except ResponseError as exc:
                errors[command.lower()] = describe_error(exc)
    finally:
        await connection.disconnect()


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


def _pubsub_limit(limits: str) -> str:
    """The limit of the class pubsub in limits such as ``normal 0 0 0 pubsub 1 2 3``."""
    words = limits.split()
    if "pubsub" not in words:
        return ""
    start = words.index("pubsub") + 1
    return " ".join(words[start : start + 3])


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
