import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec.models import ComposeSpecification

from gateway.settings import GatewaySettings
from tests.support.dockerfile import kept_sources, lines_of, stages

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
        "prometheus",
        "grafana",
    }


def test_only_one_service_builds_the_image_that_the_others_share() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    ours = {name for name, service in services.items() if service["image"] == "neverstale"}
    assert ours == {"install", "listener", "standby", "gateway1", "gateway2"}
    assert [name for name in ours if "build" in services[name]] == ["install"]
    assert services["install"]["build"]["target"] == "production"
    assert services["demo"]["image"] == "neverstale-demo"
    assert services["demo"]["build"]["target"] == "demo"


def test_the_production_image_is_the_default_and_has_no_demo() -> None:
    assert list(stages())[-1] == "production"
    copied = [line for line in lines_of("production") if line.startswith("COPY ")]
    assert [
        line for line in copied if "demo" in line or "client" in line or "page" in line
    ] == []
    assert lines_of("production")[-1] == 'CMD ["neverstale", "gateway"]'
    assert "COPY demo ./demo" in lines_of("demo")
    for name in ("fly.gateway.toml", "fly.listener.toml"):
        assert fly(name)["build"]["build-target"] == "production"


def test_base_images_are_pinned_by_version_and_digest() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    images = [stage.base for stage in stages().values() if stage.base not in stages()]
    images += [each["image"] for each in services.values() if "neverstale" not in each["image"]]
    assert len(images) == 6
    for image in images:
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}", image), image


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
    copied = [
        source
        for stage in stages().values()
        for line in stage.lines
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert any(source == kept or source.startswith(f"{kept}/") for kept in kept_sources())
    for name in ("production", "demo"):
        users = [line for line in lines_of(name) if line.startswith("USER ")]
        assert users == ["USER 10001"]
        assert lines_of(name)[-1].startswith("CMD")


def test_the_image_is_built_from_the_wheel_of_the_product() -> None:
    copied = [line for line in lines_of("production") if line.startswith("COPY ")]
    assert copied == [
        "COPY --from=build /app/venv /app/venv",
        "COPY deploy/healthcheck.py ./",
        "COPY invalidation.toml ./",
    ]
    assert any("--no-index --no-deps wheels/*.whl" in line for line in lines_of("build"))
    [sources] = re.findall(r"SOURCES = (.*)", (ROOT / "setup.py").read_text())
    packages = re.findall(r'"(\w+)"', sources)
    assert packages
    for package in ("neverstale", *packages):
        assert f"COPY {package} ./{package}" in lines_of("wheel")
    for name in ("wheel", "build"):
        for line in lines_of(name):
            if "pip install" in line and "--no-index" not in line:
                assert "--require-hashes" in line


def test_our_containers_have_a_read_only_root_and_no_capabilities() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        if name in ("postgres", "valkey"):
            continue
        assert service["read_only"] is True
        assert service["tmpfs"] == ["/tmp"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_prometheus_and_grafana_are_a_profile_and_scrape_every_process() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    profiled = {name for name, service in services.items() if "profiles" in service}
    assert profiled == {"prometheus", "grafana"}
    config = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())
    targets = {
        target.partition(":")[0]
        for job in config["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    }
    assert targets == {"listener", "standby", "gateway1", "gateway2"}
    for name in profiled:
        for volume in services[name]["volumes"]:
            source = volume.partition(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).exists()


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


def test_fly_starts_what_the_image_has() -> None:
    assert fly("fly.gateway.toml")["processes"] == {"gateway": "neverstale gateway"}
    assert fly("fly.listener.toml")["processes"] == {"listener": "neverstale listener"}


@pytest.mark.parametrize("name", ["fly.gateway.toml", "fly.listener.toml"])
def test_fly_gives_gateways_the_time_to_drain_and_nothing_a_volume(name: str) -> None:
    config = fly(name)
    assert "mounts" not in config
    if name == "fly.gateway.toml":
        drain_seconds = GatewaySettings.model_fields["drain_seconds"].default
        assert int(config["kill_timeout"].removesuffix("s")) >= drain_seconds + 10


def test_a_released_image_has_a_bill_of_materials_and_provenance() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "image.yml").read_text())
    [build] = [
        step["with"]
        for step in workflow["jobs"]["image"]["steps"]
        if step["uses"].startswith("docker/build-push-action")
    ]
    assert (build["sbom"], build["provenance"]) == (True, "mode=max")
    assert (build["target"], ROOT / build["file"]) == ("production", DEPLOY / "Dockerfile")
    assert workflow["permissions"] == {"contents": "read"}
