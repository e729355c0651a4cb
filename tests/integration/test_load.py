"""``make load`` on a very small scale: it finds nothing lost, and finds what is lost."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tests.integration.processes import ROOT

SMALL = "--scenario pipeline --sockets 20 --projects 4 --rate 50 --seconds 2 --gateways 1"


async def _load(folder: Path, *more: str) -> tuple[int, dict[str, Any], str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.load.run", *SMALL.split(), "--output", str(folder), *more),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    told = output.decode()
    assert process.returncode in (0, 1), told
    (result,) = json.loads((folder / "report.json").read_text())
    return process.returncode, result, told


async def test_a_small_run_loses_nothing_and_writes_its_report(tmp_path: Path) -> None:
    code, result, told = await _load(tmp_path)
    assert code == 0, told
    accounting = result["accounting"]
    told_of = accounting["told_by_event"] + accounting["told_by_reset"]
    assert 0 < told_of == accounting["owed"]
    assert accounting["lost"] == 0
    assert result["windows"][0]["latency_us"]["p50"] > 0
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 5
    assert "src=" not in page


async def test_a_lost_event_is_found(tmp_path: Path) -> None:
    code, result, told = await _load(tmp_path, "--lose-one")
    assert code == 1, told
    assert result["accounting"]["lost"] == 1
    assert result["accounting"]["examples_of_lost"] == [
        {"subscriber": 0, "project": 0, "change": 1}
    ]
    assert "1 lost" in told
