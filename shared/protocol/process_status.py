"""The status of all processes as one: what ``GET /api/v1/status`` returns."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

MAX_CHANNELS: Final = 10
MAX_RESETS: Final = 20


def merge_statuses(
    statuses: Iterable[Mapping[str, Any]], nodes: Iterable[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Return one status of those that each process reports of itself.

    *nodes*: the Redis servers. To each is added which processes reach it, as these report.
    Counts are added up. Percentiles cannot be: the highest of all gateways is taken.
    """
    found = sorted(statuses, key=lambda one: str(one.get("name")))
    listeners = [dict(one) for one in found if one.get("kind") == "listener"]
    gateways = [dict(one) for one in found if one.get("kind") == "gateway"]
    leader = next((one for one in listeners if one.get("state") == "leader"), None)
    own = leader or {}
    published = own.get("series", {})
    delivered = [one.get("series", {}) for one in gateways]
    return {
        "leader": own.get("name"),
        "live": leader is not None and bool(own.get("live")),
        "lag_ms": own.get("lag_ms"),
        "connections": sum(int(one.get("connections", 0)) for one in gateways),
        "series": {
            **{name: published.get(name, []) for name in ("events", *_PERCENTILES["publish"])},
            "delivered": _combine(sum, [one.get("delivered", []) for one in delivered]),
            **{
                name: _combine(max, [one.get(name, []) for one in delivered])
                for name in _PERCENTILES["deliver"]
            },
        },
        "top_channels": _merge_channels(gateways),
        "resets": _merge_resets(found),
        "redis_nodes": [
            {
                **node,
                "leader": _reaches(own, node["address"]),
                "gateways": sum(_reaches(one, node["address"]) for one in gateways),
            }
            for node in nodes
        ],
        "listeners": [_without(one, _MERGED) for one in listeners],
        "gateways": [_without(one, _MERGED) for one in gateways],
    }


_PERCENTILES: Final = {
    name: (f"{name}_p50_ms", f"{name}_p99_ms") for name in ("publish", "deliver")
}
_MERGED: Final = ("kind", "series", "top_channels", "resets", "redis_nodes")


def _reaches(process: Mapping[str, Any], address: str) -> bool:
    """Whether a process is linked to a Redis server; it names those of a cluster only."""
    nodes = process.get("redis_nodes")
    return bool(process.get("redis")) if nodes is None else address in nodes


def _combine(combine: Any, series: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Combine the values of each second; the newest values are the last."""
    seconds = zip_longest(*(reversed(values) for values in series))
    found = ([value for value in values if value is not None] for values in seconds)
    return [combine(values) if values else None for values in found][::-1]


def _merge_channels(gateways: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    counts: dict[str, int] = {}
    for gateway in gateways:
        for name, count in gateway.get("top_channels", ()):
            counts[name] = counts.get(name, 0) + int(count)
    top = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:MAX_CHANNELS]
    return [{"channel": name, "subscribers": count} for name, count in top]


def _merge_resets(statuses: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    resets = [
        {**reset, "kind": one.get("kind"), "name": one.get("name")}
        for one in statuses
        for reset in one.get("resets", ())
    ]
    return sorted(resets, key=lambda reset: -int(reset["at"]))[:MAX_RESETS]


def _without(status: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in status.items() if name not in names}
