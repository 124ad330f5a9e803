"""Two results beside each other: ratios of the figures, and what differs in how they were got.

Owns the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from load.report import Report
from protocol.errors import ConfigError


def compare(first: list[Report], second: list[Report]) -> str:
    """As text; each report with the one of the same server, scenario and settings, or else with the one beside it.

    Raises `ConfigError` if there is nothing to compare.
    """
    pairs = list(_matched(first, second))
    if not pairs:
        raise ConfigError("these files have no scenario in common: compare results of the same scenario")
    return "\n\n".join(_one(a, b) for a, b in pairs)


def _matched(first: list[Report], second: list[Report]) -> Iterator[tuple[Report, Report]]:
    if len(first) == len(second) == 1:
        if first[0].scenario == second[0].scenario:
            yield first[0], second[0]
        return
    for a in first:
        for b in second:
            if (a.server, a.title) == (b.server, b.title):
                yield a, b


def _one(a: Report, b: Report) -> str:
    lines = [f"{a.title}, {a.server}"]
    lines += [f"  differs: {name}: {old} → {new}" for name, old, new in _differences(a, b)]
    lines.append(f"  {'':34}{'A':>14}{'B':>14}{'B / A':>9}")
    for name, old, new in _figures(a, b):
        lines.append(f"  {name:34}{_number(old):>14}{_number(new):>14}{_ratio(old, new):>9}")
    for label, report in (("A", a), ("B", b)):
        if report.promise.kept and report.promise.absent:
            lines.append(f"  {label}: {report.promise.text}")
        if not report.promise.kept:
            lines.append(f"  {label} broke the promise: its figures count for nothing")
    return "\n".join(lines)


def _differences(a: Report, b: Report) -> Iterator[tuple[str, Any, Any]]:
    seen: list[tuple[str, Any, Any]] = [("server", a.server, b.server), ("shape", a.shape, b.shape)]
    for old, new in ((a.settings, b.settings), (a.machine, b.machine)):
        seen += [(name, old.get(name), new.get(name)) for name in {**old, **new}]
    for name, left, right in seen:
        if left != right:
            yield name, left, right


def _figures(a: Report, b: Report) -> Iterator[tuple[str, Any, Any]]:
    for name in {**a.figures, **b.figures}:
        yield name, a.figures.get(name), b.figures.get(name)
    for kind in a.latency_ms:
        for name in ("p50", "p99", "p99_9", "max"):
            old, new = a.latency_ms[kind].get(name), b.latency_ms.get(kind, {}).get(name)
            if old is not None or new is not None:
                yield f"{kind} {name}, ms", old, new


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else "–"


def _ratio(old: Any, new: Any) -> str:
    if isinstance(old, int | float) and isinstance(new, int | float) and old:
        return f"{new / old:.2f}"
    return "–"
