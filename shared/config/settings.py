"""Settings: read from the environment once, typed, immutable."""

import logging
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_core import PydanticUndefined
from pydantic_core.core_schema import ValidationInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from shared.links.postgres import check_database_url
from shared.links.redis_link import check_redis_url
from shared.links.redis_url import check_hosts

Port = Annotated[int, Field(ge=0, le=65535)]

log = logging.getLogger(__name__)


class InvalidSettings(Exception):
    """Some settings are missing or invalid.

    Each problem is a line that never repeats a value, which may be a secret.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _checked(check: Callable[[str], object]) -> AfterValidator:
    """Return a validator of a secret URL, which does not change the URL."""

    def validate(url: SecretStr) -> SecretStr:
        check(url.get_secret_value())
        return url

    return AfterValidator(validate)


DatabaseUrlText = Annotated[SecretStr, _checked(check_database_url)]
RedisUrlText = Annotated[SecretStr, _checked(check_redis_url)]


def _has_exporter() -> bool:
    """Whether the extra ``tracing`` is installed."""
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter") is not None
    except ModuleNotFoundError:  # of a parent package
        return False


def _fits_a_cluster(is_cluster: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 pydantic passes it so
    """Check what else was given (a field that was refused is missing here)."""
    if (url := info.data.get("redis_url")) is not None:
        check_hosts(url.get_secret_value(), is_cluster=is_cluster)
    if is_cluster and {*"{}"} & {*info.data["redis_prefix"]}:
        raise ValueError("allows no braces in REDIS_PREFIX: they would be a hash tag")
    return is_cluster


IsCluster = Annotated[bool, AfterValidator(_fits_a_cluster)]


class ConfigFileSettings(BaseSettings):
    """Settings of a command that reads ``invalidation.toml`` alone."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    neverstale_config: Path = Field(
        Path("invalidation.toml"), description="the watched tables and the access query"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read only what ``load_settings`` passes: the environment is for ``__main__``."""
        return (init_settings,)


class DatabaseSettings(ConfigFileSettings):
    """Settings of a command that uses the database alone."""

    database_url: DatabaseUrlText = Field(
        description="PostgreSQL (the listener refuses a transaction-mode pooler)"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="json or console; auto: console on a terminal"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severity logged"
    )


class Settings(DatabaseSettings):
    """Settings of both the listener and the gateway."""

    redis_url: RedisUrlText = Field(
        description="Redis or Valkey: redis://[user:password@]host:port, rediss:// for TLS"
    )
    redis_prefix: str = Field(
        "",
        description="before every channel and key: staging and production may share one Redis",
    )
    redis_cluster: IsCluster = Field(
        default=False,
        validate_default=True,
        description="REDIS_URL leads to a Redis Cluster; it may name several nodes",
    )
    replay_max_rows: int = Field(
        1000, ge=1, le=100_000, description="most rows of a project's log"
    )
    replay_ttl_seconds: int = Field(
        86400, ge=60, description="how long a channel's log outlives its last event"
    )
    otel_sdk_disabled: bool = Field(
        default=False, description="true: no tracing, whatever else is set"
    )
    otel_traces_exporter: Literal["none", "otlp"] = Field(
        "none", description="otlp: trace events with OpenTelemetry (an extra, over HTTP)"
    )
    otel_traces_sampler_arg: float = Field(
        0.01, ge=0, le=1, description="the share of events to trace, 0 to 1"
    )

    @property
    def trace_ratio(self) -> float | None:
        """The share of events to trace; None: tracing is off."""
        is_on = self.otel_traces_exporter == "otlp" and not self.otel_sdk_disabled
        return self.otel_traces_sampler_arg if is_on else None

    @field_validator("otel_traces_exporter")
    @classmethod
    def _is_installed(cls, exporter: str, info: ValidationInfo) -> str:
        is_wanted = exporter == "otlp" and not info.data.get("otel_sdk_disabled")
        if is_wanted and not _has_exporter():
            raise ValueError("needs an extra: run pip install 'neverstale[tracing]'")
        return exporter


AnySettings = TypeVar("AnySettings", bound=ConfigFileSettings)

_HINTS: Final = {
    "missing": "is required",
    "int_parsing": "must be a whole number",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "value_error": "{error}",
}


def load_settings(kind: type[AnySettings], environment: Mapping[str, str]) -> AnySettings:
    """Return the settings of a process. An empty variable counts as unset.

    Raises:
        InvalidSettings: one or more are missing or invalid.
    """
    given: dict[str, Any] = {
        name: environment[name.upper()]
        for name in kind.model_fields
        if environment.get(name.upper())
    }
    try:
        return kind(**given)
    except ValidationError as exc:
        problems = []
        for error in exc.errors(include_input=False, include_url=False):
            name = str(error["loc"][0])
            problem = _HINTS.get(error["type"], error["msg"]).format(**error.get("ctx", {}))
            problems.append(f"{name.upper()} {problem} ({kind.model_fields[name].description})")
        raise InvalidSettings(problems) from None


def warn_of_ignored(settings: DatabaseSettings) -> None:
    """Log which parameters of the URLs have no effect. Call it after logging is configured."""
    ignored = {"DATABASE_URL": check_database_url(settings.database_url.get_secret_value())}
    if isinstance(settings, Settings):
        ignored["REDIS_URL"] = check_redis_url(settings.redis_url.get_secret_value())
    for setting, parameters in ignored.items():
        if parameters:
            log.warning(
                "parameters of a URL have no effect here",
                extra={"setting": setting, "parameters": parameters},
            )


def describe_settings(kind: type[ConfigFileSettings]) -> str:
    """Return the settings as text for ``--help``, one on each line, with its default."""
    lines = ["settings, from the environment:"]
    for name, field in kind.model_fields.items():
        default = (
            "required" if field.default is PydanticUndefined else f"default {field.default}"
        )
        if field.default in (None, "", ()):
            default = "default: none"
        lines.append(f"  {name.upper():24} {field.description} ({default})")
    return "\n".join(lines)
