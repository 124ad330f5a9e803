"""How a run goes, while it runs: redrawn on a terminal, one line a second on a pipe.

Owns standard error during a run, so that standard output holds nothing but the summary.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TextIO

from load.report import Second

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 48


class Live:
    """Shows each second."""

    def __init__(self, planned_s: float, stream: TextIO | None = None) -> None:
        """`planned_s`: for how long is measured, for the progress."""
        self._stream = stream or sys.stderr
        self._planned_s = planned_s
        self._terminal = self._stream.isatty()
        self._rates: deque[int] = deque(maxlen=_WIDTH)
        self._lines = 0
        self._measured_from: float | None = None

    def show(self, second: Second) -> None:
        """The next one."""
        self._rates.append(second.received)
        if not self._terminal:
            print(_line(second), file=self._stream, flush=True)
            return
        lines = self._picture(second)
        up = f"\x1b[{self._lines}A" if self._lines else ""
        self._stream.write(up + "".join(f"\x1b[2K{line}\n" for line in lines))
        self._stream.flush()
        self._lines = len(lines)

    def _picture(self, second: Second) -> list[str]:
        progress = ""
        if second.phase == "measuring":
            self._measured_from = second.at if self._measured_from is None else self._measured_from
            done = min(1.0, (second.at - self._measured_from + 1) / max(1.0, self._planned_s))
            progress = "█" * int(done * 20) + "░" * (20 - int(done * 20)) + f" {done:4.0%}"
        most = max(self._rates) or 1
        curve = "".join(_BARS[-(-rate * 8 // most)] for rate in self._rates)
        servers = ""
        if second.cpu_percent is not None:
            servers = f"servers: {second.cpu_percent:.0f} % CPU, {second.resident_mib:,.0f} MiB"
        return [
            f"{second.phase} {progress}",
            f"  {second.received:>8,} shown/s   {curve}",
            f"  SENT {second.sent_acks:,}/s   DELIVERED {second.delivered_acks:,}/s   READ {second.read_acks:,}/s",
            f"  one way p50 {_ms(second.p50_ms)}, p99 {_ms(second.p99_ms)}   exceptions {second.exceptions:,}",
            f"  online {second.online:,}   {servers}",
        ]


def _line(second: Second) -> str:
    """All of it in this second, but the exceptions, which are since the beginning."""
    words = [
        f"{second.online:,} online",
        f"{second.sent:,} sent",
        f"{second.received:,} shown",
        f"SENT {second.sent_acks:,}",
        f"DELIVERED {second.delivered_acks:,}",
        f"READ {second.read_acks:,}",
        f"one way p50 {_ms(second.p50_ms)}, p99 {_ms(second.p99_ms)}",
        f"{second.exceptions:,} exceptions",
    ]
    if second.cpu_percent is not None:
        words.append(f"servers {second.cpu_percent:.0f} % CPU, {second.resident_mib:,.0f} MiB")
    return f"{second.at:7.1f} s  {second.phase}: {', '.join(words)}"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} ms"
