"""Results of a run as JSON, as a few lines of text and as a page with charts."""

import html
import json
import os
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from hdrh.histogram import HdrHistogram

from tests.load.accounting import (
    find_bottleneck,
    find_disturbances,
    find_problems,
    histogram,
    merge,
    most_at_once,
    percentiles_us,
)
from tests.load.client import Findings
from tests.load.measurement import Run, Window
from tests.load.plots import Line, line_chart

CURVE: Final = (0, 50, 75, 90, 95, 97.5, 99, 99.5, 99.75, 99.9, 99.95, 99.99)
STYLE: Final = (
    "body{font:14px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
    ".plots{display:flex;flex-wrap:wrap;gap:1em}"
    "pre{background:#f4f4f4;padding:1em;overflow:auto}"
)
BySecond = Mapping[int, HdrHistogram]


def figures_of(run: Run[Any], findings: list[Findings]) -> dict[str, Any]:
    """Return all figures of a run, ready for JSON."""
    by_second: dict[int, HdrHistogram] = {}
    for each in findings:
        for second, encoded in each.latencies.items():
            by_second.setdefault(second, histogram()).decode_and_add(encoded)
    counts = Counter[str]()
    for each in findings:
        counts.update(each.counts)
    lost = sum(each.lost for each in findings)
    absences = [absence for each in findings for absence in each.absences]
    most_away = most_at_once(absences)
    problems = find_problems(lost, counts)
    if run.options.is_seamless:
        problems += find_disturbances(counts, most_away=most_away, sockets=run.options.sockets)
    windows = [_window(run, window, by_second) for window in run.windows]
    return {
        "scenario": run.name,
        "parameters": asdict(run.options),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "kernel": platform.release(),
        },
        "is_right": not problems,
        "problems": problems,
        "connected_per_second": run.connected_per_second,
        "memory_kib_per_connection": run.memory_kib_per_connection,
        "windows": windows,
        "p99_ratio": _slow_ratio(windows) if run.options.slow_share else None,
        "write_us": percentiles_us(histogram(run.writer.write_us)),
        "accounting": {
            "changes": run.writer.written,
            "owed": run.owed,
            "told_by_event": sum(each.by_event for each in findings),
            "told_by_reset": sum(each.by_reset for each in findings),
            "lost": lost,
            "examples_of_lost": [asdict(one) for each in findings for one in each.examples],
        },
        "returned_us": percentiles_us(histogram([back - left for left, back in absences])),
        "most_away": most_away,
        "counts": dict(sorted(counts.items())),
        "client": _client(findings, windows),
        "series": _series(run, by_second),
        "latency_curves": {
            window.name: [[share, of.get_value_at_percentile(share)] for share in CURVE]
            for window in run.windows
            if (of := _latencies(window, by_second)).get_total_count()
        },
    }


def _latencies(window: Window, by_second: BySecond) -> HdrHistogram:
    return merge(by_second[n] for n in range(window.first, window.last) if n in by_second)


def _window(run: Run[Any], window: Window, by_second: BySecond) -> dict[str, Any]:
    first, last = run.samples[window.first], run.samples[window.last]
    seconds = last.at_seconds - first.at_seconds
    used = {name: cpu - first.cpu_seconds[name] for name, cpu in last.cpu_seconds.items()}
    written, delivered = last.written - first.written, last.delivered - first.delivered
    return {
        "name": window.name,
        "seconds": seconds,
        "written_per_second": written / seconds,
        "delivered_per_second": delivered / seconds,
        "resets": last.resets - first.resets,
        "latency_us": percentiles_us(_latencies(window, by_second)),
        "gateway_cpu_us_per_delivery": used["gateways"] / delivered * 1e6
        if delivered
        else None,
        "listener_cpu_us_per_change": used["listeners"] / written * 1e6 if written else None,
        "cores": {name: cpu / seconds for name, cpu in used.items()},
    }


def _slow_ratio(windows: list[dict[str, Any]]) -> float | None:
    """Return the middle window's p99 over its neighbours' mean: drift cancels out."""
    p99s = [(window["latency_us"] or {"p99": 0})["p99"] for window in windows]
    if len(p99s) != 3 or not p99s[0] + p99s[2]:
        return None
    return float(2 * p99s[1] / (p99s[0] + p99s[2]))


