"""Results of several servers side by side: each figure of each shape, of all rounds, and these as Markdown.

Owns which figures are told. How they are drawn, `load.peers.plot` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from statistics import median
from typing import NamedTuple

from load.report import Report

_MANY = 500
"""Pairs, from which on the memory of sessions stands out of what a server takes and gives back anyway."""
_NAMES: dict[str, dict[str, Sequence[str]]] = {
    "groups": {
        "texts/s": ("texts_per_second",),
        "delivered/s": ("delivered_per_second",),
        "µs CPU a delivery": ("server_cpu_us_per_message",),
    },
    "history": {
        "written/s": ("filled_per_second",),
        "µs CPU, written": ("fill_cpu_us_per_message",),
        "read back/s (pages of 500, or a replay)": ("fetched_per_second_by_500", "replayed_per_second"),
        "µs CPU, read back": ("fetch_cpu_us_per_message_by_500", "replay_cpu_us_per_message"),
    },
    "offline": {
        "stored/s": ("stored_per_second",),
        "pulled/s": ("pulled_per_second",),
        "µs CPU, stored": ("store_cpu_us_per_message",),
        "µs CPU, pulled": ("pull_cpu_us_per_message",),
    },
}
_TRAFFIC: dict[str, Sequence[str]] = {
    "delivered/s": ("delivered_per_second",),
    "µs CPU a message": ("server_cpu_us_per_message",),
}
"""Of the scenarios that are not above."""
_AFTERWARDS = ("offline", "history")
"""Scenarios in which nobody is there to be shown a text when it is written."""


class Row(NamedTuple):
    """A figure of a shape."""

    shape: str
    figure: str
    cells: Mapping[str, Sequence[float]]
    """Server → what each round gave, of those that have it."""


def servers(reports: Sequence[Report]) -> list[str]:
    """Whose results these are."""
    return list(dict.fromkeys(report.server for report in reports))


def rows(reports: Sequence[Report]) -> Iterator[Row]:
    """All figures, shape by shape."""
    for shape in dict.fromkeys(report.title for report in reports):
        some = [report for report in reports if report.title == shape]
        for name, value in _figures(some[0]).items():
            cells: dict[str, list[float]] = {}
            for report in some:
                found = value(report)
                if found is not None:
                    cells.setdefault(report.server, []).append(found)
            if cells:
                yield Row(shape, name, cells)


def _figures(report: Report) -> dict[str, Callable[[Report], float | None]]:
    def figure(*keys: str) -> Callable[[Report], float | None]:
        return lambda report: next((report.figures[key] for key in keys if key in report.figures), None)

    def one_way(key: str) -> Callable[[Report], float | None]:
        return lambda report: report.latency_ms["one_way"][key]

    found = {name: figure(*keys) for name, keys in _NAMES.get(report.scenario, _TRAFFIC).items()}
    if report.scenario not in _AFTERWARDS:
        found |= {f"one way {key}, ms": one_way(key) for key in ("p50", "p99")}
    if report.settings.get("pairs", 0) >= _MANY:
        found["KiB a session"] = figure("kib_per_session")
    return found


def number(value: float) -> str:
    """As many digits as it can be trusted for."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def told(values: Sequence[float]) -> str:
    """The median, and of several the lowest and highest."""
    if not values:
        return "–"
    if len(values) == 1:
        return number(values[0])
    return f"{number(median(values))} ({number(min(values))}–{number(max(values))})"


def markdown(reports: Sequence[Report]) -> str:
    """A row for each shape and figure, a column for each server."""
    names = servers(reports)
    lines = ["| shape | figure | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for shape, figures in groupby(rows(reports), lambda row: row.shape):
        lines += [_line(shape, row.figure, [told(row.cells.get(name, ())) for name in names]) for row in figures]
        lines.append(_line(shape, "lost / twice / out of order", [_verdict(reports, shape, name) for name in names]))
    return "\n".join(lines)


def _verdict(reports: Sequence[Report], shape: str, server: str) -> str:
    """Of all rounds together."""
    some = [report.promise for report in reports if (report.title, report.server) == (shape, server)]
    sums = (sum(one.lost for one in some), sum(one.twice for one in some), sum(one.out_of_order for one in some))
    return " / ".join(map(str, sums)) if some else "–"


def _line(shape: str, figure: str, cells: Sequence[str]) -> str:
    return f"| {shape} | {figure} | {' | '.join(cells)} |"
