"""The systemd units are valid, start what a wheel installs, and give it few rights."""

import configparser
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from gateway.settings import GatewaySettings

UNITS: Final = Path(__file__).parents[3] / "deploy" / "systemd"
NAMES: Final = ("neverstale-gateway.service", "neverstale-listener.service")
SYSTEM_UNITS: Final = Path("/usr/lib/systemd/system")
MOST_EXPOSURE: Final = "20"  # tenths of systemd's scale from 0 to 10

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None or not SYSTEM_UNITS.is_dir(),
    reason="systemd-analyze is not installed",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with the units, the program that they start, and systemd's own units."""
    program = tmp_path / "opt" / "neverstale" / "bin" / "neverstale"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    units = tmp_path / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    for name in NAMES:
        shutil.copy(UNITS / name, units)
    shutil.copytree(SYSTEM_UNITS, tmp_path / "usr/lib/systemd/system", symlinks=True)
    return tmp_path


def _analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, check=False
    )


@needs_systemd
def test_systemd_has_nothing_to_say_about_the_units(root: Path) -> None:
    done = _analyze("verify", f"--root={root}", *NAMES)
    assert done.returncode == 0, done.stderr
    assert "neverstale" not in done.stdout + done.stderr  # it warns of a key that is unknown


@needs_systemd
@pytest.mark.parametrize("name", NAMES)
def test_a_unit_exposes_little_of_the_machine(root: Path, name: str) -> None:
    done = _analyze(
        "security", "--offline=true", f"--threshold={MOST_EXPOSURE}", f"--root={root}", name
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _service(name: str) -> configparser.SectionProxy:
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / name)
    return parser["Service"]


def test_a_gateway_has_the_time_to_drain() -> None:
    drain_seconds = GatewaySettings.model_fields["drain_seconds"].default
    assert int(_service(NAMES[0])["TimeoutStopSec"]) >= drain_seconds + 10
    assert _service(NAMES[0])["KillMode"] == "mixed"


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_starts_its_program_with_its_own_secrets(name: str) -> None:
    service, program = _service(name), name.removeprefix("neverstale-").partition(".")[0]
    assert service["ExecStart"] == f"/opt/neverstale/bin/neverstale {program}"
    assert service["EnvironmentFile"] == f"/etc/neverstale/{program}.env"
    assert service["Restart"] == "always"
