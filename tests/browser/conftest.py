"""Real browsers on the real stack, with one or more users of the demo's page."""

import asyncio
import shutil
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    async_playwright,
    expect,
)

from deploy.dev.servers import free_port
from tests.support.fixtures import servers
from tests.support.processes import HANG_SECONDS, ROOT, Part, eventually
from tests.support.servers import Servers
from tests.support.tcp_proxy import Proxy
from tests.support.world import World, make_world

__all__ = ["servers"]

ADMIN_KEY: Final = "a key for tests that is long enough"
PAGE: Final = ROOT / "demo/web/dist"
_PICTURES: Final = ROOT / "docs/images"
CHROMIUM: Final = shutil.which("chromium")
_ARGUMENTS: Final = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
# Resolves two frames later: what was decided before is on the screen.
NEXT_FRAMES: Final = (
    "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
)
# The entries of the page's cache in IndexedDB, as text.
STORED: Final = """() => new Promise((resolve) => {
    indexedDB.open('neverstale').onsuccess = ({ target: { result: database } }) => {
        const reading = database.transaction('entries').objectStore('entries').getAll();
        reading.onsuccess = () => {
            database.close();
            resolve(reading.result.join());
        };
    };
})"""

expect.set_options(timeout=HANG_SECONDS * 1000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record", action="store_true", help="keep the screenshots in docs/images"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = None
    if CHROMIUM is None:
        reason = "chromium is not installed"
    elif not (PAGE / "index.html").exists():
        reason = "the demo's page is not built (make demo-page, with Node)"
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            # one loop for all tests: a browser is bound to the loop that it was started in
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))


@dataclass
class Stage:
    """The stack with the demo, a proxy to its gateway, and a browser context per user."""

    world: World
    gateway: Part
    proxy: Proxy
    demo: Part
    browser: Browser
    contexts: dict[str, BrowserContext] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.demo.url

    async def sql(self, text: str, *arguments: Any) -> None:
        await self.world.database.execute(text, *arguments)

    async def context(self, user_id: str, **options: Any) -> BrowserContext:
        """Return the browser context of one user, which has all their tabs."""
        if user_id not in self.contexts:
            self.contexts[user_id] = await self.browser.new_context(**options)
        return self.contexts[user_id]

    async def tab(self, user_id: str, **options: Any) -> Page:
        """Open a user's tab on project Apollo and wait until it is live."""
        page = await (await self.context(user_id, **options)).new_page()
        await page.goto(f"{self.url}/?as={user_id}#/{self.world.apollo}")
        await live(page)
        return page

    async def reads(self) -> Counter[str]:
        """Count the reads of each API path so far. The project's path is shortened."""
        # this request's log line comes after those of all earlier requests
        marker = f"/api/marker/{len(self.demo.lines)}"
        async with self.world.http.get(f"{self.url}{marker}"):
            pass
        await eventually(lambda: self.demo.logged("request", path=marker), "a line for it")
        project = f"/api/projects/{self.world.apollo}"
        return Counter(
            line["path"].replace(project, "project").removeprefix("/api/")
            for line in self.demo.lines
            if line["message"] == "request" and line["method"] == "GET"
            if "marker" not in line["path"]
        )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def theatre(servers: Servers) -> AsyncIterator[Stage]:
    """The stack and a browser, started once per session."""
    demo = Part("demo", {}, free_port())
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(make_world(servers))
        world.more |= {"ALLOWED_ORIGINS": demo.url, "ADMIN_KEY": ADMIN_KEY}
        async with asyncio.TaskGroup() as starting:
            starting.create_task(world.listener())
            gateway = starting.create_task(world.gateway())
            browser = starting.create_task(launch_browser(stack))
        proxy = Proxy(gateway.result().port)
        await proxy.start()
        stack.push_async_callback(proxy.close)
        demo.environment = world.environment(
            PORT=str(demo.port),
            GATEWAY_PORT=str(proxy.port),
            PAGE_FOLDER=str(PAGE),
            LOG_LEVEL="debug",
        )
        world.parts.append(demo)
        await demo.start()
        await demo.ready(world.http)
        yield Stage(world, gateway.result(), proxy, demo, browser.result())


@pytest_asyncio.fixture(loop_scope="session")
async def stage(theatre: Stage) -> AsyncIterator[Stage]:
    """The stack with the demo's initial data and no open tab."""
    await theatre.sql("delete from projects")
    await theatre.sql("delete from users")
    for name in ("data.sql", "board.sql"):
        await theatre.sql((ROOT / "demo" / name).read_text())
    yield theatre
    while theatre.contexts:
        await theatre.contexts.popitem()[1].close()


@pytest.fixture
def keep_picture(request: pytest.FixtureRequest) -> Callable[[str, bytes], None]:
    """Keep a screenshot under a name in ``docs/images``, if ``--record`` is given."""

    def keep(name: str, picture: bytes) -> None:
        if request.config.getoption("--record", default=False):
            (_PICTURES / name).write_bytes(picture)

    return keep


async def take_picture(page: Page) -> bytes:
    """Return a screenshot of what is in the viewport, as WebP."""
    session = await page.context.new_cdp_session(page)  # Playwright's own takes no WebP
    taken = await session.send("Page.captureScreenshot", {"format": "webp", "quality": 85})
    return b64decode(taken["data"])


async def launch_browser(stack: AsyncExitStack) -> Browser:
    """Start a browser, which *stack* closes."""
    playwright = await stack.enter_async_context(async_playwright())
    browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
    stack.push_async_callback(browser.close)
    return browser


async def live(page: Page) -> None:
    """Wait until the page is connected, its project is live, and it has loaded everything."""
    await expect(page.get_by_role("status")).to_have_text("Live")
    await expect(page.get_by_role("main")).to_have_attribute("data-status", "live")
    await expect(card(page, "Fuel the rocket")).to_be_visible()
    await expect(
        page.get_by_label("Newest messages").get_by_role("listitem").first
    ).to_be_visible()


def card(page: Page, title: str) -> Locator:
    """Return the card of a task."""
    return page.get_by_role("listitem").filter(
        has=page.get_by_role("button", name=title, exact=True)
    )


def in_column(page: Page, name: str, title: str) -> Locator:
    return page.locator(f"[aria-label='{name}'] .card").filter(has_text=title)
