"""The outcome of a check, as text and as JSON."""

from operations.check.report import Report, find_in_clocks
from shared.runtime.findings import note, problem


def test_a_report_is_fine_without_problems() -> None:
    report = Report([note("a.b", "what", "todo")])
    assert report.is_fine
    report = Report([*report.findings, problem("c.d", "what", "todo")])
    assert not report.is_fine
    assert report.as_json()["ok"] is False
    assert report.as_json()["findings"][0] == {
        "id": "a.b",
        "severity": "note",
        "what": "what",
        "todo": "todo",
    }


def test_each_part_is_a_line_and_what_was_skipped_is_said() -> None:
    report = Report(
        checked={
            "postgresql": {"version": 18, "watched_tables": 6},
            "gateways": [{"url": "http://a", "version": None}, {"url": "http://b"}],
            "probe": {"greeted_ms": {"http://a": 1.5}, "is_ok": True},
            "token": "unknown",
        }
    )
    assert report.lines() == [
        "postgresql: version 18, watched tables 6",
        "gateways: url http://a",
        "gateways: url http://b",
        "token: unknown",
        "probe: greeted ms http://a 1.5, is ok true",
        "not checked: redis (REDIS_URL is not set)",
    ]
    assert report.skipped == {"redis": "REDIS_URL is not set"}
    everything = Report(
        checked=dict.fromkeys(("postgresql", "redis", "gateways", "token", "probe"), "x")
    )
    assert len(everything.lines()) == 5


def test_clocks_that_differ_are_noted() -> None:
    assert find_in_clocks({}) == []
    assert find_in_clocks({"redis": 100.0}) == []
    assert find_in_clocks({"redis": 1.0, "postgresql": -1.0}) == []
    [found] = find_in_clocks({"redis": 10.0, "postgresql": -1.0})
    assert (found.id, found.severity) == ("clocks.differ", "note")
    assert "redis +11 s" in found.what
