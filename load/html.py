"""The report as one HTML file, of one result, of several, or of two in the same pictures.

Owns what stands where: the verdict and three figures first, then pictures, and tables folded behind them. Looks and
drawing are `web/src/load`, built into `load/page/report.html`; nothing is fetched from anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from load import words
from load.compare import differences, figures, ratio
from load.plots import Plot, begin, failures, pictures
from load.report import Report

COLOURS = 6
"""Of curves; the page has so many."""
_SIGNS = {"kept": "✓", "unsure": "?", "broken": "✗"}
_NUMBER, _SMALL = ' class="number"', ' class="small"'
_TEMPLATE = Path(__file__).parent / "page" / "report.html"
_BODY, _TITLE = "<!-- body -->", "__TITLE__"
_ONE_WAY = ("one way", ("one_way p50", "one_way p99"))
_TRAFFIC = (
    ("delivered", ("delivered_per_second",)),
    _ONE_WAY,
    ("server CPU per message", ("server_cpu_us_per_message",)),
)
TOP: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "soak": (*_TRAFFIC[:2], ("memory grows by", ("growth",))),
    "idle": (
        ("online at the end", ("online_at_end",)),
        ("memory per session", ("kib_per_session_at_end",)),
        ("server CPU with nothing to do", ("idle_cpu_percent",)),
    ),
    "storm": (
        ("all were back after", ("all_back_s",)),
        ("each was back", ("back_p50_ms", "back_p99_ms")),
        ("server CPU per return", ("server_cpu_us_per_return",)),
    ),
    "offline": (
        ("stored", ("stored_per_second",)),
        ("pulled", ("pulled_per_second",)),
        ("server CPU, stored and pulled", ("store_cpu_us_per_message", "pull_cpu_us_per_message")),
    ),
    "history": (
        ("filled", ("filled_per_second",)),
        ("page of 50", ("page_of_50_p50_ms", "page_of_50_p99_ms")),
        ("fetched in pages of 500", ("fetched_per_second_by_500",)),
    ),
}
"""The three figures that matter first, by scenario: a label, and the figures under it. Others have `_TRAFFIC`."""
_TOO_SHORT = '<p class="faint">It took too short for pictures over time: there is a sample once a second.</p>'
GROWTH_S = 600.0
"""A shorter run cannot tell how memory grows."""
_BESIDE = {"p50": "p50", "p99": "p99", "store": "stored", "pull": "pulled"}
"""What is written beside a figure that shares its place with another."""


def page(reports: Sequence[Report]) -> str:
    """The whole file."""
    title = "Sparrow load test" if len(reports) != 1 else f"Sparrow load test: {reports[0].title}"
    listed = _overview(reports) if len(reports) > 1 else ""
    return _whole(title, "Sparrow load test", listed + "".join(_section(n, each) for n, each in enumerate(reports)))


def beside(pairs: Sequence[tuple[Report, Report]]) -> str:
    """The whole file for two results each, in the same pictures."""
    title = "Sparrow load tests beside each other"
    return _whole(title, title, "".join(_pair(n, a, b) for n, (a, b) in enumerate(pairs)))


def _whole(title: str, heading: str, body: str) -> str:
    before, _, behind = _TEMPLATE.read_text(encoding="utf-8").partition(_BODY)
    return before.replace(_TITLE, escape(title)) + f"<main><h1>{escape(heading)}</h1>{body}</main>" + behind


def _section(number: int, report: Report) -> str:
    measured, drawn = report.settings.get("seconds"), pictures([report])
    about = [words.shape(report.shape), *([f"measured for {words.duration(measured)}"] if measured else [])]
    parts = [
        f"<div><h2>{escape(report.server)}: {escape(report.title)}</h2>",
        f'<p class="faint">{escape(" · ".join(about))}</p></div>',
        _verdict(report),
        _top(report),
        _plots(drawn),
        "" if any(plot.kind == "time" for plot in drawn) else _TOO_SHORT,
        _failed(report),
        _tables(report),
    ]
    return f'<section id="run-{number}">{"".join(parts)}</section>'


def _verdict(report: Report, label: str = "") -> str:
    how, told = words.verdict(report.promise, report.counters)
    first, _, rest = told.partition(". ")
    more = f" <span>{escape(rest)}</span>" if rest else ""
    return f'<p class="verdict {how}"><b>{_SIGNS[how]} {escape(label + first.rstrip("."))}.</b>{more}</p>'


# The three figures.


def figure(report: Report, name: str) -> tuple[Any, str]:
    """A value and its unit: a figure, a percentile ("one_way p99"), or "growth" of all server processes together."""
    if name == "growth":
        known = [each["kib_per_hour"] for each in report.memory if each.get("kib_per_hour") is not None]
        return (round(sum(known) / 1024, 1) if known else None), "MiB an hour"
    kind, _, percentile = name.partition(" ")
    if percentile:
        return report.latency_ms.get(kind, {}).get(percentile), "ms"
    return report.figures.get(name), words.figure(name)[1]


def top(report: Report) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What comes first of this scenario."""
    if report.scenario == "soak" and report.settings.get("seconds", 0) < GROWTH_S:
        return _TRAFFIC
    return TOP.get(report.scenario, _TRAFFIC)


