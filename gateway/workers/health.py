"""Health and metrics of all workers, from whichever of them is asked."""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp
import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from gateway.workers.merging import merge_metrics, merge_readiness
from gateway.workers.supervisor import Worker
from shared.http.server import Readiness, at_intervals, health_routes, joint_health_routes

ANSWER_SECONDS: Final = 0.5  # a worker that takes longer counts as absent


class WorkerHealth:
    """Answers the siblings on a Unix socket, and for all workers on the port."""

    def __init__(
        self,
        worker: Worker,
        registry: CollectorRegistry,
        ready: Callable[[], Readiness],
    ) -> None:
        self._worker = worker
        self._registry = registry
        self._ready = ready

    async def run(self) -> None:
        """Answer the siblings. Never returns."""
        app = web.Application()
        app.add_routes(health_routes(self._registry, self._ready))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            self._worker.path.unlink(missing_ok=True)  # of a worker that was here before
            await web.UnixSite(runner, str(self._worker.path)).start()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    def routes(self) -> list[web.RouteDef]:
        """Routes of ``/healthz``, ``/readyz`` and ``/metrics`` for all workers."""
        return joint_health_routes(self._all_metrics, at_intervals(self._all_readiness))

    async def _all_metrics(self) -> bytes:
        others = await self._ask("/metrics")
        own = generate_latest(self._registry)
        return merge_metrics([text.decode() for text in (own, *others) if text is not None])

    async def _all_readiness(self) -> Readiness:
        others = await self._ask("/readyz")
        is_ready, details = self._ready()
        return merge_readiness(
            {"status": "ready" if is_ready else "not ready", **details},
            [None if text is None else orjson.loads(text) for text in others],
        )

    async def _ask(self, path: str) -> Sequence[bytes | None]:
        return await asyncio.gather(*(_get(one, path) for one in self._worker.siblings))


async def _get(sibling: Path, path: str) -> bytes | None:
    """What a sibling answers; None if it does not in time, or fails."""
    try:
        async with (
            asyncio.timeout(ANSWER_SECONDS),
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(sibling))) as session,
            session.get(f"http://worker{path}") as response,
        ):
            is_answer = response.status in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE)
            return await response.read() if is_answer else None
    except (OSError, aiohttp.ClientError, TimeoutError):
        return None
