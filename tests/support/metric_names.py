"""The metrics that the code defines, found in its syntax trees."""

import ast
from typing import Final

from tests.support.processes import ROOT

_KINDS: Final = {
    *("Counter", "CounterMetricFamily", "DurationHistogram", "Gauge", "GaugeMetricFamily"),
    *("Histogram", "Summary"),
}


def metrics_in_code() -> set[str]:
    """Return each metric with its labels, as ``name{label,label}``."""
    found = set()
    for package in ("gateway", "listener", "shared"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    found |= _metric(node.func.id, node.args)
    return found


def _metric(kind: str, arguments: list[ast.expr]) -> set[str]:
    if kind not in _KINDS or not isinstance(arguments[0], ast.Constant):
        return set()  # collections.Counter among others
    name = str(arguments[0].value)
    labels = arguments[2] if len(arguments) > 2 else None
    names = ast.literal_eval(labels) if isinstance(labels, ast.List) else []
    return {f"{name}{{{','.join(names)}}}" if names else name}
