"""The last lines of all conversations, in the state file, in the same transactions as everything else.

Owns the tables `history` and `marks`. Decides nothing about messages.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from client.messages import GIVEN_UP, State
from client.schema import signed, unsigned
from client.state import Delivered, Event, Refused, Settled
from protocol.ids import stamp_ms
from protocol.inbound import Shown
from protocol.outbound import Outgoing
from protocol.sparrow_pb2 import READ, Message


class _Do(Protocol):
    def __call__(self, sql: str, *values: object) -> None: ...


class _Query(Protocol):
    def __call__(self, sql: str, *values: object) -> list[tuple[Any, ...]]: ...


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of a conversation."""

    mine: bool
    """We have written it."""
    peer: str
    """The other user."""
    device: str
    """The author's device; empty: this one."""
    stream: int
    """The message's stream; 0: it is not numbered yet."""
    id: int
    """The message's id in its stream; 0: it is not numbered yet."""
    draft: int
    """Names a message that is not numbered yet; 0: it is."""
    kind: int
    """What the body is, as in `Message.kind`."""
    body: bytes
    """The bytes that were sent."""
    stamp: int
    """The server's stamp; 0 if it is not known."""
    at_ms: int
    """When a server took it, or else when it was written, in milliseconds of Unix time."""
    late: bool
    """A later one of the same stream was shown before it."""
    state: State
    """Of a message of ours, how far it has come; of others', `READ` or `QUEUED` (not read yet)."""
    note: str
    """Why it failed."""


class History:
    """Written through the journal's next commit; `limit` lines are kept, and those that are unread or unsettled.

    What is too much goes from the longest conversation first, so who writes much erases nobody else's. Of unread lines,
    too, there are no more than `UNREAD_PER_LINE` times as many; only messages that are not safe yet have no bound here.
    """

    MARKS_PER_LINE = 4
    UNREAD_PER_LINE = 10
    SPARE = 20
    """This part of the limit more is kept before it is looked which are too many."""

    def __init__(
        self, do: _Do, query: _Query, limit: int, now_ms: Callable[[], int] = lambda: int(time.time() * 1000)
    ) -> None:
        self._do = do
        self._query = query
        self._limit = limit
        self._now_ms = now_ms
        self._new = limit  # what an earlier client has left may be too much
        self._new_marks = limit
        self.user = ""
        """Whose history it is."""

    # What happens.

    def outgoing(self, outgoing: Outgoing) -> None:
        """A message of ours is kept: as a draft, or numbered."""
        if outgoing.kind == READ:
            if outgoing.about is not None:
                self._read_by_me(outgoing.dest, outgoing.about.stream, outgoing.about.ids)
            return
        row = (outgoing.dest, outgoing.kind, outgoing.body, self._now_ms())
        if outgoing.stream is None:
            self._do(_INSERT_OWN, *row[:1], 0, 0, outgoing.draft, *row[1:])
        else:
            name = (signed(outgoing.stream.number), outgoing.id)
            self._do("UPDATE history SET stream = ?, id = ?, draft = 0 WHERE draft = ? AND mine", *name, outgoing.draft)
            self._do(_INSERT_OWN + _UNLESS_THERE, *row[:1], *name, 0, *row[1:], *name)
        self._trim()

    def given_up(self, outgoing: Outgoing) -> None:
        """A draft of ours is not sent after all."""
        values = (int(State.FAILED), GIVEN_UP, outgoing.draft)
        self._do("UPDATE history SET state = ?, note = ?, draft = 0 WHERE draft = ? AND mine", *values)

    def note(self, events: Iterable[Event]) -> bool:
        """What the core is about to tell; whether that changed something here."""
        changed = False
        for event in events:
            if isinstance(event, Settled):
                self._settled(event)
            elif isinstance(event, Delivered):
                self._mark("", event.stream, event.ids, State.DELIVERED)
            elif isinstance(event, Refused) and event.final:
                self._failed(event)
            elif isinstance(event, Shown):
                self._shown(event.item, event.late)
            else:
                continue
            changed = True
        return changed

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
        peer = message.dest_id if mine else message.from_id
        stream, message_id = signed(message.stream), signed(message.id)
        if message.kind == READ and mine:
            self._read_by_me(peer, message.about.stream, message.about.ids)
        elif message.kind == READ:
            self._mark(peer, message.about.stream, message.about.ids, State.READ)
        else:
            self._do(
                _INSERT_SHOWN,
                *(mine, peer, message.from_device, stream, message_id, int(message.kind), message.body),
                *(signed(message.stamp), stamp_ms(message.stamp), late),
                *(stream, message_id, peer, mine),
            )
            self._trim()

    def _read_by_me(self, peer: str, stream: int, ids: Iterable[int]) -> None:
        self._do(
            "UPDATE history SET state = ? WHERE stream = ? AND id IN (SELECT value FROM json_each(?)) "
            "AND peer = ? AND NOT mine",
            *(int(State.READ), signed(stream), _list(ids), peer),
        )

    def _mark(self, peer: str, stream: int, ids: Iterable[int], state: State) -> None:
        """Messages of ours have come so far. They may not be here yet: another device's may still be parked."""
        ids = list(ids)
        which = (signed(stream), _list(ids))
        self._do(
            "UPDATE history SET state = max(state, ?) WHERE stream = ? AND id IN (SELECT value FROM json_each(?)) "
            "AND mine AND ? IN ('', peer)",
            *(int(state), *which, peer),
        )
        self._do(_INSERT_MARKS, peer, int(state), *which)
        self._new_marks += len(ids)
        if self._new_marks >= self._limit:
            self._new_marks = 0
            self._do(_TRIM_MARKS, self._limit * self.MARKS_PER_LINE)

    def _trim(self) -> None:
        self._new += 1
        if self._new > self._limit // self.SPARE:
            self._new = 0
            self._do(_TRIM, self._limit)
            self._do(_TRIM_UNREAD, self._limit * self.UNREAD_PER_LINE)

    # What is there.

    def entries(self) -> list[HistoryEntry]:
        """All lines as committed, in the order in which they came."""
        rows = self._query(
            "SELECT mine, peer, device, stream, id, draft, kind, body, stamp, at_ms, late, state, note "
            "FROM history ORDER BY position"
        )
        return [_entry(*row) for row in rows]


