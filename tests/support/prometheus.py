"""A real Prometheus with our alert rules, which it evaluates each second."""

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from deploy.dev.servers import die_with_parent, free_port
from tests.support.processes import ROOT

RULES: Final = ROOT / "deploy" / "monitoring" / "alerts.yaml"
FIRING_SECONDS: Final = 90.0


class Prometheus:
    """Knows which alerts fire."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url

    async def firing(self) -> set[str]:
        async with self._http.get(f"{self._url}/api/v1/alerts") as response:
            alerts: Sequence[Any] = (await response.json())["data"]["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

    async def until_ready(self) -> None:
        async with asyncio.timeout(FIRING_SECONDS):
            while True:
                try:
                    async with self._http.get(f"{self._url}/-/ready") as response:
                        if response.ok:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.1)

    async def until_scraped(self, targets: int) -> None:
        """Wait until so many targets answer."""
        async with asyncio.timeout(FIRING_SECONDS):
            while await self._value("sum(up)") != targets:
                await asyncio.sleep(0.1)

    async def _value(self, expression: str) -> float | None:
        query = {"query": expression}
        async with self._http.get(f"{self._url}/api/v1/query", params=query) as response:
            found = (await response.json())["data"]["result"]
        return float(found[0]["value"][1]) if found else None

    async def until_firing(self, *names: str) -> None:
        found: set[str] = set()
        try:
            async with asyncio.timeout(FIRING_SECONDS):
                while not found >= set(names):
                    found = await self.firing()
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(f"{names} do not all fire, only {found}") from None


@asynccontextmanager
async def running_prometheus(
    http: aiohttp.ClientSession, jobs: Mapping[str, Sequence[int]]
) -> AsyncIterator[Prometheus]:
    """Scrape the ports of these jobs each second, and let alerts fire after one second."""
    program = shutil.which("prometheus")
    assert program is not None
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="neverstale-prometheus-") as name:
        folder = Path(name)
        rules = re.sub(r"\bfor: \w+", "for: 1s", RULES.read_text())
        (folder / "alerts.yaml").write_text(rules)
        every_second = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        scrapes = [
            {
                "job_name": job,
                "static_configs": [{"targets": [f"127.0.0.1:{one}" for one in ports]}],
            }
            for job, ports in jobs.items()
        ]
        config = {
            "global": every_second,
            "rule_files": ["alerts.yaml"],
            "scrape_configs": scrapes,
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        with (folder / "log").open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent,
            )
        try:
            made = Prometheus(http, f"http://127.0.0.1:{port}")
            await made.until_ready()
            yield made
        finally:
            process.kill()
            await process.wait()
