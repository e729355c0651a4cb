"""Reads the status of all processes: from Redis, or from a gateway."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson

from operations.check.gateway_facts import ANSWER_SECONDS, STATUS_PATH
from shared.links.redis_access import open_redis
from shared.links.redis_link import RedisLost
from shared.links.status_board import read_status


class StatusUnknown(Exception):
    """The status cannot be read. The text says why and what to do."""


async def read_from_redis(url: str, prefix: str, *, is_cluster: bool) -> Mapping[str, Any]:
    """Return the merged status. Raises ``StatusUnknown``."""
    try:
        async with open_redis(url, prefix, is_cluster=is_cluster) as redis:
            return await read_status(redis)
    except RedisLost as exc:
        raise StatusUnknown(f"Redis does not answer: {exc}: see neverstale check") from exc


async def read_from_gateway(url: str, admin_key: str) -> Mapping[str, Any]:
    """Return the merged status. Raises ``StatusUnknown``."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    headers = {"Authorization": f"Bearer {admin_key}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.get(f"{url}{STATUS_PATH}", headers=headers) as response,
        ):
            if response.status != HTTPStatus.OK:
                raise StatusUnknown(
                    f"{url} answers with status {response.status}: set ADMIN_KEY here and there"
                )
            status: Mapping[str, Any] = orjson.loads(await response.read())
    except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as exc:
        reason = str(exc) or type(exc).__name__
        raise StatusUnknown(f"{url} does not answer: {reason}: see neverstale check") from exc
    return status
