"""The report as one HTML file: tables, and plots as SVG inside it. No script, nothing from another host.

Owns its looks, in light and in dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from load.report import Report

_WIDTH, _HEIGHT = 640, 180
_LEFT, _BOTTOM, _TOP = 64, 24, 8
_STYLE = """
:root { color-scheme: light dark; --ink: #1c1f24; --paper: #fdfdfc; --faint: #767b84; --line: #d8dbe0;
  --a: #1f6fb2; --b: #c2571a; --good: #1b7f4b; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6ea; --paper: #16181c; --faint: #9aa0aa; --line: #363a42;
  --a: #6db3f2; --b: #f0965a; --good: #5fce97; --bad: #ff8a80; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 44rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } td, th { padding: .2rem .5rem; border-bottom: 1px solid var(--line);
  text-align: left; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
.kept { color: var(--good); } .broken { color: var(--bad); font-weight: bold; }
svg { width: 100%; height: auto; } svg text { fill: var(--faint); font-size: 11px; }
.grid { stroke: var(--line); } .a { stroke: var(--a); fill: none; stroke-width: 1.5; }
.b { stroke: var(--b); fill: none; stroke-width: 1.5; } .bar { fill: var(--a); }
.ka { color: var(--a); } .kb { color: var(--b); }
"""


def page(reports: Sequence[Report]) -> str:
    """The whole file."""
    title = "Sparrow load test" if len(reports) != 1 else f"Sparrow load test: {reports[0].title}"
    body = "".join(_report(report) for report in reports)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width"/>'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )


def _report(report: Report) -> str:
    promise = report.promise.as_json()
    kept = promise.pop("kept")
    verdict = '<p class="kept">Every message was accounted for: the promise was kept.</p>'
    if not kept:
        verdict = '<p class="broken">The promise was broken.</p>'
    elif report.promise.absent:
        verdict = f'<p class="broken">Not every message can be accounted for: {escape(report.promise.text)}.</p>'
    parts = [
        f"<h2>{escape(report.server)}: {escape(report.title)}</h2><p>{escape(report.shape)}</p>",
        verdict,
        _table("Verification", promise),
        _table("Figures", report.figures),
        _table("Counters", report.counters),
    ]
    if report.errors:
        parts.append(_table("Errors", report.errors))
    measured = {
        f"{kind.replace('_', ' ')}, {name.replace('_', '.')}": value
        for kind, values in report.latency_ms.items()
        for name, value in values.items()
    }
    parts.append(_table("Latency, milliseconds", measured))
    parts += [_plots(report), _memory(report)]
    parts.append(_table("Settings", report.settings))
    parts.append(_table("Machine", report.machine))
    return "".join(parts)


def _table(title: str, values: dict[str, Any]) -> str:
    rows = "".join(
        f'<tr><th>{escape(str(name).replace("_", " "))}</th><td class="n">{escape(_text(value))}</td></tr>'
        for name, value in values.items()
    )
    return f"<h3>{escape(title)}</h3><table>{rows}</table>" if rows else ""


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _plots(report: Report) -> str:
    seconds = report.seconds
    if not seconds:
        return ""
    at = [second.at for second in seconds]
    found = [
        _lines("Texts received a second", at, [("received", [second.received for second in seconds])]),
        _lines(
            "One way, milliseconds",
            at,
            [("p50", [second.p50_ms for second in seconds]), ("p99", [second.p99_ms for second in seconds])],
        ),
    ]
    if any(second.cpu_percent is not None for second in seconds):
        found.append(_lines("Servers' CPU, percent", at, [("CPU", [second.cpu_percent for second in seconds])]))
    for name, buckets in report.histograms.items():
        found.append(_bars(f"Latency, {name.replace('_', ' ')}: how many, by milliseconds", buckets))
    return "".join(found)


def _memory(report: Report) -> str:
    found = []
    for each in report.memory:
        samples = each["samples"]
        if len(samples) > 1:
            mib = [kib / 1024 for _, kib in samples]
            title = f"Memory of {each['process']} ({each['pid']}), MiB"
            found.append(_lines(title, [at for at, _ in samples], [("resident", mib)]))
    return "".join(found)


def _lines(title: str, at: Sequence[float], curves: Sequence[tuple[str, Sequence[float | None]]]) -> str:
    """Curves over time; what is None is left out."""
    top = max((value for _, values in curves for value in values if value is not None), default=0) or 1
    begin, end = at[0], max(at[-1], at[0] + 1)
    drawn, keys = [], []
    for css, (name, values) in zip("ab", curves, strict=False):
        points = [
            f"{_x((when - begin) / (end - begin)):.1f},{_y(value / top):.1f}"
            for when, value in zip(at, values, strict=True)
            if value is not None
        ]
        drawn.append(f'<polyline class="{css}" points="{" ".join(points)}"/>')
        keys.append(f'<span class="k{css}">{escape(name)}</span>')
    below = f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{begin:.0f} s</text>'
    below += f'<text x="{_WIDTH}" y="{_HEIGHT - 6}" text-anchor="end">{end:.0f} s</text>'
    return f"<h3>{escape(title)} ({', '.join(keys)})</h3>" + _svg(title, top, "".join(drawn) + below)


def _bars(title: str, buckets: Sequence[tuple[float, int]]) -> str:
    """A histogram over a logarithmic axis, an eighth of a power of two for each bar."""
    if not buckets:
        return ""
    bars: dict[int, int] = {}
    for upper, count in buckets:
        at = math.floor(math.log2(max(upper, 1e-3)) * 8)
        bars[at] = bars.get(at, 0) + count
    first, last, top = min(bars), max(bars) + 1, max(bars.values())
    width = (_WIDTH - _LEFT) / (last - first)
    drawn = "".join(
        f'<rect class="bar" x="{_LEFT + (at - first) * width:.1f}" y="{_y(count / top):.1f}" '
        f'width="{max(0.5, width - 0.5):.1f}" height="{_y(0) - _y(count / top):.1f}"/>'
        for at, count in sorted(bars.items())
    )
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchor = "start" if not share else "end" if share == 1.0 else "middle"
        value = 2 ** ((first + share * (last - first)) / 8)
        drawn += f'<text x="{_x(share):.0f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{value:.3g}</text>'
    return f"<h3>{escape(title)}</h3>" + _svg(title, top, drawn)


def _svg(title: str, top: float, inside: str) -> str:
    grid = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{_y(share):.1f}" y2="{_y(share):.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{_y(share) + 4:.1f}" text-anchor="end">{share * top:,.4g}</text>'
        for share in (0.0, 0.5, 1.0)
    )
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><title>{escape(title)}</title>{grid}{inside}</svg>'


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)
