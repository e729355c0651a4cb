"""Carry out the Dockerfile without an engine: each instruction, in a copy of this machine.

A stage is an overlay over the file system of this machine, whose Python stands for that of the
base image. It needs root and a mount namespace, which ``make image`` makes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.dockerfile import ROOT, excluded_names, kept_sources, stages

STEP_SECONDS: Final = 900.0
BASE_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
# How this machine reaches its package index; no part of the image.
_BUILD_SETTINGS: Final = ("PIP_", "SSL_", "REQUESTS_", "http_proxy", "https_proxy", "no_proxy")


@dataclass
class Image:
    """A built stage: its layers, and what it runs with."""

    layers: list[Path]  # the newest first
    environment: dict[str, str]
    folder: str = "/"
    user: str = "0"
    command: list[str] = field(default_factory=list)
    health_command: list[str] = field(default_factory=list)


class Builder:
    """Builds stages, each once, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._built: dict[str, Image] = {}
        # layers must not lie in the file system that they are stacked on
        _check_call("mount", "-t", "tmpfs", "tmpfs", folder)

    def build(self, name: str) -> Image:
        """Return a stage, whose bases and sources are built first."""
        if name not in self._built:
            stage = stages().get(name)
            if stage is None:  # the image of Python, which this machine stands for
                return self._make_base()
            base = self.build(stage.base)
            layer = self._new_folder(name)
            image = Image([layer, *base.layers], dict(base.environment), base.folder, base.user)
            image.health_command = base.health_command
            with self.mounted(image) as root:
                for line in stage.lines:
                    print(f"{name}: {line}", flush=True)
                    self._carry_out(line, image, root)
            self._built[name] = image
        return self._built[name]

    def _make_base(self) -> Image:
        python = Path(sys.executable).resolve()
        image = Image([self._new_folder("python")], {"PATH": f"{python.parent}:{BASE_PATH}"})
        with self.mounted(image) as root:
            for parent in python.parents[:-1]:  # every user may run the base image's Python
                inside = root / parent.relative_to("/")
                inside.chmod(inside.stat().st_mode | 0o555)
        return image

    def _carry_out(self, line: str, image: Image, root: Path) -> None:
        word, _, rest = line.partition(" ")
        match word:
            case "WORKDIR":
                image.folder = rest
                (root / rest.strip("/")).mkdir(parents=True, exist_ok=True)
            case "COPY":
                self._copy(rest.split(), image, root)
            case "RUN":
                settings = {
                    key: value
                    for key, value in os.environ.items()
                    if key.startswith(_BUILD_SETTINGS)
                }
                run_in(root, image, ["/bin/sh", "-c", rest], settings)
            case "ENV":
                for pair in rest.split():
                    key, _, value = pair.partition("=")
                    image.environment[key] = value.replace("$PATH", image.environment["PATH"])
            case "USER":
                image.user = rest
            case "CMD":
                image.command = _words(rest)
            case "HEALTHCHECK":
                image.health_command = _words(rest.partition(" CMD ")[2])
            case "EXPOSE" | "STOPSIGNAL":
                pass  # they say something to the engine alone
            case _:
                raise AssertionError(f"an unknown instruction: {line}")

    def _copy(self, words: list[str], image: Image, root: Path) -> None:
        kept = kept_sources()
        if words[0].startswith("--from="):
            source = self.build(words.pop(0).removeprefix("--from="))
            with self.mounted(source) as context:
                self._copy_from(context, words, image, root, ignored=())
            return
        for word in words[:-1]:
            name = word.removeprefix("./")
            assert any(name == each or name.startswith(f"{each}/") for each in kept), name
        self._copy_from(ROOT, words, image, root, ignored=excluded_names())

    def _copy_from(
        self,
        context: Path,
        words: list[str],
        image: Image,
        root: Path,
        *,
        ignored: Sequence[str],
    ) -> None:
        target = root / os.path.join(image.folder, words[-1]).lstrip("/")
        ignore = shutil.ignore_patterns(*ignored)
        for word in words[:-1]:
            source = context / word.lstrip("/")
            if source.is_dir():
                shutil.copytree(
                    source, target, symlinks=True, ignore=ignore, dirs_exist_ok=True
                )
            elif words[-1].endswith("/"):
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)

    def _new_folder(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder))

    @contextmanager
    def mounted(self, image: Image, *, is_read_only: bool = False) -> Iterator[Path]:
        """Yield the file system of an image; with *is_read_only* only ``/tmp`` is writable."""
        root, work = self._new_folder("root"), self._new_folder("work")
        newest, *older = image.layers
        newest.chmod(0o755)
        lower = ":".join(map(str, [*older, "/"]))
        options = f"lowerdir={lower},upperdir={newest},workdir={work}"
        _check_call("mount", "-t", "overlay", "overlay", "-o", options, root)
        try:
            _check_call("mount", "--bind", "/proc", root / "proc")
            _check_call("mount", "--rbind", "/dev", root / "dev")
            if is_read_only:
                _check_call("mount", "-t", "tmpfs", "tmpfs", root / "tmp")
                _check_call("mount", "-o", "remount,ro", root)
            yield root
        finally:
            _check_call("umount", "--recursive", "--lazy", root)


def command_in(root: Path, image: Image, words: Sequence[str]) -> list[str]:
    """Return the command that runs *words* in a mounted image as its user."""
    script = f'cd {image.folder} && exec "$@"'
    chroot = [shutil.which("chroot") or "chroot", f"--userspec={image.user}:{image.user}"]
    return [*chroot, str(root), "/bin/sh", "-c", script, "sh", *words]


def run_in(
    root: Path, image: Image, words: Sequence[str], settings: Mapping[str, str] | None = None
) -> str:
    """Run a command in a mounted image. Return its output; fails if the command does."""
    done = subprocess.run(
        command_in(root, image, words),
        env=image.environment | dict(settings or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=STEP_SECONDS,
        check=False,
    )
    assert done.returncode == 0, (words, done.stdout)
    return done.stdout


def _words(array: str) -> list[str]:
    """Return the words of an instruction in exec form."""
    return [word.strip().strip('"') for word in array.strip("[]").split(",")]


def _check_call(*words: str | Path) -> None:
    subprocess.run(words, check=True)
