"""Alert rules and dashboard name only metrics that exist, and say what to do."""

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.metric_names import metrics_in_code
from tests.unit.docs.markdown import ROOT, read_document, table_rows

MONITORING: Final = ROOT / "deploy" / "monitoring"
_SUFFIXES: Final = re.compile(r"_(bucket|sum|count)$")
_OTHERS: Final = {
    *("process_cpu_seconds_total", "process_resident_memory_bytes"),
    *("process_open_fds", "process_max_fds", "up", "ALERTS"),
}


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return list(group["rules"])


def panels() -> list[dict[str, Any]]:
    document = json.loads((MONITORING / "dashboard.json").read_text())
    return list(document["panels"])


def dashboard_expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel.get("targets", ())]


def unknown_metrics(expression: str) -> set[str]:
    """Return what *expression* reads or groups by that the code does not have."""
    metrics = {name.partition("{")[0]: name for name in metrics_in_code()}
    found = set(re.findall(r"\b(?:neverstale|process)_[a-z0-9_]+\b", expression))
    return {
        name
        for name in found - _OTHERS
        if name not in metrics and _SUFFIXES.sub("", name) not in metrics
    }


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_reads_metrics_that_exist_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert unknown_metrics(rule["expr"]) == set()
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    page, _, heading = rule["annotations"]["runbook"].partition("#")
    text = read_document(page)
    assert f"## {heading.capitalize()}" in text
    documented = {cells[0].strip("`"): cells for cells in table_rows(text)}
    assert rule["alert"] in documented, "what to do about it"


def test_no_alert_is_documented_that_does_not_exist() -> None:
    text = read_document("docs/how-to/troubleshooting.md")
    documented = {
        cells[0].strip("`") for cells in table_rows(text) if cells[0].startswith("`Neverstale")
    }
    names = {rule["alert"] for rule in rules()}
    assert {name for name in documented if " " not in name} == names


def test_the_dashboard_reads_metrics_that_exist() -> None:
    assert {name for one in dashboard_expressions() for name in unknown_metrics(one)} == set()


def test_the_dashboard_can_be_provisioned() -> None:
    document = json.loads((MONITORING / "dashboard.json").read_text())
    assert document["uid"] == "neverstale"
    assert "id" not in document, "Grafana assigns it"
    assert "__inputs" not in document, "provisioning fills in nothing"
    variables = {one["name"] for one in document["templating"]["list"]}
    assert variables == {"datasource", "instance"}
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        if panel["type"] == "row":
            assert panel["title"].endswith("?"), "a row answers a question"
            continue
        assert panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def test_no_two_panels_overlap() -> None:
    places = [panel["gridPos"] for panel in panels()]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert not [pair for pair in combinations(places, 2) if _overlap(*pair)]


def _promtool(*words: str, folder: Path) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(
        [program, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_alert_fires_and_stays_quiet_as_its_series_say() -> None:
    _promtool("check", "rules", "alerts.yaml", folder=MONITORING)
    _promtool("test", "rules", "alerts_test.yaml", folder=MONITORING)
    tests = yaml.safe_load((MONITORING / "alerts_test.yaml").read_text())["tests"]
    assert {test["name"] for test in tests} == {
        f"{rule['alert']} {outcome}" for rule in rules() for outcome in ("fires", "stays quiet")
    }


def test_promtool_understands_all_expressions_of_the_dashboard(tmp_path: Path) -> None:
    expressions = [
        one.replace("$__rate_interval", "1m").replace("$instance", ".*")
        for one in dashboard_expressions()
    ]
    records = [
        {"record": f"panel:{number}", "expr": one} for number, one in enumerate(expressions)
    ]
    document = {"groups": [{"name": "dashboard", "rules": records}]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(document))
    found = _promtool("check", "rules", "rules.yaml", folder=tmp_path)
    assert f"{len(records)} rules found" in found
