"""Copies what is due, until nothing is, and compares all of it.

Owns the order of the steps and the times. What is copied is read in one moment of the database, written where Cassandra
has it otherwise, read again, and due no longer only if nothing of it was changed since it was looked at. So a copy may
be stopped anywhere, and a unit that is due no longer stands in Cassandra as it stands in SQLite.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from protocol.errors import StoreError
from store.group_rules import lives_of
from store.migration import files, groups, people, talks
from store.migration.rows import Moment, Unit
from store.migration.source import COMPARING, COPYING, LISTING, READY, Due, Source
from store.migration.target import Target
from store.settings import StoreSettings

Read = Callable[..., Unit]
READERS: dict[str, Read] = {
    "user": people.user,
    "subject": people.subject,
    "list": people.listed,
    "pair": people.pair,
    "invitation": people.invitation,
    "report": people.report,
    "usage": people.usage,
    "group": groups.group,
    "file": files.file,
    "upload": files.upload,
    "piece": files.piece,
    "queue": files.queue,
    "part": talks.part,
}
"""Of each kind of unit, what Cassandra is to have of it."""
_MOST = {"part": 12, "queue": 20, "piece": 4, "group": 20}
"""Units at once, of what may be much."""
_MANY = 100
_WORKERS = 3
_BEHIND_US = 120_000_000
"""Writes are so much older than now: brokers' clocks may be a minute behind, and theirs must count."""
_PATIENCE_S = 60.0
_RETRY_S = 1.0
_WALKS = 5
_ENOUGH = 200
"""So few that are due are left to the end."""


@dataclass(slots=True)
class Progress:
    """How far it is."""

    phase: str
    units: int = 0
    """Copied or compared in this phase."""
    due: int = 0
    """Left, as far as is known."""
    rows: int = 0
    """Written in this phase."""
    mended: int = 0
    """Units that had not changed, and were otherwise in Cassandra when they were compared."""
    first_mended: str = ""


class Mover:
    """One migration. `say` is told of progress, about every ten seconds and at the end of each phase."""

    def __init__(
        self, settings: StoreSettings, source: Source, target: Target, say: Callable[[Progress], None]
    ) -> None:
        self._settings = settings
        self._source = source
        self._target = target
        self._say = say
        self._said = 0.0
        # One at a time may use the database's connection.
        self._lock = asyncio.Lock()
        self._keep_days = 0
        self._clock_us = 0
        self._after = ("", "")
        self.progress = Progress(LISTING)

    async def catch_up(self) -> None:
        """Copy all, compare all, and copy what has changed meanwhile, until little is due. Goes on where an earlier
        call was stopped. Raises `ConfigError`, `StoreError`."""
        move = await asyncio.to_thread(self._source.begin)
        self._keep_days = move.keep_days
        phase = move.phase
        if phase == LISTING:
            await self._list()
            phase = await self._enter(COPYING)
        if phase == COPYING:
            self.progress = Progress(COPYING)
            await self._walk_often()
            await self._list()
            phase = await self._enter(COMPARING)
        if phase == COMPARING:
            self.progress = Progress(COMPARING)
            await self._walk_often()
            if self.progress.mended:
                await self._list()
                raise StoreError(
                    f"{self.progress.mended} of what was copied ({self.progress.first_mended}) was found otherwise "
                    "when it was compared, and was copied again: does another program write there? Run this again: "
                    "it compares all once more"
                )
            phase = await self._enter(READY)
        self.progress = Progress(READY)
        await self._walk_often()

    async def finish(self) -> None:
        """Nobody changes anything any more; copy what is due, and all markers of what was erased once more, so that
        nothing that was copied is without. Raises as `catch_up`."""
        move = await asyncio.to_thread(self._source.begin)
        self._keep_days = move.keep_days
        await asyncio.to_thread(self._source.fence)
        await asyncio.to_thread(self._source.list_all, erased_alone=True)
        self.progress = Progress(READY)
        while await asyncio.to_thread(self._source.count):
            await self._walk()

    async def _list(self) -> None:
        await asyncio.to_thread(self._source.list_all)

    async def _enter(self, phase: str) -> str:
        await asyncio.to_thread(self._source.set_phase, phase)
        return phase

    async def _walk_often(self) -> None:
        """Until so few are left as a last stop may take."""
        for _ in range(_WALKS):
            await self._walk()
            if self.progress.due <= _ENOUGH:
                break
        self._tell(always=True)

    async def _walk(self) -> None:
        """Once over all that is due."""
        # Two walks never write under one time: what a later one writes, or removes, counts.
        self._clock_us = await asyncio.to_thread(self._source.next_clock, time.time_ns() // 1000 - _BEHIND_US)
        self.progress.due = await asyncio.to_thread(self._source.count)
        self._after = ("", "")
        await asyncio.gather(*[self._work() for _ in range(_WORKERS)])
        self.progress.due = await asyncio.to_thread(self._source.count)

    async def _work(self) -> None:
        while True:
            async with self._lock:
                some, units, at = await asyncio.to_thread(self._take)
            if not some:
                return
            mended = await self._patiently(some, units, at)
            async with self._lock:
                await asyncio.to_thread(self._source.settle, some)
            self.progress.units += len(some)
            self.progress.due = max(0, self.progress.due - len(some))
            self.progress.mended += mended if self.progress.phase == COMPARING else 0
            self._tell()

    def _take(self) -> tuple[Sequence[Due], list[Unit], Moment]:
        """Some that are due, and what is wanted of them, as it is at one moment."""
        now_ms = time.time_ns() // 1_000_000
        at = Moment(now_ms, self._keep_days, lives_of(self._keep_days, self._settings), self._settings.inbox_ttl_ms)
        with self._source.snapshot() as connection:
            some = self._source.due(self._after, _MANY)
            if not some:
                return [], [], at
            some = some[: _MOST.get(some[0].kind, _MANY)]
            self._after = (some[-1].kind, some[-1].text)
            read = READERS[some[0].kind]
            return some, [read(connection, due.key, at) for due in some], at

    async def _patiently(self, some: Sequence[Due], units: list[Unit], at: Moment) -> int:
        """Copy; how many that had not changed were otherwise. Cassandra may be away for a while."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return await self._copy(some, units, at)
            except StoreError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_RETRY_S)

    async def _copy(self, some: Sequence[Due], units: list[Unit], at: Moment) -> int:
        target = self._target
        present = await target.read(units)
        writes = target.differences(units, present, self._clock_us, at.now_ms)
        if not writes:
            target.compare(units, present, at.now_ms)
            return 0
        mended = 0
        if self.progress.phase == COMPARING:
            for due, unit in zip(some, units, strict=True):
                if due.changes == 0 and target.differences([unit], present, self._clock_us, at.now_ms):
                    mended += 1
                    self.progress.first_mended = self.progress.first_mended or f"{due.kind} {due.text}"
        await target.write(writes)
        self.progress.rows += len(writes)
        target.compare(units, await target.read(units), at.now_ms)
        return mended

    def _tell(self, *, always: bool = False) -> None:
        now = time.monotonic()
        if always or now - self._said > 10.0:
            self._said = now
            self._say(self.progress)
