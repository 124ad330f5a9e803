"""The inbox: rows in, pages out, rows away.

Owns its statements and what a page is. How a part of a queue that is full of tombstones is read: `slices`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from protocol.ids import stamp_ms
from store.cassandra.batches import Queue, Write, batches
from store.cassandra.connecting import Connection
from store.cassandra.failures import store_error, too_much_to_read
from store.cassandra.keys import (
    FIRST,
    LAST,
    Cursor,
    Positions,
    begin_pass,
    key_of,
    parse_cursor,
    position_at,
    queue_of,
    time_us,
)
from store.cassandra.requests import Requests, Rows
from store.cassandra.slices import Found, Slices
from store.interface import COMMON, NewRow, Page, PageQuery, Removal, Row, RowKind
from store.settings import StoreSettings
from store.timeline_copies import is_copy
from store.timelines import Erasure

_INSERT = (
    "INSERT INTO inbox (user, device, position, kind, body, author, size) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "USING TIMESTAMP ? AND TTL ?"
)
_PAGE = (
    "SELECT device, position, kind, body FROM inbox "
    "WHERE user = ? AND device IN ? AND position > ? AND position < ? PER PARTITION LIMIT ?"
)
_TO_MOVE = (
    "SELECT device, position, kind, body, TTL(body), author FROM inbox "
    "WHERE user = ? AND device = ? AND position > ? AND position < ? LIMIT ?"
)
_COUNT = (
    "SELECT device, position, kind, author, size FROM inbox "
    "WHERE user = ? AND device = ? AND position > ? AND position < ? LIMIT ?"
)
_REMOVE = "DELETE FROM inbox USING TIMESTAMP ? WHERE user = ? AND device = ? AND position IN ?"
_SWEEP = "DELETE FROM inbox USING TIMESTAMP ? WHERE user = ? AND device IN ? AND position > ? AND position < ?"

_DAY_S = 86_400
_REMOVE_KEYS = 100
_AROUND_MS = 600_000
_CLOCKS_US = 300_000_000
_COPIES = 500
"""Rows that are looked through for copies of an erased message, of each queue."""
_SCAN_ROWS = 2000
"""Read at once, where all of a queue is looked through."""
_REMOVED_BYTES = 32
"""What Cassandra counts for a removed row."""


class Inbox:
    """The inbox's operations on one connection."""

    def __init__(
        self, settings: StoreSettings, connection: Connection, requests: Requests, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._requests = requests
        self._clock = clock
        self._positions = Positions(clock)
        self._slices = Slices(settings, clock)
        self._ttl_s = max(1, round(settings.inbox_ttl_days * _DAY_S))
        self._trail_us = round(settings.cassandra_trail_s * 1_000_000)
        self._replicas = connection.replicas
        self._insert = connection.prepare(_INSERT)
        self._page = connection.prepare(_PAGE)
        self._to_move = connection.prepare(_TO_MOVE)
        self._count = connection.prepare(_COUNT)
        self._remove = connection.prepare(_REMOVE)
        self._sweep = connection.prepare(_SWEEP)

    async def append(self, rows: Sequence[NewRow]) -> None:
        """Insert all rows, under positions in this order."""
        await self._write([self._row(row, self._ttl_s) for row in rows])

    def _row(self, row: NewRow, ttl_s: int) -> Write:
        position = self._positions.draw()
        # The write's timestamp is the row's own time: `keys` says why.
        user, device, size = row.user, row.device, len(row.body)
        values = (user, device, position, row.kind, row.body, row.author, size, time_us(position), ttl_s)
        return Write((user, device), size, self._insert.bind(values))

    async def _write(self, writes: Sequence[Write]) -> None:
        settings = self._settings
        await self._requests.run(
            list(batches(writes, settings.cassandra_batch_rows, settings.cassandra_batch_bytes, self._replicas))
        )

    async def remove(self, removals: Sequence[Removal]) -> None:
        """Delete exactly these rows."""
        queues: dict[Queue, list[bytes]] = {}
        for removal in removals:
            for key in removal.keys:
                if (named := queue_of(key, removal.device)) is not None:
                    queues.setdefault((removal.user, named[0]), []).append(named[1])
        await self._write(self._removing(queues))

    def _removing(self, queues: dict[Queue, list[bytes]]) -> list[Write]:
        writes = []
        for (user, device), positions in queues.items():
            for start in range(0, len(positions), _REMOVE_KEYS):
                chunk = positions[start : start + _REMOVE_KEYS]
                # Later than the inserts, so that it wins over them whenever they happen.
                after = min(max(map(time_us, chunk)) + 1, 2**63 - 1)
                remove = self._remove.bind((after, user, device, chunk))
                writes.append(Write((user, device), len(chunk) * _REMOVED_BYTES, remove))
        return writes

    # Reading.

    async def page(self, queries: Sequence[PageQuery]) -> list[Page]:
        """One page for each query."""
        now_us = int(self._clock() * 1_000_000)
        cursors = [self._cursor(query, now_us) for query in queries]
        open_ones = [at for at, cursor in enumerate(cursors) if not cursor.ended]
        statements = [self._page_statement(queries[at], cursors[at].at, LAST) for at in open_ones]
        answers: dict[int, Rows | Exception] = dict(
            zip(open_ones, await self._requests.outcomes(statements), strict=True)
        )
        pages = []
        for at, (query, cursor) in enumerate(zip(queries, cursors, strict=True)):
            if cursor.ended:
                pages.append(Page((), cursor.pack(), end=True))
                continue
            answer = answers[at]
            if not isinstance(answer, Exception):
                found = Found(answer, cursor.at, reached_end=not _full(answer, query.limit))
            elif too_much_to_read(answer):
                found = await self._page_by_slices(query, cursor.at)
            else:
                raise store_error(self._settings, answer) from answer
            pages.append(_page(query, cursor, found))
        return pages

    def _cursor(self, query: PageQuery, now_us: int) -> Cursor:
        before = parse_cursor(query.after)
        if before is not None and not query.fresh:
            return before
        return begin_pass(before, now_us, self._trail_us)

    def _page_statement(self, query: PageQuery, after: bytes, before: bytes) -> Any:
        return self._page.bind((query.user, _view(query.device), after, before, query.limit))

    async def _page_by_slices(self, query: PageQuery, after: bytes) -> Found:
        async def read(after: bytes, before: bytes) -> Rows | Exception:
            (answer,) = await self._requests.outcomes([self._page_statement(query, after, before)])
            return answer

        found = await self._slices.read(read, after, lambda rows: _full(rows, query.limit))
        await self._forget(query.user, _view(query.device), after, found)
        return found

    async def _forget(self, user: str, devices: list[str], after: bytes, found: Found) -> None:
        """One range tombstone in place of very many, where there is nothing and nothing can come any more."""
        now_us = int(self._clock() * 1_000_000)
        before = min(found.empty_to, position_at(now_us - self._trail_us))
        if before > after:
            # Only a saving: if it fails, the next reader does it.
            await self._requests.outcomes([self._sweep.bind((now_us, user, devices, after, before))])

    # A removed device.

    async def move_to_common(self, user: str, device: str, limit: int) -> bool:
        """Move up to `limit` rows, oldest first, to the common queue; says whether there may be more.

        They get new positions, so that a scan of the common queue that is under way will come to them. A crash in
        between leaves rows in both queues, which is harmless.
        """

        async def read(after: bytes, before: bytes) -> Rows | Exception:
            (answer,) = await self._requests.outcomes([self._to_move.bind((user, device, after, before, limit))])
            return answer

        answer = await read(FIRST, LAST)
        if isinstance(answer, Exception):
            if not too_much_to_read(answer):
                raise store_error(self._settings, answer) from answer
            found = await self._slices.read(read, FIRST, lambda rows: len(rows) >= limit)
            await self._forget(user, [device], FIRST, found)
        else:
            found = Found(answer, FIRST, reached_end=len(answer) < limit)
        await self._write(
            [
                self._row(NewRow(user, COMMON, kind, body, author or ""), ttl or self._ttl_s)
                for _, _, kind, body, ttl, author in found.rows
            ]
        )
        positions = [position for _, position, *_ in found.rows]
        await self._write(self._removing({(user, device): positions} if positions else {}))
        return not found.reached_end

    # All that waits.

    async def scan(self, user: str, device: str) -> AsyncIterator[Rows]:
        """All rows of one queue, as device, position, kind, author and size, some at a time."""

        async def read(after: bytes, before: bytes) -> Rows | Exception:
            statement = self._count.bind((user, device, after, before, _SCAN_ROWS))
            (answer,) = await self._requests.outcomes([statement])
            return answer

        after, ended = FIRST, False
        while not ended:
            answer = await read(after, LAST)
            if isinstance(answer, Exception):
                if not too_much_to_read(answer):
                    raise store_error(self._settings, answer) from answer
                found = await self._slices.read(read, after, lambda rows: len(rows) >= _SCAN_ROWS)
            else:
                found = Found(answer, after, reached_end=len(answer) < _SCAN_ROWS)
            yield found.rows
            after, ended = (found.rows[-1][1] if found.rows else found.empty_to), found.reached_end

    async def waiting(self, user: str, devices: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Rows and bytes in these queues, by author."""
        counts: dict[str, tuple[int, int]] = {}
        for device in devices:
            async for rows in self.scan(user, device):
                for _, _, _, author, size in rows:
                    count, total = counts.get(author or "", (0, 0))
                    counts[author or ""] = (count + 1, total + (size or 0))
        return counts

    async def drop_from(self, user: str, devices: Sequence[str], author: str) -> int:
        """Delete the messages from `author`, exactly; returns how many."""
        total = 0
        for device in devices:
            async for rows in self.scan(user, device):
                theirs = [row[1] for row in rows if row[3] == author and row[2] == RowKind.MESSAGE]
                total += len(theirs)
                await self._write(self._removing({(user, device): theirs} if theirs else {}))
        return total

    async def drop_copies(self, user: str, devices: Sequence[str], erasure: Erasure, stamps: Sequence[int]) -> None:
        """Delete copies of an erased message, and of its edits, as far as they stand around these stamps: what is
        found elsewhere goes when its device fetches it, or expires."""
        ranges = {stamp_ms(stamp) // _AROUND_MS for stamp in stamps}
        for device in devices:
            for start in sorted(ranges):
                after, before = [
                    position_at((start + edge) * _AROUND_MS * 1000 - slack)
                    for edge, slack in ((0, _CLOCKS_US), (1, -_CLOCKS_US))
                ]
                query = (user, [device], after, before, _COPIES)
                (answer,) = await self._requests.outcomes([self._page.bind(query)])
                # Best effort.
                if isinstance(answer, Exception):
                    continue
                gone = [row[1] for row in answer if row[2] == RowKind.MESSAGE and is_copy(row[3], erasure)]
                await self._write(self._removing({(user, device): gone} if gone else {}))


def _view(device: str) -> list[str]:
    return [COMMON] if device == COMMON else [device, COMMON]


def _full(rows: Rows, limit: int) -> bool:
    """Whether a queue's limit was reached, so that more rows of it may follow."""
    common = [row[0] for row in rows].count(COMMON)
    return common >= limit or len(rows) - common >= limit


def _page(query: PageQuery, cursor: Cursor, found: Found) -> Page:
    """The rows of both queues as one, by position.

    A queue of which more rows may follow has given `limit` of them, so the first `limit` of both are known.
    """
    merged = sorted(found.rows, key=lambda row: row[1])
    taken = merged[: query.limit]
    end = found.reached_end and len(taken) == len(merged)
    at = taken[-1][1] if taken else found.empty_to
    rows = tuple([Row(key_of(device, position), kind, body) for device, position, kind, body in taken])
    return Page(rows, cursor._replace(at=at, ended=end).pack(), end)
