"""Search in the node: the index of words follows the timelines in batches, and answers who asks.

Owns when it follows. The process that owns the database keeps the index; others ask it. What the index names is read
from the timelines as the reader sees it, and looked at again: it shows nothing that pages hide.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import struct
from collections.abc import Sequence
from functools import partial
from typing import Any

from protocol.errors import MisuseError, SearchNotOfferedError, StoreError
from store.settings import HistorySettings, StoreSettings
from store.sqlite import group_reading
from store.sqlite import search_index as index
from store.sqlite import timeline_reading as timeline
from store.sqlite.search_index import Indexed, conversation_word, member_of
from store.sqlite.timeline_streams import BOTH_VIEW, NO_VIEW, conversation_id, view_of
from store.sqlite.timeline_upkeep import terms
from store.sqlite.worker import Worker
from store.timeline_rules import TEXT
from store.timelines import MAX_PAGE, Found, FoundPage, is_group, members_of
from store.words import MAX_WORDS, has_phrase, words

_log = logging.getLogger("sparrow.store")
FOLLOW_S = 1.0
"""The index is behind by so long, and by what a batch takes."""
BATCH = 1000
MERGE_S = 30.0
"""Words that went leave the index's file so long after, and what merging takes."""
_POSITION = struct.Struct(">cQ")
_LETTER = b"w"
_LAST = 2**63 - 1
Floors = tuple[int, int]


class Search:
    """The index of one database. `owner`: this process keeps it."""

    def __init__(
        self, settings: StoreSettings, history: HistorySettings, writer: Worker, reader: Worker, owner: bool
    ) -> None:
        self._settings = settings
        self._offered = history.search
        self._edit_hours = history.edit_hours
        self._store_writer = writer
        self._store_reader = reader
        self._owner = owner
        self._index = Worker(
            "store-search",
            settings,
            partial(index.open_index, settings.path, settings.busy_timeout_s),
            lambda connection: connection.execute("BEGIN"),
        )
        self._following: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._merge_at: float | None = None

    async def start(self) -> None:
        """Begin to follow, where this process keeps the index; without search, it goes."""
        if self._owner and not self._offered:
            index.drop_index(self._settings.path)
        if self._owner:
            self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Before the store's threads end."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
        await self._index.stop()

    async def _opened(self) -> Worker:
        if self._starting is None:
            self._starting = asyncio.create_task(self._index.start())
        try:
            # Whoever gives up waiting leaves a thread that is to be ended.
            await asyncio.shield(self._starting)
        except StoreError:
            self._starting = None
            raise
        return self._index

    # Following.

    async def _follow(self) -> None:
        while True:
            try:
                busy = await self.step()
            except (StoreError, sqlite3.Error) as error:
                _log.warning("the search index of %s does not follow: %s", self._settings.path, error)
                busy = False
                await asyncio.sleep(10 * FOLLOW_S)
            if not busy:
                await asyncio.sleep(FOLLOW_S)

    async def step(self) -> bool:
        """Index what is new and what has changed, a batch of each; whether there may be more."""
        if not self._offered:
            return await self._store_writer.call(partial(_forget_changed, limit=BATCH), rows=BATCH) == BATCH
        worker = await self._opened()
        last = await worker.call(index.last)
        work = partial(_unindexed, last=last, limit=BATCH, edit_hours=self._edit_hours)
        rows, changed, up_to = await self._store_reader.call(work, rows=BATCH)
        if rows or changed or up_to != last:
            await worker.call(
                partial(index.write, rows=rows, again=changed, up_to=up_to), rows=len(rows) + len(changed)
            )
        if changed:
            await self._store_writer.call(partial(_forget, positions=changed), rows=len(changed))
            self._merge_at = self._merge_at or asyncio.get_running_loop().time() + MERGE_S
        await self._merge(worker)
        return len(rows) >= BATCH or len(changed) >= BATCH

    async def _merge(self, worker: Worker) -> None:
        if self._merge_at is None or asyncio.get_running_loop().time() < self._merge_at:
            return
        if await worker.call(index.merge_some) or not await asyncio.to_thread(index.scrub, self._settings.path):
            return
        self._merge_at = None

    async def rebuild(self) -> None:
        """Begin the index anew; whoever keeps it goes on from there."""
        if not self._offered:
            raise SearchNotOfferedError("history.search is off")
        await (await self._opened()).call(index.clear)

    # Asking.

    async def find(
        self, user: str, text: str, conversation: str, before: bytes, limit: int, floors: Floors
    ) -> FoundPage:
        """See `Timelines.search`. `floors`: the lowest stamps that are shown of conversations, and of groups."""
        if not self._offered:
            raise SearchNotOfferedError("search is switched off here")
        phrase = words(text)[:MAX_WORDS]
        if not phrase:
            raise MisuseError("there is no word in it: name one, or a few that follow one another")
        start = _start(before)
        if conversation:
            number = await self._store_reader.call(partial(conversation_id, conversation=conversation))
            if number is None or not (is_group(conversation) or user in members_of(conversation)):
                return FoundPage((), b"")
            who = [conversation_word(number)]
        else:
            # Who is in a group changes, so it stands in the index for itself.
            groups = await self._store_reader.call(partial(group_reading.numbers_of, user=user))
            who = [member_of(user), *map(conversation_word, groups)]
        worker = await self._opened()
        asked = min(max(limit, 1), MAX_PAGE)
        positions = await worker.call(
            partial(index.find, phrase=phrase, who=who, before=start, limit=MAX_PAGE), rows=MAX_PAGE
        )
        return await self._store_reader.call(
            partial(
                _page, user=user, phrase=phrase, positions=positions, limit=asked, floors=floors, hours=self._edit_hours
            ),
            rows=asked,
        )


