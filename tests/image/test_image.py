"""The image, built without an engine: ``make image`` carries out the Dockerfile in steps."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from deploy.dev.servers import die_with_parent, free_port
from neverstale import __version__
from tests.image.steps import Builder, Image, command_in, run_in
from tests.support.processes import ROOT, SECRET
from tests.support.servers import Servers, running_servers

READY_SECONDS: Final = 120.0


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def image(builder: Builder) -> Image:
    return builder.build("production")


@pytest.fixture(scope="module")
def root(builder: Builder, image: Image) -> Iterator[Path]:
    """The image as a container has it: only ``/tmp`` is writable."""
    with builder.mounted(image, is_read_only=True) as mounted:
        yield mounted


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with running_servers() as running:
        yield running


def test_it_has_the_product_and_nothing_to_build_with(root: Path, image: Image) -> None:
    assert run_in(root, image, ["neverstale", "--version"]).split() == [
        "neverstale",
        __version__,
    ]
    assert not list((root / "app/venv/bin").glob("pip*"))
    assert sorted(path.name for path in (root / "app").iterdir()) == [
        "healthcheck.py",
        "invalidation.toml",
        "venv",
    ]
    assert not (root / "build").exists()


def test_it_runs_as_a_user_who_can_write_nothing_but_tmp(root: Path, image: Image) -> None:
    assert run_in(root, image, ["id", "-u"]).strip() == "10001"
    run_in(root, image, ["touch", "/tmp/x"])
    with pytest.raises(AssertionError, match=r"Read-only|Permission"):
        run_in(root, image, ["touch", "/app/x"])


def test_its_code_is_compiled_since_it_can_not_be_later(root: Path) -> None:
    [package] = (root / "app/venv/lib").glob("python*/site-packages/neverstale")
    assert list(package.rglob("*.pyc"))


async def test_listener_and_gateway_run_in_it(
    root: Path, image: Image, servers: Servers
) -> None:
    database = await asyncpg.connect(servers.postgres.url)
    await database.execute((ROOT / "demo" / "schema.sql").read_text())
    await database.close()
    settings = {
        "DATABASE_URL": servers.postgres.url,
        "REDIS_URL": servers.valkey.url,
        "JWT_SECRET": SECRET,
        "PORT": str(free_port()),
        "HEALTH_PORT": str(free_port()),
    }
    run_in(root, image, ["neverstale", "install"], settings)
    assert image.command == ["neverstale", "gateway"]
    with ExitStack() as stack:
        for words, port in (
            (["neverstale", "listener"], "HEALTH_PORT"),
            (image.command, "PORT"),
        ):
            one_port = {name: value for name, value in settings.items() if "PORT" not in name}
            one_port |= {port: settings[port], "WORKERS": "2"}
            stack.enter_context(_running(root, image, words, one_port))
            _wait_healthy(root, image, one_port)


@contextmanager
def _running(
    root: Path, image: Image, words: list[str], settings: dict[str, str]
) -> Iterator[None]:
    process = subprocess.Popen(
        command_in(root, image, words),
        env=image.environment | settings,
        preexec_fn=die_with_parent,
    )
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(READY_SECONDS) == 0


def _wait_healthy(root: Path, image: Image, settings: dict[str, str]) -> None:
    """Run the image's health check until it says that the process is ready."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            run_in(root, image, image.health_command, settings)
            run_in(root, image, [*image.health_command, "readyz"], settings)
        except AssertionError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        else:
            return
