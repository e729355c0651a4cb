"""``make load`` at a very small size, while all parts restart, finds the lost event."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT

SMALL = (
    "--scenario rolling --sockets 20 --projects 4 --rate 50 --seconds 1"
    " --gateways 2 --listeners 1"
)


async def _load(folder: Path, *more: str) -> tuple[int, dict[str, Any], str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.load.run", *SMALL.split(), "--output", str(folder), *more),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    received = output.decode()
    assert process.returncode in (0, 1), received
    (result,) = json.loads((folder / "report.json").read_text())
    return process.returncode, result, received


async def test_a_small_run_finds_the_one_event_that_was_lost(tmp_path: Path) -> None:
    code, result, received = await _load(tmp_path, "--lose-one")
    assert code == 1, received
    accounting = result["accounting"]
    assert (
        0 < accounting["told_by_event"] + accounting["told_by_reset"] == accounting["owed"] - 1
    )
    assert accounting["lost"] == 1
    assert accounting["examples_of_lost"] == [{"subscriber": 0, "project": 0, "change": 1}]
    assert "1 lost" in received
    # Each gateway has ended while the other ran. So few clients are all closed at once, which
    # breaks the bound on how many may be away; no client may be reset all the same.
    assert result["counts"]["returned, resumed"] >= 20
    assert not [problem for problem in result["problems"] if "reset" in problem]
    assert [window["name"] for window in result["windows"]] == [
        "before",
        "gateways restart",
        "listeners restart",
        "after",
    ]
    assert result["windows"][0]["latency_us"]["p50"] > 0
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 5
    assert "src=" not in page
