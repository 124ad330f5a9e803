"""Results of several servers side by side, as Markdown.

Owns the table that `scripts/peers` prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

from load.report import Report

_MANY = 500
"""Pairs, from which on the memory of sessions stands out of what a server takes and gives back anyway."""


def markdown(reports: Sequence[Report]) -> str:
    """A row for each shape and figure, a column for each server; of several rounds, medians."""
    servers = list(dict.fromkeys(report.server for report in reports))
    lines = ["| shape | figure | " + " | ".join(servers) + " |", "|---" * (len(servers) + 2) + "|"]
    for title in dict.fromkeys(report.title for report in reports):
        rows = [_cells([each for each in reports if (each.title, each.server) == (title, name)]) for name in servers]
        for name in dict.fromkeys(name for row in rows for name in row):
            cells = " | ".join(row.get(name, "–") for row in rows)
            lines.append(f"| {title} | {name} | {cells} |")
    return "\n".join(lines)


def _cells(rounds: Sequence[Report]) -> dict[str, str]:
    """What the table says of one server and shape."""
    if not rounds:
        return {}

    def figure(name: str) -> str:
        return _median(report.figures.get(name) for report in rounds)

    def one_way(name: str) -> str:
        return _median(report.latency_ms["one_way"][name] for report in rounds)

    def broken(of: Callable[[Report], int]) -> str:
        return str(sum(map(of, rounds)))

    if rounds[0].scenario == "offline":
        cells = {
            "stored/s": figure("stored_per_second"),
            "pulled/s": figure("pulled_per_second"),
            "µs CPU, stored": figure("store_cpu_us_per_message"),
            "µs CPU, pulled": figure("pull_cpu_us_per_message"),
        }
    else:
        cells = {
            "delivered/s": figure("delivered_per_second"),
            "µs CPU a message": figure("server_cpu_us_per_message"),
            "one way p50 / p99, ms": f"{one_way('p50')} / {one_way('p99')}",
        }
    if rounds[0].settings.get("pairs", 0) >= _MANY:
        cells["KiB a session"] = figure("kib_per_session")
    verdicts = (
        broken(lambda report: report.promise.lost),
        broken(lambda report: report.promise.twice),
        broken(lambda report: report.promise.out_of_order),
    )
    cells["lost / twice / out of order"] = " / ".join(verdicts)
    return cells


def _median(values: Iterable[Any]) -> str:
    known = [value for value in values if value is not None]
    return f"{round(median(known), 3):,}" if known else "–"
