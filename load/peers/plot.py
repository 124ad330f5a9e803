"""Results of several servers side by side as one HTML file: a picture for each figure. No script, no other host.

Owns its looks, in light and in dark, on a screen and on a phone. Which figures there are, `load.peers.table` says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from statistics import median

from load.peers.table import Row, rows, servers, told
from load.report import Report

_WIDTH, _NAMES, _TOLD = 540, 106, 178
"""Of a picture, of the servers' names at its left, and of the numbers at its right."""
_ROW, _AXIS = 26, 22
_STYLE = """
:root { color-scheme: light dark; --ink: #1c1f24; --paper: #fdfdfc; --faint: #767b84; --line: #d8dbe0;
  --ours: #1f6fb2; --theirs: #8a8f98; --good: #1b7f4b; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6ea; --paper: #16181c; --faint: #9aa0aa; --line: #363a42;
  --ours: #6db3f2; --theirs: #868d98; --good: #5fce97; --bad: #ff8a80; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 44rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 0; } h3 { font-size: .95rem; margin: 1rem 0 0; }
.kept { color: var(--good); } .broken { color: var(--bad); font-weight: bold; } .faint { color: var(--faint); }
svg { width: 100%; max-width: 40rem; height: auto; } svg text { fill: var(--ink); font-size: 13px; }
svg .tick { fill: var(--faint); font-size: 11px; } .grid { stroke: var(--line); }
.ours { fill: var(--ours); stroke: var(--ours); } .theirs { fill: var(--theirs); stroke: var(--theirs); }
svg line.ours, svg line.theirs { stroke-width: 3; stroke-linecap: round; opacity: .45; }
"""


def page(reports: Sequence[Report], notes: str) -> str:
    """The whole file; `notes` stands below the pictures."""
    names = servers(reports)
    title = f"Side by side: {', '.join(names)}"
    pictures = "".join(
        f"<h2>{escape(shape)}</h2>{''.join(_picture(row, names) for row in of_shape)}"
        for shape, of_shape in groupby(rows(reports), lambda row: row.shape)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width"/>'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{_verdict(reports)}"
        '<p class="faint">A dot is the median of the rounds, the line goes from the lowest to the highest. '
        "Each step of a scale is a factor, so equal distances are equal ratios.</p>"
        f'{pictures}<h2>How</h2><p class="faint">{escape(notes)}</p></body></html>\n'
    )


def _verdict(reports: Sequence[Report]) -> str:
    broken = [report for report in reports if not report.promise.kept]
    if not broken:
        return f'<p class="kept">Every message of all {len(reports)} runs was accounted for.</p>'
    which = dict.fromkeys(f"{report.server}, {report.title}" for report in broken)
    return f'<p class="broken">The promise was broken: {escape("; ".join(which))}.</p>'


def _picture(row: Row, names: Sequence[str]) -> str:
    there = [name for name in names if name in row.cells]
    known = [value for name in there for value in row.cells[name] if value > 0]
    scale = _Scale(min(known, default=1.0), max(known, default=1.0))
    height = _ROW * len(there) + _AXIS
    drawn = "".join(_grid(scale, height))
    for at, name in enumerate(there):
        drawn += _server(name, row.cells[name], scale, _ROW * at + _ROW / 2)
    title = escape(f"{row.shape}: {row.figure}")
    return (
        f"<h3>{escape(row.figure)}</h3>"
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img"><title>{title}</title>{drawn}</svg>'
    )


class _Scale:
    """A logarithmic axis, with some room at both ends."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = math.log10(low / 1.3), math.log10(high * 1.3)

    def x(self, value: float) -> float:
        """Where that is; what is not above 0 is at the left end."""
        share = (math.log10(value) - self._low) / (self._high - self._low) if value > 0 else 0.0
        return _NAMES + share * (_WIDTH - _NAMES - _TOLD)

    def ticks(self) -> Iterator[float]:
        """Round numbers on it: few enough to be read."""
        steps = (1, 2, 5) if self._high - self._low < 1.6 else (1,)
        for power in range(math.floor(self._low), math.ceil(self._high)):
            for step in steps:
                if self._low <= math.log10(step) + power <= self._high:
                    yield step * 10.0**power


def _grid(scale: _Scale, height: int) -> Iterator[str]:
    for tick in scale.ticks():
        x = scale.x(tick)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - _AXIS}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{height - 6}" text-anchor="middle">{tick:,g}</text>'


def _server(name: str, values: Sequence[float], scale: _Scale, y: float) -> str:
    kind = "ours" if name == "sparrow" else "theirs"
    first, last = scale.x(min(values)), scale.x(max(values))
    return (
        f'<text x="0" y="{y + 4:.1f}">{escape(name)}</text>'
        f'<line class="{kind}" x1="{first:.1f}" x2="{last:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<circle class="{kind}" cx="{scale.x(median(values)):.1f}" cy="{y:.1f}" r="5"/>'
        f'<text x="{_WIDTH}" y="{y + 4:.1f}" text-anchor="end">{escape(told(values))}</text>'
    )
