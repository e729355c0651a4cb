"""The verdict of a soak as text, and its curves."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from tests.load.plots import Line, line_chart
from tests.soak.flatness import QUANTITIES

Series: TypeAlias = Mapping[str, Sequence[tuple[float, float]]]


def tables(figures: Mapping[str, Any]) -> str:
    """Return the faults, how each series grew, and what is held without clients, as text."""
    lines = ["  faults"]
    lines += [f"    {kind:40} {count}" for kind, count in sorted(figures["faults"].items())]
    lines.append("  growth     after the warm-up, fitted")
    lines += [
        f"    {each['series']:24} {each['level']:10,.1f} {each['unit']:4}"
        f"  {each['per_hour']:+10,.2f} an hour"
        f"  grown {each['grown']:+8,.2f}, at most {each['allowed']:,.2f}"
        f"{'' if each['is_flat'] else '  NOT FLAT'}"
        for each in figures["growths"]
    ]
    lines.append("  at rest    before the clients came, and after they left")
    for series, count in figures["before"].items():
        after = figures["after"].get(series)
        lines.append(
            f"    {series:24} {count:10,.1f} {'-' if after is None else f'{after:,.1f}':>10}"
        )
    return "\n".join(lines)


def charts(series: Series) -> str:
    """Return a chart of each quantity, with a line for each process that has it."""
    return "".join(
        line_chart(
            name,
            [
                Line(each.removesuffix(name).strip() or name, points)
                for each, points in series.items()
                if each.endswith(name)
            ],
            unit=quantity.unit,
            x_label="second",
            x_names="{:.0f}".format,
        )
        for name, quantity in QUANTITIES.items()
    )