def _top(report: Report) -> str:
    cells = []
    for label, names in top(report):
        shown = "".join(_value(*figure(report, name), _mark(name) if len(names) > 1 else "") for name in names)
        small = _SMALL if len(names) > 1 else ""
        cells.append(f"<div><dt>{escape(label)}</dt><dd{small}>{shown}</dd></div>")
    return f'<dl class="top">{"".join(cells)}</dl>'


def _value(value: Any, unit: str, mark: str = "") -> str:
    said = "not measured" if value is None else " ".join(part for part in (unit, mark) if part)
    return f'<span><b>{words.number(value)}</b> <span class="faint">{escape(said)}</span></span>'


def _mark(name: str) -> str:
    return next((told for key, told in _BESIDE.items() if key in name), "")


def _overview(reports: Sequence[Report]) -> str:
    """Of several: which they are, one row each."""
    rows = []
    for n, report in enumerate(reports):
        how, _ = words.verdict(report.promise, report.counters)
        shown = "; ".join(
            f"{label} {' / '.join(words.amount(*figure(report, name)) for name in names)}"
            for label, names in top(report)
        )
        link = f'<a href="#run-{n}">{escape(report.server)}: {escape(report.title)}</a>'
        sign = f'<b class="{how}">{_SIGNS[how]}</b>'
        rows.append(f'<li>{sign} {link} <span class="faint">{escape(shown)}</span></li>')
    return f'<ul class="overview">{"".join(rows)}</ul>'


# Two beside each other.


def _pair(number: int, a: Report, b: Report) -> str:
    differs = "; ".join(f"{name} {old} → {new}" for name, old, new in differences(a, b))
    told = [
        (f"{name}, {unit}" if unit else name, words.number(old), words.number(new), ratio(old, new))
        for name, unit, old, new in figures(a, b)
    ]
    parts = [
        f"<div><h2>{escape(a.title)}</h2>",
        *(
            f'<p class="faint">{_key(n)}{label}: {escape(f"{each.server}, {words.shape(each.shape)}")}</p>'
            for n, (label, each) in enumerate((("A", a), ("B", b)))
        ),
        f'<p class="faint">Differs: {escape(differs)}.</p></div>' if differs else "</div>",
        *(_verdict(each, f"{label}: ") for label, each in (("A", a), ("B", b))),
        _top_of_both(a, b),
        _plots(pictures([a, b])),
        f'<div class="tables">{_folded("Figures", _rows(told, ("", "A", "B", "B / A")), is_open=True)}</div>',
    ]
    return f'<section id="run-{number}">{"".join(parts)}</section>'


def _top_of_both(a: Report, b: Report) -> str:
    cells = []
    for label, names in top(a):
        rows = ""
        for name in names:
            (old, unit), (new, _) = figure(a, name), figure(b, name)
            mark = f"{_mark(name)}, " if len(names) > 1 else ""
            said = f"{unit}, {mark}B / A {ratio(old, new)}"
            values = "".join(
                f"<span>{_key(n)}<b>{words.number(value)}</b></span>" for n, value in enumerate((old, new))
            )
            rows += f'<dd{_SMALL}>{values}<span class="faint">{escape(said)}</span></dd>'
        cells.append(f"<div><dt>{escape(label)}</dt>{rows}</div>")
    return f'<dl class="top">{"".join(cells)}</dl>'


# Pictures.


def _plots(plots: Iterable[Plot]) -> str:
    drawn = "".join(_plot(each) for each in plots)
    return f'<div class="plots">{drawn}</div>' if drawn else ""


def _plot(plot: Plot) -> str:
    names = "".join(
        f"<li>{_key(curve.colour, dashed=curve.dashed)}{escape(curve.name)} <b></b></li>" for curve in plot.curves
    )
    note = f" ({plot.note})" if plot.note else ""
    # So that nothing in it ends the element, and the page can be read as XML, too.
    data = json.dumps(plot.as_json(), ensure_ascii=False, separators=(",", ":"))
    data = data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return (
        f'<figure class="plot"><figcaption><strong>{escape(plot.title)}</strong>'
        f'<span class="faint">{escape(plot.unit + note)}</span><span class="faint at"></span><ul>{names}</ul>'
        f'</figcaption><div class="drawing" role="img" aria-label="{escape(plot.summary)}"></div>'
        f'<script type="application/json">{data}</script></figure>'
    )


