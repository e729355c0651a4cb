"""The scenarios of ``make load``, each with a default size for a laptop."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tests.load.measurement import Options, Run, Window

RETURN_SECONDS: Final = 120.0
IDLE_PROOF_SECONDS: Final = 2


@dataclass(frozen=True)
class Scenario:
    """A scenario's steps and its default size."""

    about: str
    play: Callable[[Run], Awaitable[None]]
    options: Options


async def _steady(run: Run) -> None:
    await run.connect()
    async with run.writing():
        await run.measure("steady", run.options.seconds)


async def _reconnect_storm(run: Run) -> None:
    await run.connect()
    async with run.writing():
        await run.measure("before", run.options.seconds)
        first = await run.next_sample()
        run.clients.tell("cut")
        await run.next_sample()  # by then the gateway has noticed the cut
        await run.until_live(RETURN_SECONDS)
        run.windows.append(Window("storm", first, await run.next_sample()))
        await run.measure("after", run.options.seconds)


async def _slow_clients(run: Run) -> None:
    await run.connect()
    async with run.writing():
        await run.measure("all read", run.options.seconds)
        run.clients.tell("pause")
        await run.measure("some do not read", run.options.seconds)
        run.clients.tell("wake")
        await run.next_sample()
        await run.measure("all read again", run.options.seconds)


async def _idle(run: Run) -> None:
    await run.connect()
    await run.measure("idle", run.options.seconds)
    async with run.writing():  # they were really connected
        await run.measure("woken", IDLE_PROOF_SECONDS)


SCENARIOS: Final = {
    "pipeline": Scenario(
        "a moderate rate over many projects: latency of the whole way",
        _steady,
        Options(sockets=200, projects=50, rate=100, seconds=15, gateways=2, clients=1),
    ),
    "fanout": Scenario(
        "one project that many sockets hear",
        _steady,
        Options(sockets=1000, projects=1, rate=10, seconds=15, gateways=2, clients=1),
    ),
    "many-projects": Scenario(
        "a thousand projects of few sockets each",
        _steady,
        Options(sockets=2000, projects=1000, rate=200, seconds=15, gateways=2, clients=1),
    ),
    "reconnect-storm": Scenario(
        "most sockets are cut at once and resume: latencies of a tenth that stay",
        _reconnect_storm,
        Options(
            sockets=1000,
            projects=100,
            rate=50,
            seconds=5,
            gateways=2,
            clients=1,
            cut_share=0.9,
        ),
    ),
    "slow-clients": Scenario(
        "some sockets stop reading: what the others feel of it",
        _slow_clients,
        Options(
            sockets=50,
            projects=1,
            rate=400,
            seconds=20,
            gateways=1,
            clients=1,
            slow_share=0.1,
            id_bytes=480,  # large frames, so that unread data soon fills the buffers
        ),
    ),
    "idle": Scenario(
        "many sockets, and nothing happens: memory and CPU of a connection",
        _idle,
        Options(sockets=2000, projects=100, rate=100, seconds=30, gateways=1, clients=1),
    ),
}
