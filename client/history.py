"""The lines of all conversations, in the state file, in the same transactions as everything else: one set of what came
as messages and what was paged.

Owns the tables `history`, `marks` and `pages`. Which change of a message counts is `client.changes`' business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from client import lines
from client.changes import Change, Changes, Target
from client.lines import Do, HistoryEntry, Query
from client.messages import GIVEN_UP, State
from client.pages import Pages
from client.schema import signed, unsigned
from client.state import Delivered, Event, MessageName, Refused, Settled, Skipped, peer_of
from client.streams import split_device
from protocol.ids import is_group_id, stamp_ms
from protocol.inbound import Shown
from protocol.outbound import Outgoing
from protocol.sparrow_pb2 import EDIT, ERASE, READ, TEXT, Hint, Message

__all__ = ["History", "HistoryEntry"]

NO_LINES = frozenset({int(READ), int(EDIT), int(ERASE)})
"""Kinds that are no lines of their own."""


class History:
    """Written through the journal's next commit; `limit` lines are kept, and those that are unread or unsettled.

    What is too much goes from the longest conversation first, so who writes much erases nobody else's. Of unread lines,
    too, there are no more than `UNREAD_PER_LINE` times as many; only messages that are not safe yet have no bound here.
    """

    MARKS_PER_LINE = 4
    UNREAD_PER_LINE = 10
    MOST_UNREAD = 10_000
    """But no more than so many, or as many as lines: strangers cause them."""
    SPARE = 20
    """This part of the limit more is kept before it is looked which are too many."""

    def __init__(
        self,
        do: Do,
        query: Query,
        changes: Changes,
        limit: int,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self._do = do
        self._query = query
        self._changes = changes
        self.pages = Pages(self, do, query, changes)
        """Which stretches of a conversation are here as a whole."""
        self._any_paged = bool(query("SELECT 1 FROM history WHERE paged LIMIT 1"))
        self._limit = limit
        self._now_ms = now_ms
        self._new = limit  # what an earlier client has left may be too much
        self._new_marks = limit
        self.user = ""
        """Whose history it is."""
        self.device = ""
        """Which device of theirs this is; empty: not known yet."""

    # What happens.

    def outgoing(self, outgoing: Outgoing) -> None:
        """A message of ours is kept: as a draft, or numbered."""
        if outgoing.kind in NO_LINES:
            if outgoing.kind == READ and outgoing.about is not None:
                self._read_by_me(outgoing.dest, outgoing.about.stream, outgoing.about.ids)
            return
        row = (outgoing.dest, outgoing.kind, outgoing.body, self._now_ms())
        if outgoing.stream is None:
            self._do(lines.INSERT_OWN, *row[:1], 0, 0, outgoing.draft, *row[1:])
        else:
            name = (signed(outgoing.stream.number), outgoing.id)
            if outgoing.draft:
                sql = "UPDATE history SET stream = ?, id = ?, draft = 0 WHERE draft = ? AND mine"
                self._do(sql, *name, outgoing.draft)
            self._do(lines.INSERT_OWN + lines.UNLESS_THERE, *row[:1], *name, 0, *row[1:], *name)
        self._trim()

    def given_up(self, outgoing: Outgoing) -> None:
        """A draft of ours is not sent after all."""
        values = (int(State.FAILED), GIVEN_UP, outgoing.draft)
        self._do("UPDATE history SET state = ?, note = ?, draft = 0 WHERE draft = ? AND mine", *values)

    def note(self, events: Iterable[Event]) -> bool:
        """What the core is about to tell; whether that changed something here."""
        noted = [self._note(event) for event in events]
        return any(noted)

    def _note(self, event: Event) -> bool:
        if isinstance(event, Settled):
            self._settled(event)
        elif isinstance(event, Delivered) and not event.early:
            self._mark("", event.stream, event.ids, State.DELIVERED)
        elif isinstance(event, Refused) and event.final:
            self._failed(event)
        elif isinstance(event, Shown):
            self._shown(event.item, event.late)
        elif isinstance(event, Hint) and event.kind == Hint.MARK_RAISED:
            self.read_up_to(event.group or event.user_id, event.stamp)
        else:
            return False
        return True

    def _settled(self, event: Settled) -> None:
        stream = event.outgoing.stream
        if stream is not None:
            state = State.DELIVERED if event.delivered else State.SENT
            self._do(
                "UPDATE history SET state = max(state, ?), stamp = ?, at_ms = ? WHERE stream = ? AND id = ? AND mine",
                *(int(state), signed(event.stamp), stamp_ms(event.stamp), signed(stream.number), event.outgoing.id),
            )

    def _failed(self, event: Refused) -> None:
        stream = event.outgoing.stream
        if stream is not None:
            self._do(
                "UPDATE history SET state = ?, note = ? WHERE stream = ? AND id = ? AND mine AND state = ?",
                *(int(State.FAILED), event.text, signed(stream.number), event.outgoing.id, int(State.QUEUED)),
            )

    def _shown(self, message: Message, late: bool) -> None:
        mine = message.from_id == self.user
        peer = peer_of(message, self.user)
        stream, message_id = signed(message.stream), signed(message.id)
        if message.kind == READ and is_group_id(peer):
            return  # nobody may send one
        if message.kind == READ and mine:
            self._read_by_me(peer, message.about.stream, message.about.ids)
        elif message.kind == READ:
            self._mark(peer, message.about.stream, message.about.ids, State.READ)
        elif message.kind not in NO_LINES:
            name = (mine, peer, self._author(peer, message.from_id), message.from_device, stream, message_id)
            change = self._changes.get(Target(peer, message.from_id, message.from_device, message.stream, message.id))
            if change is not None and not change.applies_to(message.kind):
                change = None
            self._do(
                lines.INSERT_SHOWN + lines.UNLESS_NAMED,
                *(*name, int(message.kind), message.body if change is None else change.body),
                *(signed(message.stamp), stamp_ms(message.stamp), late),
                *(stream, message_id, peer, mine),
                *lines.changed_columns(change),
                *name,
            )
            self._trim()

    def changed(self, change: Change) -> None:
        """A message was edited or erased; nothing happens to one that is not here, or that a higher change has."""
        target, columns = change.target, lines.changed_columns(change)
        self._do(
            lines.CHANGE,
            *(change.body, *columns, *self.line_name(target.peer, target.name)),
            *(bool(change.erased_by), int(TEXT), *columns[:4]),
        )

    def line_name(self, peer: str, name: MessageName) -> tuple[object, ...]:
        """What names a line: mine, peer, author, device, stream and id."""
        author, device, stream, message_id = name
        mine = author == self.user
        device = "" if mine and device == self.device else device
        return mine, peer, self._author(peer, author), device, signed(stream), signed(message_id)

    def _author(self, peer: str, author: str) -> str:
        """As it stands in a line: where it says nothing new, nothing."""
        return author if author != self.user and is_group_id(peer) else ""

    def read_up_to(self, peer: str, stamp: int) -> None:
        """All that they wrote up to this stamp is read."""
        which = (int(State.READ), peer, signed(stamp), int(State.READ))
        self._do("UPDATE history SET state = ? WHERE peer = ? AND NOT mine AND stamp <= ? AND state != ?", *which)

    def paged(self, name: MessageName) -> bool:
        """Whether this message is a line that was paged, as committed."""
        if not self._any_paged:
            return False
        author, keyed, stream, message_id = name
        device, group = split_device(keyed)
        found = self._query(
            "SELECT 1 FROM history WHERE stream = ? AND id = ? AND paged AND mine = ? AND device = ? AND author = ? "
            "AND (mine AND ? = '' OR peer = ?)",
            *(signed(stream), signed(message_id), author == self.user, device, self._author(group, author)),
            *(group, group or author),
        )
        return bool(found)

    def again(self, message: Message) -> None:
        """A paged one has come as a message: the lower stamp counts, and the page's body."""
        peer = peer_of(message, self.user)
        name = (message.from_id, message.from_device, message.stream, message.id)
        which = self.line_name(peer, name)
        self._do(f"UPDATE history SET stamp = min(stamp, ?) WHERE {lines.NAMED}", signed(message.stamp), *which)

    def _read_by_me(self, peer: str, stream: int, ids: Iterable[int]) -> None:
        self._do(
            "UPDATE history SET state = ? WHERE stream = ? AND id IN (SELECT value FROM json_each(?)) "
            "AND peer = ? AND NOT mine",
            *(int(State.READ), signed(stream), lines.id_list(ids), peer),
        )

    def _mark(self, peer: str, stream: int, ids: Iterable[int], state: State) -> None:
        """Messages of ours have come so far. They may not be here yet: another device's may still be parked."""
        ids = list(ids)
        which = (signed(stream), lines.id_list(ids))
        self._do(
            "UPDATE history SET state = max(state, ?) WHERE stream = ? AND id IN (SELECT value FROM json_each(?)) "
            "AND mine AND ? IN ('', peer)",
            *(int(state), *which, peer),
        )
        self._do(lines.INSERT_MARKS, peer, int(state), *which)
        self._new_marks += len(ids)
        if self._new_marks >= self._limit:
            self._new_marks = 0
            self._do(lines.TRIM_MARKS, self._limit * self.MARKS_PER_LINE)

    def grown(self, by: int) -> None:
        """So many lines were paged."""
        self._any_paged = self._any_paged or by > 0
        self._trim(by)

    def _trim(self, by: int = 1) -> None:
        self._new += by
        if self._new > self._limit // self.SPARE:
            self._new = 0
            unread = min(self._limit * self.UNREAD_PER_LINE, max(self._limit, self.MOST_UNREAD))
            for doomed, limit in ((lines.TOO_MANY, self._limit), (lines.UNREAD_TOO_MANY, unread)):
                # A page of which something goes has to be fetched again.
                self._do(lines.TORN_PAGES.format(doomed), limit)
                self._do(f"DELETE FROM history WHERE position IN ({doomed})", limit)

    # What is there.

    def entries(self, newest: int = 0) -> list[HistoryEntry]:
        """All lines as committed, in the order in which they came; `newest`: only so many of each conversation, and
        what is unread or unsettled."""
        if not newest:
            return [lines.entry(*row) for row in self._query(f"SELECT {lines.COLUMNS} FROM history ORDER BY position")]
        return [lines.entry(*row) for row in self._query(lines.NEWEST, newest)]

    def between(self, peer: str, low: int, high: int, limit: int) -> list[HistoryEntry]:
        """Lines with stamps from `low` to `high`, newest first, `limit` at most."""
        sql = f"SELECT {lines.COLUMNS} FROM history WHERE peer = ? AND stamp BETWEEN ? AND ?"
        rows = self._query(
            f"{sql} ORDER BY stamp DESC, position DESC LIMIT ?", peer, max(1, low), min(high, (1 << 63) - 1), limit
        )
        return [lines.entry(*row) for row in rows]

    def line(self, peer: str, name: MessageName) -> HistoryEntry | None:
        """One line, by the message's name."""
        rows = self._query(f"SELECT {lines.COLUMNS} FROM history WHERE {lines.NAMED}", *self.line_name(peer, name))
        return lines.entry(*rows[0]) if rows else None

    def texts(self, peer: str) -> Iterator[HistoryEntry]:
        """Lines that were not erased, newest first; `peer`: of this conversation only."""
        sql = f"SELECT {lines.COLUMNS} FROM history WHERE erased_by = '' AND ? IN ('', peer) AND stamp < ? "
        before = 1 << 62
        while rows := self._query(f"{sql} AND stamp > 0 ORDER BY stamp DESC LIMIT 1000", peer, before):
            yield from (lines.entry(*row) for row in rows)
            before = rows[-1][8]

    def unread(self, peer: str) -> list[HistoryEntry]:
        """What they wrote that is not read, oldest first."""
        sql = f"SELECT {lines.COLUMNS} FROM history WHERE peer = ? AND NOT mine AND state != ? AND erased_by = ''"
        return [lines.entry(*row) for row in self._query(f"{sql} ORDER BY position", peer, int(State.READ))]

    def peers(self) -> dict[str, int]:
        """Conversations that have lines, and how many of theirs are not read."""
        unread = f"NOT mine AND state != {int(State.READ)} AND erased_by = ''"
        rows = self._query(f"SELECT peer, count(*) FILTER (WHERE {unread}) FROM history GROUP BY peer")
        return dict(rows)

    def newest_stamp(self, peer: str) -> int:
        """The highest stamp of a line of theirs, or of one of ours to them; 0 if there is none."""
        return unsigned(self._query("SELECT coalesce(max(stamp), 0) FROM history WHERE peer = ?", peer)[0][0])

    def stamps(self, peer: str, device: str, stream: int, ids: Iterable[int]) -> int:
        """The highest stamp of these messages of theirs; 0 if none is known."""
        sql = "SELECT coalesce(max(stamp), 0) FROM history WHERE stream = ? AND id IN (SELECT value FROM json_each(?))"
        values = (signed(stream), lines.id_list(ids), peer, device)
        return unsigned(self._query(f"{sql} AND peer = ? AND device = ? AND NOT mine", *values)[0][0])

    def around(self, event: Skipped) -> tuple[str, int, int] | None:
        """Whose conversation something was skipped in, and between which stamps it must stand; None: nobody knows."""
        mine = event.from_id == self.user
        which: tuple[object, ...] = (signed(event.stream), mine, event.device)
        which += (self._author(event.group, event.from_id), event.group or ("" if mine else event.from_id))
        sql = "FROM history WHERE stream = ? AND mine = ? AND device = ? AND author = ? AND ? IN ('', peer)"
        below = self._query(f"SELECT peer, max(stamp) {sql} AND id < ?", *which, signed(event.first))[0]
        above = self._query(f"SELECT peer, min(stamp) {sql} AND id > ?", *which, signed(event.last))[0]
        peer = above[0] or below[0]
        return None if peer is None else (peer, below[1] or 0, above[1] or 0)
