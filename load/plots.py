"""What the page draws of a result, or of two in one picture: curves over time, and latencies by percentile.

Owns which pictures there are and what is in them, as plain data. How they are drawn is `web/src/load`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from load import words
from load.report import Report, Second

MAX_POINTS = 800
"""Of a curve: more than a screen shows. Of each so many there is one then."""
MAX_PROCESSES = 4
"""With more, their memory is drawn in sums of those that do the same."""
_BEFORE = ("accounts", "starting", "making groups")
"""Phases before the first login: they may take minutes, and nothing happens in them."""
_LOGIN = "logging in"
_AT_ONCE, _WAITED = ("one_way", "to_sent"), "after_absence"
"""Histograms."""
_SPREAD = 40
"""From this ratio of the greatest to the least on, an axis is logarithmic."""


@dataclass(frozen=True)
class Curve:
    """One line, or one row of bars."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    colour: int
    """Which of the page's."""
    dashed: bool = False


@dataclass(frozen=True)
class Plot:
    """One picture."""

    title: str
    unit: str
    """Of what goes up."""
    curves: Sequence[Curve]
    kind: str = "time"
    """"time": over seconds; "percentile": over -log10(1 - share)."""
    bars: bool = False
    logarithmic: bool = False
    bands: Sequence[tuple[float, float, str]] = ()
    """Phases: from, to, name."""
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """For the page."""
        return asdict(self)

    @property
    def summary(self) -> str:
        """In words, for who cannot see it."""
        told = []
        for curve in self.curves:
            known = [value for value in curve.y if value is not None]
            least, most = (words.amount(value, self.unit) for value in (min(known), max(known)))
            told.append(f"{curve.name} from {least} to {most}")
        return f"{self.title}: {'; '.join(told)}"


@dataclass(frozen=True)
class Run:
    """A result as it is drawn: its name in the picture, and when its time begins."""

    name: str
    report: Report
    number: int
    zero: float
    """This moment of the run is 0."""

    @property
    def seconds(self) -> list[Second]:
        """Those that are drawn."""
        return [each for each in self.report.seconds if not each.phase.startswith(_BEFORE)]


def pictures(reports: Sequence[Report]) -> list[Plot]:
    """All that there is to draw of one result; of two: both, from the moment when all had logged in."""
    names = ["A", "B"] if len(reports) > 1 else [""]
    runs = [
        Run(name, each, n, begin(each, behind_login=len(reports) > 1))
        for n, (name, each) in enumerate(zip(names, reports, strict=True))
    ]
    bands = _bands(runs[0]) if len(runs) == 1 else ()
    found = [*_over_time(runs, bands), *_percentiles(runs), *_resources(runs, bands)]
    return [each for each in found if each is not None]


def failures(report: Report) -> Plot | None:
    """What failed when; None if nothing did, or it is not known when."""
    run = Run("", report, 0, begin(report))
    at = [each.at - run.zero for each in run.seconds]
    counted = {name: [int(getattr(each, name)) for each in run.seconds] for name in words.TROUBLES}
    # They are told since the beginning.
    exceptions = counted["exceptions"]
    counted["exceptions"] = [max(0, now - before) for before, now in pairwise([0, *exceptions])]
    # What did not happen has no bar, on a logarithmic axis either.
    curves = [
        Curve(words.counter(name), *thin(at, [value or None for value in values], sum), colour=n)
        for n, (name, values) in enumerate(counted.items())
        if any(values)
    ]
    # The smaller ones stand before the greater ones.
    curves.sort(key=lambda curve: -max(value or 0 for value in curve.y))
    title, unit = "Failures and repeats", "in a second"
    return Plot(title, unit, curves, bars=True, logarithmic=_spread(curves), bands=_bands(run)) if curves else None


def _over_time(runs: Sequence[Run], bands: Sequence[tuple[float, float, str]]) -> Iterator[Plot | None]:
    yield _timed(runs, "Shown to readers", "texts a second", bands, {"shown": lambda second: second.received})
    latency: dict[str, Callable[[Second], float | None]] = {
        "p50": lambda second: second.p50_ms,
        "p99": lambda second: second.p99_ms,
    }
    yield _timed(runs, "One way", "ms", bands, latency)
    online = [{each.online for each in run.seconds if each.phase != _LOGIN} for run in runs]
    if any(len(known) > 2 for known in online) or runs[0].report.scenario in ("idle", "storm", "flap"):
        yield _timed(runs, "Online", "clients", bands, {"online": lambda second: second.online})


