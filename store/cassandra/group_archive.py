"""What becomes of entries of groups.

Owns the answers. A name has one body (docs/design/groups.md): another one is refused, so an entry is written only after
a look at what stands there, unless this engine knows that its stream has nothing so new. Attempts of one name follow
each other here; in another engine they are at once only while brokers come and go.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from protocol.errors import StoreError
from protocol.ids import STAMP_SHIFT
from store.cassandra.archive_answers import FAILED, FULL, KEPT, NOT_ALLOWED, soundness
from store.cassandra.timeline_keys import place_of
from store.cassandra.timeline_rows import Body, TimelineRows
from store.cassandra.timeline_usage import Usage
from store.cassandra.timeline_writing import TimelineWriting
from store.timeline_rules import EDIT, ERASE, day_of, entry_is_sound
from store.timelines import R_B_MS, Archived, Entry, Name, Result

_log = logging.getLogger("sparrow.store")
KNOWN_S = 5.0
"""So long after its last entry this engine still knows a stream. Another broker may have had it since."""
_STREAMS = 200_000
_Key = tuple[str, Name]
_Part = tuple[str, str, str, int, int]
"""A partition of `bodies`."""
KeepFile = Callable[[Entry, int], Awaitable[bool]]


@dataclass(slots=True)
class _Standing:
    """What stands under a name, or will."""

    said: tuple[int, bytes, bytes] | None
    """Kind, body and about; None: nothing (yet), or it was erased."""
    attempts: list[tuple[int, int]] = field(default_factory=list)
    """Version and stamp of each."""
    body: Body | None = None
    made_by: dict[int, int] = field(default_factory=dict)
    """Of this batch: which entry makes which attempt."""

    def attempt_of(self, entry: Entry) -> int | None:
        """The attempt that stands for this one, too."""
        for number, (version, stamp) in enumerate(self.attempts):
            if version == entry.version and abs(stamp - entry.stamp) <= R_B_MS << STAMP_SHIFT:
                return number
        return None


class GroupArchive:
    """Takes entries of groups. `keep_file` keeps the file that an entry names for so many days of history."""

    def __init__(self, rows: TimelineRows, usage: Usage, writing: TimelineWriting, keep_file: KeepFile) -> None:
        self._rows = rows
        self._usage = usage
        self._writing = writing
        self._keep_file = keep_file
        self._under_way: dict[_Key, set[asyncio.Future[None]]] = {}
        # Of each part of a stream: the highest id, and when this engine last wrote there.
        self._newest: OrderedDict[_Part, tuple[int, float]] = OrderedDict()

    async def entries(self, entries: Sequence[Entry], keep_days: int, first_day: int) -> list[Archived]:
        """One answer for each, in order."""
        # The text of an EDIT stands with its target, and goes with it.
        entries = [entry._replace(body=b"") if entry.kind in (EDIT, ERASE) else entry for entry in entries]
        answers = [soundness(entry_is_sound(entry), entry.stamp, entry.name) for entry in entries]
        sound = [number for number, answer in enumerate(answers) if answer is KEPT]
        keys = {(entries[number].conversation, entries[number].name) for number in sound}
        before = {other for key in keys for other in self._under_way.get(key, ())}
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for key in keys:
            self._under_way.setdefault(key, set()).add(mine)
        try:
            if before:
                await asyncio.wait(before)
            await self._keep([(number, entries[number]) for number in sound], answers, keep_days, first_day)
        except StoreError as error:
            _log.warning("entries of groups: %s", error)
            for number in sound:
                answers[number] = FAILED
        finally:
            mine.set_result(None)
            for key in keys:
                self._under_way[key].discard(mine)
                if not self._under_way[key]:
                    del self._under_way[key]
        return answers

    async def _keep(
        self, entries: Sequence[tuple[int, Entry]], answers: list[Archived], keep_days: int, first_day: int
    ) -> None:
        await self._usage.load([entry.name.author for _, entry in entries])
        there = await self._standing([entry for _, entry in entries])
        chosen: list[tuple[int, Entry]] = []
        follows: list[tuple[int, int, int]] = []
        for number, entry in entries:
            key = entry.conversation, entry.name
            standing = there.setdefault(key, _Standing(None))
            said = entry.kind, entry.body, entry.about
            if standing.said not in (None, said):
                answers[number] = NOT_ALLOWED
                continue
            attempt = standing.attempt_of(entry)
            if attempt is not None:
                follows.append((number, standing.made_by.get(attempt, -1), standing.attempts[attempt][1]))
                continue
            if not self._take(entry, standing, first_day):
                answers[number] = FULL
                continue
            if standing.body is None:
                standing.said = said
            standing.made_by[len(standing.attempts)] = number
            standing.attempts.append((entry.version, entry.stamp))
            chosen.append((number, entry))
        bodies = {
            at: body for at, (_, entry) in enumerate(chosen) if (body := there[entry.conversation, entry.name].body)
        }
        done = await self._writing.entries([entry for _, entry in chosen], keep_days, bodies)
        for (number, _), well in zip(chosen, done, strict=True):
            answers[number] = KEPT if well else FAILED
        for number, made_by, stamp in follows:
            answer = KEPT if made_by < 0 else answers[made_by]
            answers[number] = answer._replace(stamp=stamp) if answer is KEPT else answer
        for number, entry in entries:
            if answers[number].result is Result.KEPT and entry.file and not await self._keep_file(entry, keep_days):
                answers[number] = FAILED

    def _take(self, entry: Entry, standing: _Standing, first_day: int) -> bool:
        author, day = entry.name.author, day_of(entry.stamp)
        if standing.attempts:
            return self._usage.take(author, day, 0, first_day)
        if not self._usage.is_repeat(entry.conversation, entry.name):
            if not self._usage.take(author, day, len(entry.body), first_day):
                return False
            self._usage.counted(entry.conversation, entry.name)
        return True

    async def _standing(self, entries: Sequence[Entry]) -> dict[_Key, _Standing]:
        """What stands under these names, as far as there may be anything."""
        now = time.monotonic()
        wanted: dict[str, set[Name]] = {}
        parts: dict[_Part, int] = {}
        stale: set[_Part] = set()
        for entry in entries:
            place = place_of(entry.conversation, entry.name)
            part = place.partition
            newest, at = self._newest.get(part, (-1, float("-inf")))
            if now - at > KNOWN_S:
                stale.add(part)
            if part in stale or place.id <= newest:
                wanted.setdefault(entry.conversation, set()).add(entry.name)
            parts[part] = max(parts.get(part, newest), place.id)
        found, highest = await asyncio.gather(self._rows.all_bodies(wanted), self._rows.highest(list(stale)))
        for part, number in parts.items():
            newest = self._newest.get(part, (-1, 0.0))[0]
            self._newest[part] = max(number, newest, highest.get(part, -1)), now
            self._newest.move_to_end(part)
        while len(self._newest) > _STREAMS:
            self._newest.popitem(last=False)
        return {key: _as_standing(body) for key, body in found.items() if body.stamp is not None or body.erased_by}


def _as_standing(body: Body) -> _Standing:
    said = None if body.erased_by else (body.kind, body.value.body, body.value.about)
    attempts = [(attempt.version, attempt.stamp) for attempt in body.attempts]
    return _Standing(said, attempts, body if body.stamp is not None else None)
