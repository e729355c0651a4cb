"""The status as text for a terminal."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

_BARS: Final = "▁▂▃▄▅▆▇█"
_SPARK_SECONDS: Final = 40
_NODE_HEADS: Final = (
    *("redis", "state", "slots", "replicas", "memory", "leader", "gateways", "version"),
)


def render_status(status: Mapping[str, Any]) -> list[str]:
    """Return the lines that show a status as ``merge_statuses`` makes it."""
    series = status["series"]
    state = "no leader" if status["leader"] is None else "live"
    if status["leader"] is not None and not status["live"]:
        state = "changes are missed"
    lines = [
        f"state        {state}",
        f"leader       {status['leader'] or '-'}",
        f"lag          {_ms(status['lag_ms'])}",
        f"connections  {status['connections']}",
        "",
    ]
    lines += [
        f"{title:22} {spark(series.get(name, []))} {_newest(series.get(name, []), unit)}"
        for title, name, unit in (
            ("events per second", "events", ""),
            ("delivered per second", "delivered", ""),
            ("commit to published", "publish_p50_ms", "ms p50"),
            ("", "publish_p99_ms", "ms p99"),
            ("published to delivered", "deliver_p50_ms", "ms p50"),
            ("", "deliver_p99_ms", "ms p99"),
        )
    ]
    tables: dict[tuple[str, ...], list[list[Any]]] = {
        ("gateway", "state", "connections", "channels", "version"): [
            [one["name"], _state(one), one["connections"], one["channels"], one["version"]]
            for one in status["gateways"]
        ],
        ("listener", "state", "version"): [
            [one["name"], one["state"], one["version"]] for one in status["listeners"]
        ],
        _NODE_HEADS: [_node(one, len(status["gateways"])) for one in status["redis_nodes"]],
        ("channel", "subscribers"): [
            [one["channel"], one["subscribers"]] for one in status["top_channels"]
        ],
        ("reset (UTC)", "reason", "clients", "by"): [
            [
                f"{datetime.fromtimestamp(one['at'], UTC):%H:%M:%S}",
                one["reason"],
                "all" if one["kind"] == "listener" else one["count"],
                one["name"],
            ]
            for one in status["resets"]
        ],
    }
    return lines + [line for table in tables.items() for line in _table(*table)]


def spark(values: Sequence[float | None]) -> str:
    """Return a sparkline of the newest values; a blank is a second without one."""
    shown = list(values)[-_SPARK_SECONDS:]
    highest = max((value for value in shown if value is not None), default=0) or 1
    bars = (
        " " if value is None else _BARS[min(7, int(value / highest * 8))] for value in shown
    )
    return "".join(bars).rjust(_SPARK_SECONDS)


def _newest(values: Sequence[float | None], unit: str) -> str:
    value = values[-1] if values else None
    return "-" if value is None else f"{value:g} {unit}".strip()


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:g} ms"


def _node(node: Mapping[str, Any], gateways: int) -> list[Any]:
    memory = node["used_memory_bytes"]
    return [
        node["address"],
        "up" if node["up"] else "down",
        _known(node["slots"]),
        _known(node["replicas"]),
        "-" if memory is None else f"{memory / 2**20:.1f} MiB",
        "linked" if node["leader"] else "not linked",
        f"{node['gateways']} of {gateways}",
        _known(node["version"]),
    ]


def _known(value: Any) -> Any:
    return "-" if value is None else value


def _state(status: Mapping[str, Any]) -> str:
    return ", ".join([status["state"], *status.get("degraded", ())])


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    if not rows:
        return ["", f"{heads[0]}: none"]
    cells = [heads, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return [
        "",
        *(
            "  ".join(
                cell.ljust(width) for cell, width in zip(row, widths, strict=True)
            ).rstrip()
            for row in cells
        ),
    ]
