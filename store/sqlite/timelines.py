"""`Timelines` over one SQLite file.

Owns no thread: it works through those of `store.sqlite.engine`. What was erased leaves the database's file with its
transaction (`secure_delete`), and the write-ahead log within `SCRUB_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

from protocol.errors import StoreError
from protocol.ids import STAMP_SHIFT
from store.group_rules import lives_of
from store.ledger import Ledger, kept_erasures
from store.settings import HistorySettings, StoreSettings
from store.sqlite import group_reading, mutes, reading, writing
from store.sqlite import timeline_files as files
from store.sqlite import timeline_members as members
from store.sqlite import timeline_reading as timeline
from store.sqlite import timeline_upkeep as upkeep
from store.sqlite.search import Search
from store.sqlite.timeline_changes import archive_edits, archive_erasures, erase
from store.sqlite.timeline_writing import FAILED, archive_entries
from store.sqlite.worker import Worker
from store.timeline_rules import MAX_STAMP, marker_end, other_of
from store.timelines import (
    R_B_MS,
    Archived,
    Edit,
    Entry,
    Erasure,
    FoundPage,
    HistoryPage,
    HistoryQuery,
    HistoryTerms,
    KeptMessage,
    Listed,
    Mark,
    Name,
    Report,
    Timelines,
    is_group,
)

_log = logging.getLogger("sparrow.store")
SCRUB_S = 30.0
"""What was erased is gone from the write-ahead log so much later, unless somebody reads an old state all the time."""
_ROW_BYTES = 64
_T = TypeVar("_T")


class _RemoveFile(Protocol):
    def __call__(self, file: str) -> Awaitable[None]: ...


class SqliteTimelines(Timelines):
    """The timelines of the embedded engine. `remove_file` is the engine's own."""

    def __init__(
        self,
        settings: StoreSettings,
        history: HistorySettings,
        writer: Worker,
        reader: Worker,
        now_ms: Callable[[], int],
        remove_file: _RemoveFile,
        owner: bool,
    ) -> None:
        self._settings = settings
        self._history = history
        self._ledger = Ledger(history.ledger)
        self._writer = writer
        self._reader = reader
        self._now_ms = now_ms
        self._remove_file = remove_file
        self._search = Search(settings, history, writer, reader, owner)
        self._scrubbing: asyncio.Task[None] | None = None
        self._looked_to = 0
        """Unix time in ms: what is over of conversations before has been dropped."""

    async def start(self) -> None:
        """When the threads run."""
        await self._search.start()

    async def stop(self) -> None:
        """Before the threads end."""
        await self._search.stop()
        if self._scrubbing is not None:
            self._scrubbing.cancel()
            await asyncio.gather(self._scrubbing, return_exceptions=True)

    async def terms(self) -> HistoryTerms:
        return await self._reader.call(upkeep.terms)

    async def set_keep_days(self, days: int, since_ms: int) -> HistoryTerms:
        lives = lives_of(days, self._settings)
        work = partial(upkeep.set_keep_days, days=days, since_ms=since_ms, now_ms=self._now_ms(), lives=lives)
        return await self._writer.call(work)

    async def archive(self, batch: Sequence[Entry | Edit | Erasure]) -> Sequence[Archived]:
        if not batch:
            return []
        size = sum([0 if isinstance(one, Erasure) else len(one.body) for one in batch])
        work = partial(_archive, batch=batch, limits=self._history, settings=self._settings)
        answers, ended = await self._writer.call(work, len(batch), size)
        await self._ledger.add(kept_erasures(batch, answers))
        if any(isinstance(one, Erasure) for one in batch):
            self._scrub_soon()
        await self._remove_files(ended)
        return answers

    async def _remove_files(self, ended: Collection[str]) -> None:
        # They are over already: what fails here, the next purge does.
        with contextlib.suppress(StoreError):
            for file in ended:
                await self._remove_file(file)

    async def page(self, query: HistoryQuery) -> HistoryPage:
        engine = group_reading if is_group(query.conversation) else timeline
        work = self._shown(partial(engine.page, query=query, edit_hours=self._history.edit_hours), query.conversation)
        return await self._reader.call(work, rows=query.limit)

    async def message(self, conversation: str, name: Name, reader: str) -> KeptMessage | None:
        engine = group_reading if is_group(conversation) else timeline
        work = partial(
            engine.message,
            conversation=conversation,
            name=name,
            reader=reader,
            edit_hours=self._history.edit_hours,
        )
        return await self._reader.call(self._shown(work, conversation))

    async def search(
        self, user: str, text: str, conversation: str = "", before: bytes = b"", limit: int = 50
    ) -> FoundPage:
        now_ms = self._now_ms()
        floor = await self._reader.call(partial(upkeep.floor, now_ms=now_ms))
        ttl_ms = self._settings.inbox_ttl_ms
        group_floor = await self._reader.call(partial(upkeep.group_floor, now_ms=now_ms, inbox_ttl_ms=ttl_ms))
        return await self._search.find(user, text, conversation, before, limit, (floor, group_floor))

    async def rebuild_search(self) -> None:
        await self._search.rebuild()

    async def conversations(self, user: str, after: str, limit: int, hidden: bool = False) -> Sequence[Listed]:
        # No user's id comes behind a group's.
        found: list[Listed] = []
        for engine, sort in ((timeline, ""), (group_reading, "~")):
            if len(found) < limit and (engine is group_reading or not is_group(after)):
                work = partial(
                    engine.conversations,
                    user=user,
                    after=after if is_group(after) or engine is timeline else "",
                    limit=limit - len(found),
                    hidden=hidden,
                    edit_hours=self._history.edit_hours,
                )
                found += await self._reader.call(self._shown(work, sort), rows=limit)
        return found

    async def listed(self, user: str, conversation: str) -> Listed | None:
        if is_group(conversation):
            of_group = partial(group_reading.listed, user=user, group=conversation, edit_hours=self._history.edit_hours)
            return await self._reader.call(self._shown(of_group, conversation))
        other = other_of(conversation, user)
        if other is None:
            return None
        work = partial(timeline.listed, user=user, other=other, edit_hours=self._history.edit_hours)
        return await self._reader.call(self._shown(work))

    async def hide(self, user: str, conversation: str, stamp: int) -> None:
        other = other_of(conversation, user)
        if is_group(conversation):
            await self._writer.call(partial(members.hide_group, user=user, group=conversation, stamp=stamp))
        elif other is not None:
            await self._writer.call(partial(members.hide, user=user, other=other, stamp=stamp))

    async def unread(self, user: str, conversations: Collection[str]) -> Mapping[str, int]:
        answer = dict.fromkeys(conversations, 0)
        wanted = [(one, other) for one in conversations if (other := other_of(one, user)) is not None]
        if wanted:
            work = self._shown(partial(timeline.unread, user=user, wanted=wanted))
            answer |= await self._reader.call(work, rows=len(wanted))
        groups = [one for one in conversations if is_group(one)]
        if groups:
            work = self._shown(partial(group_reading.unread, user=user, groups=groups), groups[0])
            answer |= await self._reader.call(work, rows=len(groups))
        return answer

    async def raise_marks(self, marks: Sequence[Mark]) -> Sequence[bool]:
        if not marks:
            return []
        # Most do not rise: that needs no commit.
        if not any(await self._reader.call(partial(members.would_rise, marks=marks), rows=len(marks))):
            return [False] * len(marks)
        return await self._writer.call(partial(members.raise_marks, marks=marks), rows=len(marks))

    async def mute(self, user: str, other: str, until_ms: int, most: int) -> bool:
        work = partial(mutes.mute, user=user, other=other, until_ms=until_ms, most=most, now_ms=self._now_ms())
        return await self._writer.call(work)

    async def mutes(self, user: str) -> Mapping[str, int]:
        return await self._reader.call(partial(mutes.of, user=user, now_ms=self._now_ms()))

    async def report(self, report: Report) -> None:
        await self._writer.call(partial(members.report, new=report))

    async def reports(self, after: str, limit: int) -> Sequence[Report]:
        return await self._reader.call(partial(members.reports, after=after, limit=limit))

    async def drop_report(self, report: str) -> None:
        await self._writer.call(partial(members.drop_report, report=report))

    async def may_read_file(self, file: str, user: str) -> bool:
        return await self._reader.call(self._shown(partial(self._may_read, file=file, user=user)))

    def _may_read(self, connection: sqlite3.Connection, file: str, user: str, floor: int) -> bool:
        if upkeep.keeps(connection) and files.may_read(connection, file, user, floor):
            return True
        group_floor = upkeep.group_floor(connection, self._now_ms(), self._settings.inbox_ttl_ms)
        return any(
            group_reading.may_see(connection, group, user, position, group_floor)
            for group, position in files.in_groups(connection, file)
        )

    async def forget_author(self, user: str, keep_words: bool) -> None:
        if not keep_words:
            await self._erase_words(user)
        await self._writer.call(partial(members.forget, user=user))
        await self._writer.call(partial(mutes.forget, user=user))
        self._scrub_soon()

    async def _erase_words(self, user: str) -> None:
        limit = self._settings.chunk_rows
        stamp = min(self._now_ms() << STAMP_SHIFT, MAX_STAMP)
        after = (0, 0)
        while words := await self._reader.call(partial(upkeep.words, user=user, after=after, limit=limit), rows=limit):
            await self._ledger.add([Erasure(conversation, name, stamp, user) for _, conversation, name in words])
            ended = dict.fromkeys([place for place, _, _ in words], (user, marker_end(stamp)))
            await self._remove_files(await self._writer.call(partial(erase, ended=ended), rows=len(words)))
            after = words[-1][0]
        while await self._writer.call(partial(upkeep.drop_edits_of, user=user, limit=limit), rows=limit):
            pass
        for other in await self._reader.call(partial(members.others_of, user=user)):
            waiting = await self._reader.call(partial(reading.positions_from, user=other, author=user))
            for start in range(0, len(waiting), limit):
                some = waiting[start : start + limit]
                await self._writer.call(partial(writing.drop, user=other, positions=some), rows=len(some))

    async def purge(self) -> int:
        total = 0
        limit = self._settings.chunk_rows
        now = self._now_ms()
        floor = await self._reader.call(self._shown(_floor))
        lowest = await self._reader.call(self._shown(_floor, "~"))
        total += await self._purge_conversations(floor, lowest)
        work = partial(upkeep.purge, now_ms=now, floor=floor, lowest=lowest, limit=limit)
        while gone := await self._writer.call(work, rows=limit):
            total += gone
        if total:
            self._scrub_soon()
        return total

    async def _purge_conversations(self, floor: int, lowest: int) -> int:
        """Where groups live longer, conversations' messages are looked for among theirs, since the last purge."""
        limit = self._settings.chunk_rows
        total = 0
        after: tuple[int, int] | None = (max(lowest, self._looked_to - 2 * R_B_MS << STAMP_SHIFT), -1)
        while floor > lowest and after is not None:
            look = partial(upkeep.find_over, after=after, lowest=floor, limit=limit)
            positions, after = await self._reader.call(look, rows=limit)
            if positions:
                total += await self._writer.call(partial(upkeep.drop_over, positions=positions), rows=limit)
        self._looked_to = floor >> STAMP_SHIFT
        return total

    def _shown(self, work: Callable[..., _T], conversation: str = "") -> Callable[[sqlite3.Connection], _T]:
        """`work`, with the lowest stamp that is shown of such a conversation as its `floor`."""
        now_ms = self._now_ms()
        if is_group(conversation):
            ttl_ms = self._settings.inbox_ttl_ms
            return lambda connection: work(connection, floor=upkeep.group_floor(connection, now_ms, ttl_ms))
        return lambda connection: work(connection, floor=upkeep.floor(connection, now_ms))

    # The write-ahead log.

    def _scrub_soon(self) -> None:
        if self._scrubbing is None or self._scrubbing.done():
            self._scrubbing = asyncio.create_task(self._scrub_until_done())

    async def _scrub_until_done(self) -> None:
        while True:
            await asyncio.sleep(SCRUB_S)
            try:
                if await asyncio.to_thread(scrub, self._settings.path):
                    return
            except sqlite3.Error as error:
                _log.warning("emptying the write-ahead log of %s: %s", self._settings.path, error)


