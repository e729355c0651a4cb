import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec.models import ComposeSpecification

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"


def fly(name: str) -> dict[str, Any]:
    return tomllib.loads((DEPLOY / name).read_text())


def test_the_compose_file_follows_the_specification() -> None:
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = ComposeSpecification.model_validate(document).services
    assert services is not None
    assert set(services) == {
        "postgres",
        "valkey",
        "install",
        "listener",
        "standby",
        "gateway1",
        "gateway2",
        "demo",
    }


def test_only_one_service_builds_the_image_that_the_others_share() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    ours = {name for name, service in services.items() if service["image"] == "neverstale"}
    assert ours == {"install", "listener", "standby", "gateway1", "gateway2"}
    assert [name for name in ours if "build" in services[name]] == ["install"]
    assert services["install"]["build"]["target"] == "production"
    assert services["demo"]["image"] == "neverstale-demo"
    assert services["demo"]["build"]["target"] == "demo"


@dataclass
class Stage:
    """A stage of the Dockerfile: what it starts from, and its other instructions."""

    base: str
    lines: list[str]


def stages() -> dict[str, Stage]:
    """The stages by name, in order."""
    found: dict[str, Stage] = {}
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("FROM "):
            _, base, _, name = line.split()
            found[name] = Stage(base, [])
        elif line and not line.startswith("#"):
            next(reversed(found.values())).lines.append(line)
    return found


def lines_of(name: str) -> list[str]:
    """All instructions of a stage, those of the stages below it first."""
    found = stages()
    if name not in found:
        return []
    return [*lines_of(found[name].base), *found[name].lines]


def test_the_production_image_is_the_default_and_has_no_demo() -> None:
    assert list(stages())[-1] == "production"
    copied = [line for line in lines_of("production") if line.startswith("COPY ")]
    assert [
        line for line in copied if "demo" in line or "client" in line or "page" in line
    ] == []
    assert lines_of("production")[-1] == 'CMD ["python", "-m", "gateway"]'
    assert "COPY demo ./demo" in lines_of("demo")
    for name in ("fly.gateway.toml", "fly.listener.toml"):
        assert fly(name)["build"]["build-target"] == "production"


def test_base_images_are_pinned_by_version_and_digest() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    images = [stage.base for stage in stages().values() if stage.base not in stages()]
    images += [each["image"] for each in services.values() if "neverstale" not in each["image"]]
    assert len(images) == 4
    for image in images:
        assert re.fullmatch(r"[a-z/]+:\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}", image), image


def test_compose_asks_for_a_secret_and_starts_in_order() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for name in ("listener", "standby", "gateway1", "gateway2"):
        assert services[name]["environment"]["JWT_SECRET"].startswith("${JWT_SECRET:?")
        conditions = {key: on["condition"] for key, on in services[name]["depends_on"].items()}
        assert conditions == {
            "install": "service_completed_successfully",
            "valkey": "service_healthy",
        }
    for volume in services["postgres"]["volumes"][:3]:
        assert (DEPLOY / volume.split(":")[0]).exists()


def test_what_the_dockerfile_copies_exists_and_is_not_ignored() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [
        line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line
    ]
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source.removeprefix('./')}" in kept
    for name in ("production", "demo"):
        users = [line for line in lines_of(name) if line.startswith("USER ")]
        assert users == ["USER 10001"]
        assert lines_of(name)[-1].startswith("CMD")


@pytest.mark.parametrize("name", ["fly.gateway.toml", "fly.listener.toml"])
def test_fly_ends_machines_in_order_and_one_at_a_time(name: str) -> None:
    config = fly(name)
    assert config["kill_signal"] == "SIGTERM"
    assert int(config["kill_timeout"].removesuffix("s")) > 5
    assert config["deploy"]["strategy"] == "rolling"
    assert config["deploy"]["max_unavailable"] == 1
    assert (DEPLOY / config["build"]["dockerfile"]).exists()


def test_fly_routes_by_connections_and_never_stops_a_gateway() -> None:
    service = fly("fly.gateway.toml")["http_service"]
    assert service["concurrency"]["type"] == "connections"
    assert service["concurrency"]["soft_limit"] > 20
    assert service["auto_stop_machines"] == "off"
    assert service["checks"][0]["path"] == "/readyz"
    assert service["internal_port"] == int(fly("fly.gateway.toml")["env"]["PORT"])
