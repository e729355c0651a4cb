"""``python -m tests.attack.attacker NAME TARGET``: run one attack until SIGTERM.

It is a separate process with a low priority, so that its computations do not slow the stack. It
prints a line when it has begun, one after its first action, and at the end its counts as JSON.
"""

import asyncio
import json
import os
import signal
import sys
from typing import Final

import uvloop

from tests.attack.catalog import ATTACKS
from tests.attack.peer import Peer, Target
from tests.support.machine import allow_many_files

NICENESS: Final = 15
LOOK_SECONDS: Final = 0.05


async def play(name: str, target: Target) -> dict[str, int]:
    """Run the attack until SIGTERM. Return its counts."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    peer = Peer(target)
    playing = asyncio.create_task(_play(name, peer))
    stopping = asyncio.create_task(stop.wait())
    print("playing", flush=True)
    while not (peer.counts or playing.done() or stop.is_set()):
        await asyncio.sleep(LOOK_SECONDS)
    print("acted" if peer.counts else "idle", flush=True)
    await asyncio.wait((playing, stopping), return_when=asyncio.FIRST_COMPLETED)
    if playing.done():
        playing.result()  # an attack runs until it is stopped
        raise AssertionError(f"{name} ended by itself")
    playing.cancel()
    await asyncio.wait((playing,))
    stopping.cancel()
    return dict(peer.counts)


async def _play(name: str, peer: Peer) -> None:
    await ATTACKS[name].play(peer)


def main() -> None:
    os.nice(NICENESS)
    allow_many_files()
    name, target = sys.argv[1:]
    print(json.dumps(uvloop.run(play(name, Target(**json.loads(target))))), flush=True)


if __name__ == "__main__":
    main()