def _entry(mine: int, peer: str, device: str, stream: int, message_id: int, draft: int, *rest: Any) -> HistoryEntry:
    kind, body, stamp, at_ms, late, state, note = rest
    return HistoryEntry(
        *(bool(mine), peer, device, unsigned(stream), unsigned(message_id), draft, kind, body),
        *(unsigned(stamp), at_ms, bool(late), State(state), note),
    )


_INSERT_OWN = """
INSERT INTO history (mine, peer, device, stream, id, draft, kind, body, stamp, at_ms, late, state, note)
SELECT 1, ?, '', ?, ?, ?, ?, ?, 0, ?, 0, 0, ''
"""
_UNLESS_THERE = "WHERE NOT EXISTS (SELECT 1 FROM history WHERE stream = ? AND id = ? AND mine)"
_INSERT_SHOWN = """
INSERT INTO history (mine, peer, device, stream, id, draft, kind, body, stamp, at_ms, late, state, note)
SELECT ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?,
    coalesce((SELECT max(state) FROM marks WHERE stream = ? AND id = ? AND peer IN ('', ?) AND ?), 0), ''
"""
_INSERT_MARKS = """
INSERT INTO marks (peer, stream, id, state)
SELECT p, s, value, t FROM (SELECT ? AS p, ? AS t, ? AS s), json_each(?)
WHERE NOT EXISTS (SELECT 1 FROM history WHERE stream = s AND id = value AND mine)
"""
_TRIM = f"""
DELETE FROM history WHERE position IN (
    SELECT position FROM (
        SELECT position, done, row_number() OVER (ORDER BY depth, position DESC) AS place FROM (
            SELECT position, row_number() OVER (PARTITION BY peer ORDER BY position DESC) AS depth,
                CASE WHEN mine THEN device != '' OR state != {int(State.QUEUED)}
                    ELSE state = {int(State.READ)} END AS done
            FROM history
        )
    ) WHERE place > ? AND done
)
"""
"""What stays are the newest of every conversation, as deep into each as the limit allows; and what is not done."""
_TRIM_UNREAD = f"""
DELETE FROM history WHERE position IN (
    SELECT position FROM (
        SELECT position, row_number() OVER (PARTITION BY peer ORDER BY position DESC) AS depth
        FROM history WHERE NOT mine AND state != {int(State.READ)}
    ) ORDER BY depth DESC, position
    LIMIT max(0, (SELECT count(*) FROM history WHERE NOT mine AND state != {int(State.READ)}) - ?)
)
"""
_TRIM_MARKS = """
DELETE FROM marks WHERE position IN (
    SELECT position FROM (
        SELECT position, row_number() OVER (PARTITION BY peer ORDER BY position DESC) AS depth FROM marks
    ) ORDER BY depth DESC, position LIMIT max(0, (SELECT count(*) FROM marks) - ?)
)
"""


def _list(ids: Iterable[int]) -> str:
    """For `json_each`."""
    return json.dumps([signed(number) for number in ids])