def _key(colour: int, *, dashed: bool = False) -> str:
    """A short line of a curve's colour."""
    return f'<span class="key line-{colour % COLOURS}{" dashed" if dashed else ""}"></span>'


def _failed(report: Report) -> str:
    """What failed, and when; a line if nothing did."""
    counted = {name: report.counters.get(name, 0) for name in words.TROUBLES}
    if not any(counted.values()):
        return '<p class="faint">Nothing failed: no exceptions, refusals, repeats or lost connections.</p>'
    lines = [f"<li>{escape(words.counter(name))}: <b>{count:,}</b></li>" for name, count in counted.items() if count]
    for error, count in sorted(report.errors.items(), key=lambda item: -item[1]):
        at = [each.at - begin(report) for each in report.seconds if error in each.errors]
        when = f", from {at[0]:.0f} s to {at[-1]:.0f} s" if len(at) > 1 else f", at {at[0]:.0f} s" if at else ""
        lines.append(f"<li>{escape(error)}: <b>{count:,}</b>{when}</li>")
    plot = failures(report)
    drawn = _plots([plot]) if plot else ""
    return f'<div class="failed"><h3>What failed or was repeated</h3><ul>{"".join(lines)}</ul>{drawn}</div>'


# Tables.


def _tables(report: Report) -> str:
    promise = {words.PROMISE[name]: value for name, value in report.promise.as_json().items() if name != "kept"}
    counters = {words.counter(name): value for name, value in report.counters.items()}
    figures = [(*words.figure(name), value) for name, value in report.figures.items()]
    settings = [(*words.setting(name), value) for name, value in {**report.settings, **report.machine}.items()]
    return (
        '<div class="tables">'
        + "".join(
            (
                _folded("Figures", _rows((name, words.amount(value, unit)) for name, unit, value in figures)),
                _folded("Latency, milliseconds", _latencies(report.latency_ms)),
                _folded("What was counted", _counted(counters)),
                _folded("The promise, in numbers", _counted(promise)),
                _folded("Memory of server processes", _memory(report)),
                _folded(
                    "How it was measured", _rows((name, words.amount(value, unit)) for name, unit, value in settings)
                ),
            )
        )
        + "</div>"
    )


def _memory(report: Report) -> str:
    columns = {"first_mib": ("first", "MiB"), "last_mib": ("last", "MiB"), "kib_per_hour": ("growth an hour", "KiB")}
    known = [name for name in columns if any(each[name] is not None for each in report.memory)]
    rows = [
        (f"{each['process']} ({each['pid']})", *(words.amount(each[name], columns[name][1]) for name in known))
        for each in report.memory
    ]
    return _rows(rows, ("process", *(columns[name][0] for name in known)))


def _counted(counts: Mapping[str, Any]) -> str:
    """What happened as a table, and in a line what did not."""
    zeros = words.zeros(counts)
    told = f'<p class="faint">{escape(zeros[:1].upper() + zeros[1:])}.</p>' if zeros else ""
    return _rows((name, words.number(value)) for name, value in counts.items() if value) + told


def _latencies(measured: Mapping[str, Mapping[str, Any]]) -> str:
    columns = ("", "texts", *words.PERCENTILES.values())
    return _rows(
        (
            (words.latency(name), *(words.number(values.get(key)) for key in ("count", *words.PERCENTILES)))
            for name, values in measured.items()
            if values.get("count")
        ),
        columns,
    )


def _rows(rows: Iterable[Sequence[str]], columns: Sequence[str] = ()) -> str:
    body = ""
    for name, *cells in rows:
        body += (
            f"<tr><th>{escape(name)}</th>" + "".join(f"<td{_NUMBER}>{escape(cell)}</td>" for cell in cells) + "</tr>"
        )
    if not body:
        return ""
    heads = "".join(f"<th{_NUMBER if n else ''}>{escape(name)}</th>" for n, name in enumerate(columns))
    head = f"<thead><tr>{heads}</tr></thead>" if heads else ""
    return f"<table>{head}<tbody>{body}</tbody></table>"


def _folded(title: str, inside: str, *, is_open: bool = False) -> str:
    if not inside:
        return ""
    opened = ' open=""' if is_open else ""
    return f"<details{opened}><summary>{escape(title)}</summary><div>{inside}</div></details>"
