"""Breaks parts, servers, links and browsers for a while, and repairs them."""

import asyncio
import random
import signal
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence

from deploy.dev.servers import ValkeyServer
from tests.chaos.browser import Browser
from tests.chaos.cluster_faults import ClusterFault
from tests.chaos.kinds import Fault
from tests.chaos.server_faults import PostgresFault, RedisFault
from tests.chaos.stack import ProxiedStack
from tests.support.redis_cluster import RedisCluster


class Breaker:
    """Inject planned faults. Faults of the same target run one after another."""

    def __init__(self, stack: ProxiedStack, browsers: Sequence[Browser], seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._stack = stack
        self._browsers = {browser.plan.name: browser for browser in browsers}
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._random = random.Random(f"{seed} faults")

    async def run(self, faults: Sequence[Fault], began: float) -> None:
        """Return when all are repaired: all parts run, all links forward."""
        async with asyncio.TaskGroup() as tasks:
            for fault in faults:
                tasks.create_task(self._break_at(fault, began + fault.at))

    async def _break_at(self, fault: Fault, at: float) -> None:
        await asyncio.sleep(at - self._stack.timeline.now())
        target = await self._resolve(fault)
        async with self._locks[target]:
            self.counts[self._label(fault)] += 1
            self._note(f"{fault.kind} {target} for {fault.seconds:.2f} s")
            await self._action(fault, target)(fault.seconds)
            self._note(f"{fault.kind} {target} is over")

    async def _resolve(self, fault: Fault) -> str:
        """Return the target's name: of a leader or standby, its current process."""
        role, arrow, server = fault.target.partition("->")
        if role in ("leader", "standby"):
            role = await self._stack.find(role)
        return (role + arrow + server) or fault.kind.partition(" ")[0]

    def _label(self, fault: Fault) -> str:
        target = fault.target.replace("1", "").replace("2", "")
        return fault.kind + (f" {target}" if target and target[-1:].isalpha() else "")

    def _action(self, fault: Fault, target: str) -> Callable[[float], Awaitable[None]]:
        if target in self._stack.parts:
            return _PartFault(self._stack, target).of(fault.kind)
        if target in self._stack.links:
            return _LinkFault(self._stack, target).of(fault.kind)
        if target in self._browsers:
            return _BrowserFault(self._browsers[target]).of(fault.kind)
        redis = self._stack.redis
        if target == "redis" and isinstance(redis, RedisCluster):
            return ClusterFault(redis, self._random).of(fault.kind)
        if target == "redis" and isinstance(redis, ValkeyServer):
            return RedisFault(redis, self._random).of(fault.kind)
        return PostgresFault(self._stack).of(fault.kind)

    def _note(self, what: str) -> None:
        self._stack.timeline.note("FAULT", what)


class _PartFault:
    def __init__(self, stack: ProxiedStack, name: str) -> None:
        self._part = stack.parts[name]
        self._stack = stack

    def of(self, kind: str) -> Callable[[float], Awaitable[None]]:
        return {"kill": self.kill, "restart": self.restart, "freeze": self.freeze}[kind]

    async def kill(self, seconds: float) -> None:
        await self._part.end(signal.SIGKILL)
        await asyncio.sleep(seconds)
        await self._stack.start_part(self._part.name)

    async def restart(self, seconds: float) -> None:
        await self._stack.up(self._part)
        code = await self._part.end(signal.SIGTERM)
        if code != 0:
            self._stack.broken.append(f"{self._part.name} ended with {code} at SIGTERM")
        await asyncio.sleep(seconds)
        await self._stack.start_part(self._part.name)

    async def freeze(self, seconds: float) -> None:
        self._part.freeze()
        await asyncio.sleep(seconds)
        self._part.thaw()


class _LinkFault:
    def __init__(self, stack: ProxiedStack, name: str) -> None:
        self._link = stack.links[name]

    def of(self, kind: str) -> Callable[[float], Awaitable[None]]:
        return {"cut": self.cut, "black hole": self.swallow}[kind]

    async def cut(self, seconds: float) -> None:
        self._link.cut()

    async def swallow(self, seconds: float) -> None:
        self._link.swallow()
        await asyncio.sleep(seconds)
        self._link.heal()


class _BrowserFault:
    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def of(self, kind: str) -> Callable[[float], Awaitable[None]]:
        browser = self._browser
        return {"slow": self.slow, "reconnect": browser.leave, "reload": browser.reload}[kind]

    async def slow(self, seconds: float) -> None:
        self._browser.slow_down()
        await asyncio.sleep(seconds)
        self._browser.speed_up()
