"""Assets are compressed and kept for ever; pages are revalidated each time."""

import re

import aiohttp
import pytest

from tests.browser.conftest import PAGE, Stage

ENCODINGS = [("br, gzip", "br"), ("gzip", "gzip"), ("identity", None)]


async def assets_of(stage: Stage, path: str) -> list[str]:
    async with stage.world.http.get(f"{stage.url}{path}") as response:
        assert response.headers["Cache-Control"] == "no-cache"
        return re.findall(r'"(/assets/[^"]+)"', await response.text())


@pytest.mark.parametrize("path", ["/", "/plain/"])
@pytest.mark.parametrize(("accepted", "encoding"), ENCODINGS)
async def test_assets_are_compressed_and_immutable(
    stage: Stage, path: str, accepted: str, encoding: str | None
) -> None:
    assets = await assets_of(stage, path)
    assert {name.rpartition(".")[2] for name in assets} == {"js", "css"}
    async with aiohttp.ClientSession(
        headers={"Accept-Encoding": accepted}, auto_decompress=False
    ) as http:
        for name in assets:
            async with http.get(f"{stage.url}{name}") as response:
                sent = await response.read()
            assert response.status == 200
            assert response.headers.get("Content-Encoding") == encoding
            assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert "Content-Security-Policy" in response.headers
            if encoding is not None:
                assert response.headers["Vary"] == "Accept-Encoding"
                assert len(sent) < (PAGE / name[1:]).stat().st_size


async def test_an_asset_of_another_build_is_not_remembered_as_missing(stage: Stage) -> None:
    async with stage.world.http.get(f"{stage.url}/assets/board-0000.js") as response:
        assert response.status == 404
        assert response.headers["Cache-Control"] == "no-cache"
