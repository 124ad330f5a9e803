"""A line of a conversation in the state file: its form, and the statements that write it.

Owns the SQL of the tables `history` and `marks`. Decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from client.changes import Change
from client.messages import State
from client.schema import signed, unsigned


class Do(Protocol):
    def __call__(self, sql: str, *values: object) -> None: ...


class Query(Protocol):
    def __call__(self, sql: str, *values: object) -> list[tuple[Any, ...]]: ...


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of a conversation."""

    mine: bool
    """We have written it."""
    peer: str
    """The other user, or the group."""
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
    revision: int = 0
    """Of the edit that counts; 0: it reads as it was written."""
    edited_stamp: int = 0
    """The stamp of that edit."""
    erased_by: str = ""
    """Not empty: it was erased, by this user, or taken down by "operator"; then it has no body."""
    author: str = ""
    """In a group, who has written it, if not we; in a conversation of two it is empty."""


def changed_columns(change: Change | None) -> tuple[Any, ...]:
    """revision, edit_device, edit_stream, edit_id, edited_stamp, erased_by."""
    if change is None:
        return 0, "", 0, 0, 0, ""
    device, stream, number = change.edit
    return change.revision, device, signed(stream), signed(number), signed(change.stamp), change.erased_by


def entry(mine: int, peer: str, device: str, stream: int, message_id: int, draft: int, *rest: Any) -> HistoryEntry:
    kind, body, stamp, at_ms, late, state, note, revision, edited, erased_by, author = rest
    return HistoryEntry(
        *(bool(mine), peer, device, unsigned(stream), unsigned(message_id), draft, kind, body),
        *(unsigned(stamp), at_ms, bool(late), State(state), note),
        *(revision, 0 if erased_by else unsigned(edited), erased_by, author),
    )


COLUMNS = (
    "mine, peer, device, stream, id, draft, kind, body, stamp, at_ms, late, state, note, "
    "revision, edited_stamp, erased_by, author"
)
NAMED = "mine = ? AND peer = ? AND author = ? AND device = ? AND stream = ? AND id = ?"
PLACE = "max(stamp, at_ms << 20) DESC, position DESC"
"""Newest first; what has no stamp yet stands where it was written."""


INSERT_OWN = """
INSERT INTO history (mine, peer, device, stream, id, draft, kind, body, stamp, at_ms, late, state, note)
SELECT 1, ?, '', ?, ?, ?, ?, ?, 0, ?, 0, 0, ''
"""
UNLESS_THERE = "WHERE NOT EXISTS (SELECT 1 FROM history WHERE stream = ? AND id = ? AND mine)"
INSERT_SHOWN = """
INSERT INTO history (mine, peer, author, device, stream, id, draft, kind, body, stamp, at_ms, late, state, note,
    revision, edit_device, edit_stream, edit_id, edited_stamp, erased_by)
SELECT ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?,
    coalesce((SELECT max(state) FROM marks WHERE stream = ? AND id = ? AND peer IN ('', ?) AND ?), 0), '',
    ?, ?, ?, ?, ?, ?
"""
UNLESS_NAMED = f"WHERE NOT EXISTS (SELECT 1 FROM history WHERE {NAMED})"
INSERT_PAGED = """
INSERT INTO history (mine, peer, author, device, stream, id, draft, kind, body, stamp, at_ms, late, state, note,
    paged, revision, edit_device, edit_stream, edit_id, edited_stamp, erased_by)
VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, 0, ?, '', 1, ?, ?, ?, ?, ?, ?)
"""
CHANGE = f"""
UPDATE history SET body = ?, revision = ?, edit_device = ?, edit_stream = ?, edit_id = ?, edited_stamp = ?,
    erased_by = ?
WHERE {NAMED} AND erased_by = ''
    AND (? OR kind = ? AND (revision, edit_device, edit_stream, edit_id) < (?, ?, ?, ?))
"""
NEWEST = f"""
SELECT {COLUMNS} FROM (
    SELECT *, row_number() OVER (PARTITION BY peer ORDER BY {PLACE}) AS depth FROM history
) WHERE depth <= ?
    OR CASE WHEN mine THEN device = '' AND state = {int(State.QUEUED)} ELSE state != {int(State.READ)} END
ORDER BY position
"""
INSERT_MARKS = """
INSERT INTO marks (peer, stream, id, state)
SELECT p, s, value, t FROM (SELECT ? AS p, ? AS t, ? AS s), json_each(?)
WHERE NOT EXISTS (SELECT 1 FROM history WHERE stream = s AND id = value AND mine)
"""
TOO_MANY = f"""
    SELECT position FROM (
        SELECT position, done, row_number() OVER (ORDER BY depth, position DESC) AS place FROM (
            SELECT position, row_number() OVER (PARTITION BY peer ORDER BY {PLACE}) AS depth,
                CASE WHEN mine THEN device != '' OR state != {int(State.QUEUED)}
                    ELSE state = {int(State.READ)} END AS done
            FROM history
        )
    ) WHERE place > ? AND done
"""
"""What stays are the newest of every conversation, as deep into each as the limit allows; and what is not done."""
UNREAD_TOO_MANY = f"""
    SELECT position FROM (
        SELECT position, row_number() OVER (PARTITION BY peer ORDER BY {PLACE}) AS depth
        FROM history WHERE NOT mine AND state != {int(State.READ)}
    ) ORDER BY depth DESC, position
    LIMIT max(0, (SELECT count(*) FROM history WHERE NOT mine AND state != {int(State.READ)}) - ?)
"""
TORN_PAGES = """
DELETE FROM pages WHERE EXISTS (
    SELECT 1 FROM history WHERE history.peer = pages.peer AND stamp BETWEEN low AND upto AND position IN ({})
)
"""
TRIM_MARKS = """
DELETE FROM marks WHERE position IN (
    SELECT position FROM (
        SELECT position, row_number() OVER (PARTITION BY peer ORDER BY position DESC) AS depth FROM marks
    ) ORDER BY depth DESC, position LIMIT max(0, (SELECT count(*) FROM marks) - ?)
)
"""


def id_list(ids: Iterable[int]) -> str:
    """For `json_each`."""
    return json.dumps([signed(number) for number in ids])