def _start(before: bytes) -> int:
    if not before:
        return _LAST
    try:
        letter, position = _POSITION.unpack(before)
    except struct.error:
        letter, position = b"", 0
    if letter != _LETTER:
        raise MisuseError("this is no position in a search: begin again, without one")
    return int(min(position, _LAST))


_ROW = (
    "json_array(m.position, m.stamp, m.stream, m.id, m.kind, m.erased_by, length(m.body), "
    "hex(coalesce(m.about, x'')), m.view, m.conversation, c.name)"
)
_JOINED = "CROSS JOIN conversations AS c ON c.id = m.conversation"
_AT = (
    f"SELECT json_group_array({_ROW}) FROM json_each(?) AS w CROSS JOIN messages AS m ON m.position = w.value {_JOINED}"
)


def _unindexed(
    connection: sqlite3.Connection, last: int, limit: int, edit_hours: float
) -> tuple[list[Indexed], list[int], int]:
    """What is to stand in the index: rows; positions of which what stands there goes; and up to where this looks."""
    (newest,) = connection.execute("SELECT coalesce(max(position), 0) FROM messages").fetchone()
    last = min(last, newest)
    # Where conversations are not kept nobody may ask: what groups have there waits until they are.
    wanted = limit if terms(connection).keep_days else 0
    (found,) = connection.execute(
        f"SELECT json_group_array({_ROW}) FROM (SELECT * FROM messages WHERE position > ? ORDER BY position LIMIT ?) "
        f"AS m {_JOINED}",
        (last, wanted),
    ).fetchone()
    rows = json.loads(found)
    up_to = max([last, *(row[0] for row in rows)])
    (found,) = connection.execute(
        "SELECT json_group_array(position) FROM (SELECT position FROM unindexed ORDER BY position LIMIT ?)", (limit,)
    ).fetchone()
    changed = json.loads(found)
    new = {row[0] for row in rows}
    (found,) = connection.execute(
        _AT,
        (json.dumps([position for position in changed if position <= up_to and position not in new]),),
    ).fetchone()
    return _indexed(connection, rows + json.loads(found), edit_hours), changed, up_to


def _indexed(connection: sqlite3.Connection, rows: Sequence[Sequence[Any]], edit_hours: float) -> list[Indexed]:
    texts = [row for row in rows if row[4] == TEXT and row[5] is None and row[8] != NO_VIEW]
    names = timeline.names_of(connection, {row[2] for row in texts})
    messages = timeline.messages_of(connection, [row[:8] for row in texts], names, None, edit_hours)
    found = []
    for row, message in zip(texts, messages, strict=True):
        members = () if is_group(row[10]) else members_of(row[10])
        readers = members if row[8] == BOTH_VIEW else (members[row[8] - 1],)
        who = " ".join([conversation_word(row[9]), *dict.fromkeys(map(member_of, readers))])
        found.append(Indexed(row[0], " ".join(words(message.body.decode(errors="replace"))), who))
    return sorted(found)


def _forget(connection: sqlite3.Connection, positions: Sequence[int]) -> None:
    connection.execute(
        "DELETE FROM unindexed WHERE position IN (SELECT value FROM json_each(?))", (json.dumps(list(positions)),)
    )


def _forget_changed(connection: sqlite3.Connection, limit: int) -> int:
    """Without an index nobody asks what has changed."""
    return connection.execute(
        "DELETE FROM unindexed WHERE position IN (SELECT position FROM unindexed LIMIT ?)", (limit,)
    ).rowcount


def _page(
    connection: sqlite3.Connection,
    user: str,
    phrase: list[str],
    positions: Sequence[int],
    limit: int,
    floors: Floors,
    hours: float,
) -> FoundPage:
    """Those that the user may see, and that say it as the user reads them."""
    (found,) = connection.execute(
        _AT,
        (json.dumps(list(positions)),),
    ).fetchone()
    rows = {row[0]: row for row in json.loads(found)}
    visible = [
        rows[position]
        for position in positions
        if position in rows and rows[position][5] is None and _may_see(connection, rows[position], user, floors)
    ]
    names = timeline.names_of(connection, {row[2] for row in visible})
    messages = timeline.messages_of(connection, [row[:8] for row in visible], names, user, hours)
    chosen: list[Found] = []
    last = 0
    end = b"" if len(positions) < MAX_PAGE else _POSITION.pack(_LETTER, positions[-1])
    for row, message in zip(visible, messages, strict=True):
        if len(chosen) == limit:
            end = _POSITION.pack(_LETTER, last)
            break
        last = row[0]
        if has_phrase(message.body.decode(errors="replace"), phrase):
            chosen.append(Found(row[10], message))
    return FoundPage(tuple(sorted(chosen, key=lambda each: each.message.stamp, reverse=True)), end)


def _may_see(connection: sqlite3.Connection, row: Sequence[Any], user: str, floors: Floors) -> bool:
    view, conversation = row[8], row[10]
    floor, group_floor = floors
    if is_group(conversation):
        return group_reading.may_see(connection, conversation, user, row[0], group_floor)
    return user in members_of(conversation) and view in (BOTH_VIEW, view_of(conversation, user)) and row[1] >= floor
