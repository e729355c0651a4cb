"""When tracing is on, and what it needs then."""

import sys
from typing import Any

import pytest

from shared.config.settings import InvalidSettings, Settings, load_settings

REQUIRED = {"DATABASE_URL": "postgresql://h/d", "REDIS_URL": "redis://a"}
ON = {"OTEL_TRACES_EXPORTER": "otlp"}


@pytest.mark.parametrize(
    ("environment", "ratio"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, None),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_TRACES_SAMPLER_ARG": "1"}, None),
        (ON, 0.01),
        (ON | {"OTEL_TRACES_SAMPLER_ARG": "0.5"}, 0.5),
        (ON | {"OTEL_SDK_DISABLED": "true"}, None),
    ],
    ids=["unset", "endpoint-alone", "none", "default-ratio", "ratio", "disabled"],
)
def test_tracing_is_off_until_its_exporter_is_named(
    environment: dict[str, str], ratio: float | None
) -> None:
    assert load_settings(Settings, REQUIRED | environment).trace_ratio == ratio


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER must be 'none' or 'otlp'"),
        (ON | {"OTEL_TRACES_SAMPLER_ARG": "2"}, "OTEL_TRACES_SAMPLER_ARG must be at most 1"),
    ],
)
def test_wrong_values_are_refused(environment: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        load_settings(Settings, REQUIRED | environment)
    [problem] = refused.value.problems
    assert problem.startswith(told)


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.exporter"])
def test_without_the_extra_it_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Finder:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == missing or name.startswith(f"{missing}."):
                raise ModuleNotFoundError(name)

    for name in [*sys.modules]:
        if name.partition(".")[0] == "opentelemetry":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(InvalidSettings) as refused:
        load_settings(Settings, REQUIRED | ON)
    [problem] = refused.value.problems
    assert "pip install 'neverstale[tracing]'" in problem
    disabled = load_settings(Settings, REQUIRED | ON | {"OTEL_SDK_DISABLED": "true"})
    assert disabled.trace_ratio is None
