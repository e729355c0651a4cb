"""Line charts as SVG text, for a page without external resources."""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

COLOURS: Final = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a")
WIDTH, HEIGHT = 520, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 44, 34


@dataclass(frozen=True)
class Line:
    """A named series of (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    unit: str,
    x_label: str,
    is_log: bool = False,
    x_names: Callable[[float], str] = "{:g}".format,
) -> str:
    """Return a chart with axes, grid and legend. *is_log* applies to the y axis.

    Values that are not above 0 can't be drawn on a log axis and are left out.
    """
    drawn = [
        Line(line.name, [(x, y) for x, y in line.points if y > 0 or not is_log])
        for line in lines
    ]
    drawn = [line for line in drawn if line.points]
    if not drawn:
        return ""
    xs = [x for line in drawn for x, _ in line.points]
    ys = [y for line in drawn for _, y in line.points]
    marks = _log_marks(min(ys), max(ys)) if is_log else _marks(max(ys))
    scale = math.log10 if is_log else float
    low, high = scale(marks[0]), scale(marks[-1])
    first, span = min(xs), (max(xs) - min(xs)) or 1

    def across(x: float) -> float:
        return LEFT + (x - first) / span * (WIDTH - LEFT - RIGHT)

    def down(y: float) -> float:
        return HEIGHT - BOTTOM - (scale(y) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    left, right, bottom = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="system-ui,sans-serif" font-size="11">',
        f'<text x="{left}" y="14" font-size="13">{html.escape(title)}</text>',
    ]
    for mark in marks:
        parts += [
            f'<path d="M{left} {down(mark):.1f}H{right}" stroke="#ddd"/>',
            f'<text x="{left - 6}" y="{down(mark) + 4:.1f}" text-anchor="end">{mark:g} '
            f"{html.escape(unit)}</text>",
        ]
    for x in _spread(sorted(set(xs)), 7):
        parts.append(
            f'<text x="{across(x):.1f}" y="{bottom + 14}" text-anchor="middle">'
            f"{html.escape(x_names(x))}</text>"
        )
    parts.append(
        f'<text x="{right}" y="{HEIGHT - 4}" text-anchor="end">{html.escape(x_label)}</text>'
    )
    along = float(LEFT)
    for line, colour in zip(drawn, COLOURS * len(drawn), strict=False):
        points = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in line.points)
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
            f'<text x="{along:.0f}" y="32" fill="{colour}">{html.escape(line.name)}</text>',
        ]
        along += 14 + 6.2 * len(line.name)
    return "".join([*parts, "</svg>"])


def _marks(highest: float) -> list[float]:
    """Return about five round numbers from 0 to at least the highest value."""
    step = 10 ** math.floor(math.log10(highest / 4)) if highest > 0 else 1.0
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if step * factor * 4.5 >= highest)
    return (
        [step * number for number in range(math.ceil(highest / step) + 1)]
        if highest
        else [0, 1]
    )


def _log_marks(lowest: float, highest: float) -> list[float]:
    first = math.floor(math.log10(lowest))
    last = max(math.ceil(math.log10(highest)), first + 1)
    return [10.0**power for power in range(first, last + 1)]


def _spread(values: Sequence[float], most: int) -> Sequence[float]:
    return values[:: max(1, math.ceil(len(values) / most))]
