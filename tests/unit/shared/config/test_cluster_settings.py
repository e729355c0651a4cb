"""REDIS_CLUSTER beside what must fit it."""

import pytest

from operations.settings import StatusSettings
from shared.config.settings import InvalidSettings, Settings, load_settings

DATABASE = {"DATABASE_URL": "postgresql://h/d"}


@pytest.mark.parametrize(
    "environment",
    [
        {"REDIS_URL": "redis://a,b:7000", "REDIS_CLUSTER": "true"},
        {"REDIS_URL": "redis://a", "REDIS_CLUSTER": "false", "REDIS_PREFIX": "{x}"},
        {"REDIS_URL": "redis+sentinel://a,b/main"},
    ],
)
def test_settings_that_fit_are_taken(environment: dict[str, str]) -> None:
    settings = load_settings(Settings, DATABASE | environment)
    assert settings.redis_cluster is (environment.get("REDIS_CLUSTER") == "true")


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"REDIS_URL": "redis://a,b"}, "REDIS_CLUSTER must be true if REDIS_URL names several"),
        (
            {"REDIS_URL": "redis://a/2", "REDIS_CLUSTER": "true"},
            "REDIS_CLUSTER needs a REDIS_URL",
        ),
        (
            {"REDIS_URL": "redis://a", "REDIS_CLUSTER": "true", "REDIS_PREFIX": "{x}"},
            "REDIS_CLUSTER allows no braces in REDIS_PREFIX",
        ),
        ({"REDIS_URL": "http://a", "REDIS_CLUSTER": "true"}, "REDIS_URL must start with"),
    ],
)
def test_settings_that_do_not_fit_are_refused(environment: dict[str, str], told: str) -> None:
    for kind in (Settings, StatusSettings):
        with pytest.raises(InvalidSettings) as refused:
            load_settings(kind, DATABASE | environment)
        [problem] = refused.value.problems
        assert problem.startswith(told)


def test_operators_commands_need_no_redis() -> None:
    assert not load_settings(StatusSettings, {}).redis_cluster
