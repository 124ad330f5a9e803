"""Results of several servers side by side, as Markdown.

Owns the table that `scripts/peers` prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparrow.load.report import Report

_MANY = 500
"""Pairs, from which on the memory of sessions stands out of what a server takes and gives back anyway."""


def markdown(reports: Sequence[Report]) -> str:
    """A row for each shape and figure, a column for each server."""
    servers = list(dict.fromkeys(report.server for report in reports))
    lines = ["| shape | figure | " + " | ".join(servers) + " |", "|---" * (len(servers) + 2) + "|"]
    for title in dict.fromkeys(report.title for report in reports):
        of = {report.server: report for report in reports if report.title == title}
        rows = [_cells(of[server]) if server in of else {} for server in servers]
        for name in dict.fromkeys(name for row in rows for name in row):
            cells = " | ".join(_text(row.get(name)) for row in rows)
            lines.append(f"| {title} | {name} | {cells} |")
    return "\n".join(lines)


def _cells(report: Report) -> dict[str, Any]:
    figures = report.figures
    cells: dict[str, Any] = {}
    if report.scenario == "offline":
        for name in ("stored", "pulled"):
            cells[f"{name}/s"] = figures.get(f"{name}_per_second")
        cells["µs CPU, stored"] = figures.get("store_cpu_us_per_message")
        cells["µs CPU, pulled"] = figures.get("pull_cpu_us_per_message")
    else:
        cells["delivered/s"] = figures.get("delivered_per_second")
        cells["µs CPU a message"] = figures.get("server_cpu_us_per_message")
        one_way = report.latency_ms["one_way"]
        cells["one way p50 / p99, ms"] = f"{_text(one_way['p50'])} / {_text(one_way['p99'])}"
    if report.settings.get("pairs", 0) >= _MANY:
        cells["KiB a session"] = figures.get("kib_per_session")
    promise = report.promise
    cells["lost / twice / out of order"] = f"{promise.lost} / {promise.twice} / {promise.out_of_order}"
    return cells


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