def _floor(connection: sqlite3.Connection, floor: int) -> int:
    return floor


def scrub(path: str) -> bool:
    """Copy the write-ahead log into the database and cut it off; False while somebody reads an old state."""
    with contextlib.closing(sqlite3.connect(path, timeout=1.0, isolation_level=None)) as connection:
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def _archive(
    connection: sqlite3.Connection,
    batch: Sequence[Entry | Edit | Erasure],
    limits: HistorySettings,
    settings: StoreSettings,
) -> tuple[list[Archived], list[str]]:
    """One answer for each, and files that are over. What cannot be written fails alone."""
    connection.execute("SAVEPOINT archive")
    try:
        answers, ended = _archive_all(connection, batch, limits, settings)
    except Exception as error:
        # Busy, full, broken: these are not of one entry.
        if isinstance(error, sqlite3.OperationalError) or not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO archive")
        connection.execute("RELEASE archive")
        if len(batch) == 1:
            _log.warning("a message cannot be kept: %s", type(error).__name__)
            return [FAILED], []
        half = len(batch) // 2
        first, ended = _archive(connection, batch[:half], limits, settings)
        second, more = _archive(connection, batch[half:], limits, settings)
        return first + second, ended + more
    connection.execute("RELEASE archive")
    return answers, ended