def _timed(
    runs: Sequence[Run],
    title: str,
    unit: str,
    bands: Sequence[tuple[float, float, str]],
    series: dict[str, Callable[[Second], float | None]],
) -> Plot | None:
    """Of what is told once a second; None where it never was, or was 0 throughout."""
    curves = []
    for run in runs:
        at = [each.at - run.zero for each in run.seconds]
        for n, (name, value) in enumerate(series.items()):
            values = [value(each) for each in run.seconds]
            if len(at) > 1 and any(values):
                # A mean of latencies would hide the worst one.
                together = max if unit == "ms" else _mean
                curves.append(_curve(run, name, len(series), n, *thin(at, values, together)))
    if not curves:
        return None
    step = -(-max(len(run.seconds) for run in runs) // MAX_POINTS)
    note = f"a point is {step} seconds: {'the highest' if unit == 'ms' else 'the mean'}" if step > 1 else ""
    return Plot(title, unit, curves, bands=bands, logarithmic=unit == "ms" and _spread(curves), note=note)


def _percentiles(runs: Sequence[Run]) -> Iterator[Plot | None]:
    """Which share of texts took at most how long."""
    curves = []
    for run in runs:
        # What waited for somebody would flatten the rest.
        known = [name for name in _AT_ONCE if run.report.histograms.get(name)] or [_WAITED]
        for n, name in enumerate(known):
            x, y = percentile_curve(run.report.histograms.get(name, ()))
            if len(x) > 1:
                curves.append(_curve(run, words.latency(name), len(known), n, x, y))
    title, unit = "Latency by percentile", "ms"
    yield Plot(title, unit, curves, kind="percentile", logarithmic=_spread(curves)) if curves else None


def _resources(runs: Sequence[Run], bands: Sequence[tuple[float, float, str]]) -> Iterator[Plot | None]:
    cpu: dict[str, Callable[[Second], float | None]] = {"servers": lambda second: second.cpu_percent}
    yield _timed(runs, "Server CPU", "% of a core", bands, cpu)
    if len(runs) > 1:
        resident: dict[str, Callable[[Second], float | None]] = {"servers": lambda second: second.resident_mib}
        yield _timed(runs, "Server memory", "MiB", bands, resident)
        return
    run = runs[0]
    kept = [[(at, kib) for at, kib in each["samples"] if at >= run.zero] for each in run.report.memory]
    names = [f"{each['process']} ({each['pid']})" for each in run.report.memory]
    if len(kept) > MAX_PROCESSES:
        names, kept = _sums([str(each["process"]) for each in run.report.memory], kept)
    curves = [
        Curve(name, *thin([at - run.zero for at, _ in samples], [kib / 1024 for _, kib in samples], _mean), colour=n)
        for n, (name, samples) in enumerate(zip(names, kept, strict=True))
        if len(samples) > 1
    ]
    yield Plot("Server memory", "MiB", curves, bands=bands) if curves else None


_Samples = list[tuple[float, int]]


def _sums(roles: Sequence[str], kept: Sequence[_Samples]) -> tuple[list[str], list[_Samples]]:
    """Of processes that do the same; each counts with the last that was seen of it."""
    names, sums = [], []
    for role in dict.fromkeys(roles):
        members = [samples for name, samples in zip(roles, kept, strict=True) if name == role]
        now = [0] * len(members)
        rising = sorted((at, n, kib) for n, samples in enumerate(members) for at, kib in samples)
        added: dict[float, int] = {}
        for at, n, kib in rising:
            now[n] = kib
            added[at] = sum(now)
        names.append(role if len(members) == 1 else f"{role} × {len(members)}")
        sums.append(list(added.items()))
    return names, sums


def _curve(run: Run, name: str, of: int, n: int, x: Sequence[float], y: Sequence[float | None]) -> Curve:
    """Of one run each has a colour; of two each run has one, and the second of a pair of curves is dashed."""
    if not run.name:
        return Curve(name, x, y, colour=n)
    return Curve(f"{run.name}, {name}" if of > 1 else run.name, x, y, colour=run.number, dashed=n > 0)


def percentile_curve(buckets: Sequence[tuple[float, int]]) -> tuple[list[float], list[float]]:
    """Buckets (upper border in ms, count) as a curve: -log10(1 - share), and the ms that so many do not exceed.

    It ends where a single text is a share of its own.
    """
    total = sum(count for _, count in buckets) or 1
    x, y, below = [0.0][: len(buckets)], [float(upper) for upper, _ in buckets[:1]], 0
    for upper, count in buckets:
        below += count
        share = min(below / total, 1 - 1 / max(2, total))
        x.append(round(-math.log10(1 - share), 4))
        y.append(float(upper))
    return x, y


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 3)


def thin(
    at: Sequence[float], values: Sequence[float | None], together: Callable[[list[float]], float]
) -> tuple[list[float], list[float | None]]:
    """At most `MAX_POINTS`, each of as many; what is None is left out of a point."""
    step = -(-len(at) // MAX_POINTS) or 1
    x: list[float] = []
    y: list[float | None] = []
    for first in range(0, len(at), step):
        known = [value for value in values[first : first + step] if value is not None]
        x.append(round(median(at[first : first + step]), 2))
        y.append(round(together(known), 3) if known else None)
    return x, y


def _spread(curves: Sequence[Curve]) -> bool:
    known = [value for curve in curves for value in curve.y if value]
    return bool(known) and max(known) > _SPREAD * min(known)


def begin(report: Report, *, behind_login: bool = False) -> float:
    """When the time of a picture begins, in that of the run: with the first login, or when all had logged in."""
    for each in report.seconds:
        if not each.phase.startswith(_BEFORE) and not (behind_login and each.phase == _LOGIN):
            return each.at - 1.0
    return 0.0


def _bands(run: Run) -> list[tuple[float, float, str]]:
    """Phases, one behind the other."""
    found: list[tuple[float, float, str]] = []
    for each in run.seconds:
        end = round(each.at - run.zero, 2)
        if found and found[-1][2] == each.phase:
            found[-1] = (found[-1][0], end, each.phase)
        else:
            found.append((found[-1][1] if found else 0.0, end, each.phase))
    return found
