"""What the processes of a cluster tell, asked on a timer, and kept for a while: one look, however many look at us.

Owns the timer and what is kept: the newest look, a few of the last minute, and fifteen minutes of figures of all
together. What is told is replaced as a whole, so that threads may read it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sparrow.ops.figures import LEVELS, RATES, TIMES, Figures, comparable, figures
from sparrow.ops.findings import Finding, Severity, findings
from sparrow.ops.seen import Seen, ask_all

KEPT_S = 900.0
"""So much of the past a page shows that was opened just now."""
WINDOW_S = 60.0
"""What shows by its pace alone is looked for over so long."""
MAX_PROCESSES = 200
SERIES = (*RATES, "errors", *(f"{name}_ms" for name in TIMES), *LEVELS, "cpu", "mib")
"""What a sample has, in this order; null: there was none of it."""
_EARLIER = 4


class Sample(NamedTuple):
    """Figures of all together at one time."""

    number: int
    unix_ms: int
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """What the newest look has found."""

    number: int
    unix_ms: int
    findings: tuple[Finding, ...]
    processes: tuple[dict[str, Any], ...]


class Watch:
    """Looks, from `run` on."""

    def __init__(
        self,
        addresses: Sequence[str],
        own: Callable[[], Seen],
        interval_s: float,
        ask: Callable[[Sequence[str]], Any] = ask_all,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`own`: what this process tells of itself. `clock`: Unix time."""
        self._addresses = tuple(addresses[:MAX_PROCESSES])
        self._left_out = len(addresses) - len(self._addresses)
        self._own = own
        self._interval_s = interval_s
        self._ask = ask
        self._clock = clock
        self._before: list[Seen] = []
        self._earlier: deque[list[Seen]] = deque(maxlen=_EARLIER)
        self.newest = Look(0, 0, (), ())
        self.samples: tuple[Sample, ...] = ()
        self._kept = max(2, round(KEPT_S / interval_s))

    async def run(self) -> None:
        """Look again and again."""
        while True:
            begun = time.monotonic()
            await self.look()
            await asyncio.sleep(max(0.1, self._interval_s - (time.monotonic() - begun)))

    async def look(self) -> None:
        """Ask all of them now."""
        now = [*(await self._ask(self._addresses)), self._own()]
        unix_s = self._clock()
        number = self.newest.number + 1
        found = [*self._of_the_settings(), *findings(now, self._a_minute_ago(now), unix_s=unix_s)]
        before = self._before if len(self._before) == len(now) else now
        pairs = {new.address: (old, new) for old, new in comparable(before, now)}
        if pairs:
            values = _values(figures(pairs.values()))
            self.samples = (*self.samples, Sample(number, round(unix_s * 1000), values))[-self._kept :]
        rows = tuple(_row(seen, pairs.get(seen.address)) for seen in now)
        self.newest = Look(number, round(unix_s * 1000), tuple(found), rows)
        self._before = now

    def _a_minute_ago(self, now: list[Seen]) -> list[Seen]:
        """The oldest of the looks that are kept, which are a part of the window apart."""
        apart_s = WINDOW_S / _EARLIER
        if not self._earlier or now[-1].at - self._earlier[-1][-1].at >= apart_s:
            oldest = self._earlier[0] if self._earlier else []
            self._earlier.append(now)
            return oldest
        return self._earlier[0]

    def _of_the_settings(self) -> list[Finding]:
        if not self._addresses:
            cure = "set monitor.listen_port for each process, and monitor.processes here"
            return [Finding(Severity.WARNING, "NobodyWatched", "", "no process is known that tells of itself", cure)]
        if self._left_out:
            text = f"{self._left_out} processes beyond the first {MAX_PROCESSES} are not asked"
            return [Finding(Severity.WARNING, "TooManyProcesses", "", text, "use Prometheus (scripts/monitoring)")]
        return []


def _values(told: Figures) -> tuple[float | None, ...]:
    by_name: dict[str, float | None] = {**told.rates, **told.levels, "cpu": told.cpu, "mib": told.mib}
    by_name |= {f"{name}_ms": told.times_ms.get(name) for name in TIMES}
    return tuple(None if (value := by_name[name]) is None else round(value, 3) for name in SERIES)


def _row(seen: Seen, pair: tuple[Seen, Seen] | None) -> dict[str, Any]:
    """What the page shows of one process."""
    row: dict[str, Any] = {"name": seen.shown, "address": seen.address, "trouble": seen.trouble}
    if seen.trouble:
        return row
    row |= {"role": seen.role, "version": seen.version, "up_s": seen.up_s, "not_ready": seen.not_ready}
    row |= {"values": dict(zip(SERIES, _values(figures([pair])), strict=True)) if pair else None}
    brokers = [up for _, up in seen.labelled("connector_broker_up")]
    row["brokers"] = [sum(map(bool, brokers)), len(brokers)] if brokers else None
    row["free_bytes"] = seen.value("store_free_bytes") if seen.has("store_free_bytes") else None
    row["online"] = seen.value("broker_online") if seen.has("broker_online") else None
    row["backup_s"] = seen.value("backup_timestamp_seconds") if seen.has("backup_timestamp_seconds") else None
    row["backup_bytes"] = seen.value("backup_bytes") if seen.has("backup_bytes") else None
    ends = seen.labelled("certificate_expiration_timestamp_seconds")
    row["certificates"] = [{"setting": labels.partition("=")[2], "end_s": end} for labels, end in ends]
    return row