def _archive_all(
    connection: sqlite3.Connection,
    batch: Sequence[Entry | Edit | Erasure],
    limits: HistorySettings,
    settings: StoreSettings,
) -> tuple[list[Archived], list[str]]:
    answers = [FAILED] * len(batch)
    ended: list[str] = []
    entries = [(number, one) for number, one in enumerate(batch) if isinstance(one, Entry)]
    if entries:
        lives = lives_of(upkeep.terms(connection).keep_days, settings)
        _fill(answers, entries, archive_entries(connection, [one for _, one in entries], limits, lives))
    if len(entries) == len(batch):
        return answers, ended
    edits = [(number, one) for number, one in enumerate(batch) if isinstance(one, Edit)]
    if edits:
        _fill(answers, edits, archive_edits(connection, [one for _, one in edits], limits))
    erasures = [(number, one) for number, one in enumerate(batch) if isinstance(one, Erasure)]
    if erasures:
        erased = archive_erasures(connection, [one for _, one in erasures], limits)
        _fill(answers, erasures, erased.answers)
        ended = erased.files
    return answers, ended


def _fill(answers: list[Archived], numbered: Sequence[tuple[int, object]], found: Sequence[Archived]) -> None:
    for (number, _), answer in zip(numbered, found, strict=True):
        answers[number] = answer