def _client(findings: list[Findings], windows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return whether the load client itself was the bottleneck."""
    busiest: dict[str, float] = {}
    for window in windows:
        for name, cores in window["cores"].items():
            if name.startswith(("client", "writer")):
                busiest[name] = max(busiest.get(name, 0.0), cores)
    lag = percentiles_us(histogram([value for each in findings for value in each.lag_us]))
    lag_ms = {name: value / 1000 for name, value in (lag or {}).items()}
    return {
        "busiest_cores": busiest,
        "loop_lag_ms": lag_ms,
        "bottleneck": find_bottleneck(busiest, lag_ms.get("p99", 0.0)),
    }


def _series(run: Run[Any], by_second: BySecond) -> list[dict[str, Any]]:
    """Return the figures of each second of the run."""
    found = []
    for second, now in sorted(run.samples.items()):
        before = run.samples.get(second - 1)
        if before is not None:
            found.append(
                {
                    "second": second,
                    "live": now.live,
                    "written": now.written - before.written,
                    "delivered": now.delivered - before.delivered,
                    "latency_us": percentiles_us(by_second.get(second - 1, histogram())),
                    "cores": {
                        name: cpu - before.cpu_seconds[name]
                        for name, cpu in now.cpu_seconds.items()
                    },
                }
            )
    return found


def summary(figures: Mapping[str, Any]) -> str:
    """Return the most important figures as text."""
    size, received = figures["parameters"], figures["accounting"]
    lines = [
        f"\n{figures['scenario']}: {size['sockets']} sockets, {size['projects']} projects, "
        f"{size['rate']:g} rows/s, {size['gateways']} gateways, {size['listeners']} listeners, "
        f"{'v1' if size['is_v1'] else 'plain'} clients",
        f"  connected  {figures['connected_per_second']:,.0f}/s",
    ]
    if (memory_kib := figures["memory_kib_per_connection"]) is not None:
        lines[-1] += f", {memory_kib:.1f} KiB of gateway memory each"
    for window in figures["windows"]:
        lines += _window_lines(window)
    if (ratio := figures["p99_ratio"]) is not None:
        lines.append(
            f"  ratio      {ratio:.2f}: the fast ones' p99 beside slow ones, to without"
        )
    if figures["write_us"]:
        lines.append(
            f"  writing    {_milliseconds(figures['write_us'])}  (sent to acknowledged)"
        )
    if figures["returned_us"]:
        lines.append(
            f"  live again {_milliseconds(figures['returned_us'])}  (from the loss on)"
        )
        away = figures["most_away"]
        lines.append(f"  away       {away:,} at most at once ({away / size['sockets']:.1%})")
    lines.append(
        f"  told       {received['owed']:,} owed = {received['told_by_event']:,} by their event"
        f" + {received['told_by_reset']:,} by a reset + {received['lost']:,} lost"
    )
    lines += [f"  counted    {name}: {count:,}" for name, count in figures["counts"].items()]
    if lag_ms := figures["client"]["loop_lag_ms"]:
        lines.append(f"  client     its loop was late by {lag_ms['p99']:.1f} ms (p99)")
    if bottleneck := figures["client"]["bottleneck"]:
        lines.append(
            "  NOTE: the load client was the bottleneck, its own delays are in the latencies: "
            + "; ".join(bottleneck)
        )
    lines += [f"  WRONG: {problem}" for problem in figures["problems"]]
    lines += [f"    {example}" for example in received["examples_of_lost"]]
    return "\n".join(lines)


def _window_lines(window: Mapping[str, Any]) -> list[str]:
    cores = window["cores"]
    lines = [
        f"  {window['name']} ({window['seconds']:.0f} s)",
        f"    rates    {window['written_per_second']:,.1f} written/s, "
        f"{window['delivered_per_second']:,.1f} deliveries/s",
    ]
    if window["latency_us"]:
        lines.append(f"    latency  {_milliseconds(window['latency_us'])}  (write to client)")
    if (gateway_us := window["gateway_cpu_us_per_delivery"]) is not None:
        lines.append(
            f"    CPU      gateways {gateway_us:.1f} us per delivery, "
            f"listeners {window['listener_cpu_us_per_change'] or 0:.0f} us per change"
        )
    used = ", ".join(f"{name} {value:.2f}" for name, value in cores.items())
    return [*lines, f"    cores    {used}"]


def _milliseconds(percentiles: Mapping[str, int]) -> str:
    return (
        "  ".join(f"{name} {value / 1000:.1f}" for name, value in percentiles.items()) + " ms"
    )


def write_report(folder: Path, results: list[dict[str, Any]]) -> None:
    """Write ``report.json`` and ``report.html`` of all results so far."""
    write_page(folder, "load", results, "\n".join(map(section, results)))


def write_page(folder: Path, name: str, figures: Any, sections: str) -> None:
    """Write *figures* to ``report.json``, and a page of the HTML *sections*."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(figures, indent=1))
    (folder / "report.html").write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>Neverstale: {name}</title>"
        f"<style>{STYLE}</style><h1>Neverstale: {name}</h1>\n{sections}</html>\n"
    )


def section(figures: Mapping[str, Any]) -> str:
    """Return the summary and the charts of a scenario as HTML."""
    series = figures["series"]
    seconds = [each["second"] for each in series]

    def over_time(name: str, values: list[float]) -> Line:
        return Line(name, list(zip(seconds, values, strict=True)))

    cores = {name: None for each in series for name in each["cores"]}
    charts = [
        line_chart(
            "Write to client, by second of the write",
            [
                over_time(
                    name, [(each["latency_us"] or {name: 0})[name] / 1000 for each in series]
                )
                for name in ("p50", "p99", "max")
            ],
            unit="ms",
            x_label="second",
            is_log=True,
        ),
        line_chart(
            "Write to client, by percentile",
            [
                Line(name, [(n, value / 1000) for n, (_, value) in enumerate(curve)])
                for name, curve in figures["latency_curves"].items()
            ],
            unit="ms",
            x_label="percentile",
            is_log=True,
            x_names=lambda n: f"{CURVE[int(n)]:g}",
        ),
        line_chart(
            "Deliveries",
            [over_time("deliveries/s", [each["delivered"] for each in series])],
            unit="",
            x_label="second",
        ),
        line_chart(
            "Rows written and sockets live",
            [
                over_time("rows/s", [each["written"] for each in series]),
                over_time("live", [each["live"] for each in series]),
            ],
            unit="",
            x_label="second",
        ),
        line_chart(
            "CPU",
            [
                over_time(name, [each["cores"].get(name, 0.0) for each in series])
                for name in cores
            ],
            unit="cores",
            x_label="second",
        ),
    ]
    return (
        f"<h2>{html.escape(figures['scenario'])}</h2>"
        f"<pre>{html.escape(summary(figures).strip())}</pre>"
        f'<div class="plots">{"".join(charts)}</div>'
    )
