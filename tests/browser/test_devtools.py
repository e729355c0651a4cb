"""The devtools of the npm package: accessible, under any page's policy, on a phone, dark."""

import asyncio
import mimetypes
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from tests.browser.conftest import launch_browser
from tests.browser.test_accessibility import MAX_TABS, faults
from tests.support.processes import ROOT

CLIENT: Final = ROOT / "client"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; img-src data:; require-trusted-types-for 'script'"
)
URL: Final = "https://app.test/"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of ``client/tests/devtools/page``, bundled as an app's bundler would."""
    npx = shutil.which("npx")
    if npx is None or not (CLIENT / "node_modules").exists():
        pytest.skip("the client's packages are not installed (make install-client, with Node)")
    folder = tmp_path_factory.mktemp("devtools")
    words = ("vite", "build", "tests/devtools/page", "--outDir", str(folder), "--emptyOutDir")
    process = await asyncio.create_subprocess_exec(
        npx,
        *words,
        cwd=CLIENT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return folder


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with AsyncExitStack() as stack:
        yield await launch_browser(stack)


async def open_page(
    browser: Browser, folder: Path, complaints: list[str] | None = None, **options: Any
) -> Page:
    """Open the page under a strict policy. *complaints* gets what the console shows."""
    page = await browser.new_page(**options)

    async def serve(route: Route) -> None:
        name = route.request.url.removeprefix(URL) or "index.html"
        await route.fulfill(
            body=(folder / name).read_bytes(),
            content_type=mimetypes.guess_type(name)[0] or "text/plain",
            headers={"content-security-policy": POLICY},
        )

    if complaints is not None:
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.route("**/*", serve)
    await page.goto(URL)
    await expect(page.get_by_role("button", name="Neverstale: live")).to_be_visible()
    return page


async def happen(page: Page) -> None:
    """Let events of each kind arrive while the panel is open, and open the newest."""
    await page.get_by_role("button", name="Neverstale: live").click()
    for step in (
        "server.reset('log_lost')",
        "server.change({ resource: 'sprint', id: '7', projectId: APOLLO, action: 'INSERT' })",
        "server.change({ resource: 'message', id: '1201', projectId: APOLLO })",
        "server.close()",
        "server.change({ resource: 'invoice line', id: '1:2', projectId: APOLLO })",
        "server.reset('bulk_change', APOLLO)",
        "server.change({ resource: 'task', id: '42', projectId: APOLLO })",
    ):
        await page.evaluate(step)
        async with asyncio.timeout(20):
            await page.evaluate("untilCurrent()")
    await expect(page.locator(".events summary").first).to_contain_text("refetched")
    await page.locator(".events summary").first.click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(
    browser: Browser, built: Path, scheme: Literal["light", "dark"]
) -> None:
    page = await open_page(browser, built, color_scheme=scheme, bypass_csp=True)
    assert await faults(page) == []
    await happen(page)
    assert await faults(page) == []
    await page.close()


async def test_the_panel_is_used_by_keyboard_alone(browser: Browser, built: Path) -> None:
    page = await open_page(browser, built)
    toggle = page.get_by_role("button", name="Neverstale: live")
    await page.keyboard.press("Tab")
    await expect(toggle).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Close")).to_be_focused()
    await page.evaluate("server.change({ resource: 'task', id: '42', projectId: APOLLO })")
    row = page.locator(".events summary").first
    await expect(row).to_contain_text("refetched")
    for _ in range(MAX_TABS):
        await page.keyboard.press("Tab")
        if await row.evaluate("row => row.getRootNode().activeElement === row"):
            break
    await expect(row).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator(".events details[open] li").first).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(toggle).to_be_focused()
    await page.close()


@pytest.mark.parametrize(
    "options",
    [
        {"color_scheme": "light", "viewport": {"width": 1280, "height": 640}},
        {"color_scheme": "dark", "viewport": {"width": 1280, "height": 640}},
        {"color_scheme": "light", "viewport": {"width": 390, "height": 800}},
    ],
    ids=["light", "dark", "phone"],
)
async def test_the_panel_fits(
    browser: Browser,
    built: Path,
    options: dict[str, Any],
) -> None:
    complaints: list[str] = []
    page = await open_page(browser, built, complaints, **options)
    await happen(page)
    wide = "[...document.querySelector('[data-neverstale]').shadowRoot.querySelectorAll('*')]"
    wide += ".filter((one) => one.scrollWidth > one.clientWidth && one.clientWidth > 0)"
    wide += ".map((one) => one.className + ' ' + one.textContent)"
    assert await page.evaluate(wide) == []
    assert complaints == []
    await page.close()
