"""The npm package with TanStack Query in Node, on real stacks: ``client/tests/integration``.

``CLIENT_TESTS=oracle`` runs only the test files with this word in their path.
"""

import asyncio
import os
import shutil
from typing import Final

import pytest

from tests.support.harness import serving
from tests.support.processes import ROOT
from tests.support.servers import Servers

CLIENT: Final = ROOT / "client"
VITEST: Final = CLIENT / "node_modules" / ".bin" / "vitest"


async def test_the_browser_side_on_real_stacks(servers: Servers) -> None:
    if shutil.which("node") is None:
        pytest.skip("Node is not installed: the browser side is not tested")
    if not VITEST.exists():
        pytest.skip("client/node_modules is missing: `make test` installs it")
    files = os.environ.get("CLIENT_TESTS", "").split()
    async with serving(servers) as url:
        process = await asyncio.create_subprocess_exec(
            *(VITEST, "run", "--config", "vitest.integration.config.ts"),
            *files,
            cwd=CLIENT,
            env={**os.environ, "HARNESS_URL": url, "NO_COLOR": "1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    print(output.decode())
    assert process.returncode == 0
