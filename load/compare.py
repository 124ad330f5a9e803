"""Two results beside each other: ratios of the figures, and what differs in how they were got.

Owns which results belong together, what of them is compared, and the table that is printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from load import words
from load.report import Report
from protocol.errors import ConfigError

_PERCENTILES = ("p50", "p99", "p99_9", "max")


def matched(first: list[Report], second: list[Report]) -> list[tuple[Report, Report]]:
    """Each report with the one of the same server, scenario and settings, or else with the one beside it.

    Raises `ConfigError` if there is nothing to compare.
    """
    if len(first) == len(second) == 1:
        pairs = [(a, b) for a, b in zip(first, second, strict=True) if a.scenario == b.scenario]
    else:
        pairs = [(a, b) for a in first for b in second if (a.server, a.title) == (b.server, b.title)]
    if not pairs:
        raise ConfigError("these files have no scenario in common: compare results of the same scenario")
    return pairs


def compare(pairs: list[tuple[Report, Report]]) -> str:
    """As text."""
    return "\n\n".join(_one(a, b) for a, b in pairs)


def _one(a: Report, b: Report) -> str:
    lines = [f"{a.title}, {a.server}"]
    lines += [f"  differs: {name}: {old} → {new}" for name, old, new in differences(a, b)]
    lines.append(f"  {'':40}{'A':>12}{'B':>12}{'B / A':>9}")
    for name, unit, old, new in figures(a, b):
        row = f"  {name:40}{words.number(old):>12}{words.number(new):>12}{ratio(old, new):>9}"
        lines.append(f"{row}  {unit}".rstrip())
    for label, report in (("A", a), ("B", b)):
        _, told = words.verdict(report.promise, report.counters)
        lines.append(f"  {label}: {told}")
    return "\n".join(lines)


def differences(a: Report, b: Report) -> Iterator[tuple[str, str, str]]:
    """What was not the same, in words: name, of the first, of the second."""
    seen: list[tuple[str, Any, Any]] = [
        ("server", a.server, b.server),
        ("shape", words.shape(a.shape), words.shape(b.shape)),
    ]
    for old, new in ((a.settings, b.settings), (a.machine, b.machine)):
        seen += [(name, old.get(name), new.get(name)) for name in {**old, **new}]
    for name, left, right in seen:
        if left != right:
            label, unit = words.setting(name)
            yield label, words.amount(left, unit), words.amount(right, unit)


def figures(a: Report, b: Report) -> Iterator[tuple[str, str, Any, Any]]:
    """All that either has: name, unit, of the first, of the second."""
    for name in {**a.figures, **b.figures}:
        yield *words.figure(name), a.figures.get(name), b.figures.get(name)
    for kind in {**a.latency_ms, **b.latency_ms}:
        for name in _PERCENTILES:
            old, new = (report.latency_ms.get(kind, {}).get(name) for report in (a, b))
            if old is not None or new is not None:
                yield f"{words.latency(kind)}, {words.PERCENTILES[name]}", "ms", old, new


def ratio(old: Any, new: Any) -> str:
    """Of the second to the first."""
    if isinstance(old, int | float) and isinstance(new, int | float) and old:
        return f"{new / old:.2f}"
    return "–"
