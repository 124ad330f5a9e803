"""The alert rules and the dashboard: right for Prometheus, and about metrics that there are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "scripts" / "monitoring"
METRICS = (ROOT / "docs" / "metrics.md").read_text()


def promtool(*arguments: str) -> None:
    if shutil.which("promtool") is None:
        assert not os.environ.get("CI"), "scripts/install-package promtool prometheus has not been run"
        pytest.skip("promtool is not there: scripts/install-package promtool prometheus")
    done = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def expressions() -> list[str]:
    """Of all panels."""
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_the_rules_are_rules_and_fire_when_they_should() -> None:
    promtool("check", "rules", "alerts.yml")
    promtool("test", "rules", "alerts-test.yml")
    promtool("check", "config", "prometheus.yml")


def test_the_dashboard_asks_what_prometheus_understands(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(expressions())]
    assert len(rules) > 10
    written = tmp_path / "panels.yml"
    written.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))  # JSON is YAML
    promtool("check", "rules", str(written))


def test_all_metrics_are_documented() -> None:
    used = set(re.findall(r"\bsparrow_\w+", "\n".join([*expressions(), (FOLDER / "alerts.yml").read_text()])))
    assert used
    known = set(re.findall(r"`(sparrow_\w+)`", METRICS))
    assert {name.removesuffix("_bucket") for name in used} <= known


def test_each_alarm_is_explained() -> None:
    alarms = re.findall(r"alert: (\w+)", (FOLDER / "alerts.yml").read_text())
    text = (ROOT / "docs" / "operations.md").read_text()
    assert alarms
    assert [alarm for alarm in alarms if f"`{alarm}`" not in text] == []


def test_each_alarm_is_seen_to_fire() -> None:
    alarms = re.findall(r"alert: (\w+)", (FOLDER / "alerts.yml").read_text())
    tests = (FOLDER / "alerts-test.yml").read_text()
    assert [alarm for alarm in alarms if not re.search(rf"alertname: {alarm}\b[^\n]*\n +exp_alerts:\n", tests)] == []
