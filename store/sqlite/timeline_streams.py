"""Small numbers for conversations and streams, and what views there are, as functions of a connection.

Owns the tables `conversations`, `streams` and `members`. Begins and commits nothing; reads no clock.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple, TypeVar

from store.timeline_rules import EDIT, ERASE, stored
from store.timelines import Audience, Entry, Name, is_group, members_of

_T = TypeVar("_T")
_CHUNKS = (512, 256, 128, 64, 32, 16, 8, 4, 2, 1)
BOTH_VIEW, NO_VIEW = 0, 3
CHANGES_VIEW = 4
"""Of a group's EDIT and ERASE: scans alone read it."""


class Key(NamedTuple):
    """A stream of one conversation. `stream` is as it is stored."""

    conversation: str
    user: str
    device: str
    stream: int


class Stream(NamedTuple):
    """What stands for a `Key`."""

    id: int
    conversation: int
    listed: int
    """In whose lists the conversation is: 0 nobody's, 1 the author's, 2 both."""


def key_of(conversation: str, name: Name) -> Key:
    """The stream of a message."""
    return Key(conversation, name.author, name.device, stored(name.stream))


def view_of(conversation: str, user: str) -> int:
    """The view of one of the two alone; `NO_VIEW` for everybody else."""
    members = members_of(conversation)
    return members.index(user) + 1 if user in members else NO_VIEW


def view_for(entry: Entry) -> int:
    """The view in which an entry stands."""
    if is_group(entry.conversation):
        # A block silences nobody in a common group.
        return CHANGES_VIEW if entry.kind in (EDIT, ERASE) else BOTH_VIEW
    return BOTH_VIEW if entry.audience is Audience.BOTH else view_of(entry.conversation, entry.name.author)


def chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Few sizes, so that each size's statement stays prepared."""
    start = 0
    for size in _CHUNKS:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size


@cache
def values(rows: int, columns: int) -> str:
    """`VALUES` of so many rows."""
    row = f"({', '.join('?' * columns)})"
    return f"VALUES {', '.join([row] * rows)}"


def find(connection: sqlite3.Connection, keys: Collection[Key]) -> dict[Key, Stream]:
    """Those of these streams that are known."""
    found: dict[Key, Stream] = {}
    for chunk in chunks(list(keys)):
        (rows,) = connection.execute(
            "SELECT json_group_array(json_array(w.column1, s.id, s.conversation, s.listed)) FROM ("
            f"{values(len(chunk), 5)}) AS w CROSS JOIN conversations AS c ON c.name = w.column2 "
            "CROSS JOIN streams AS s ON s.conversation = c.id AND s.user = w.column3 AND s.device = w.column4 "
            "AND s.stream = w.column5",
            [value for number, key in enumerate(chunk) for value in (number, *key)],
        ).fetchone()
        for number, *stream in json.loads(rows):
            found[chunk[number]] = Stream(*stream)
    return found


def resolve(connection: sqlite3.Connection, keys: Collection[Key]) -> dict[Key, Stream]:
    """All of these streams; makes those that are not known."""
    found = find(connection, keys)
    missing = [key for key in keys if key not in found]
    if not missing:
        return found
    for chunk in chunks(list({key.conversation for key in missing})):
        connection.execute(f"INSERT OR IGNORE INTO conversations (name) {values(len(chunk), 1)}", chunk)
    for part in chunks(missing):
        connection.execute(
            "INSERT OR IGNORE INTO streams (conversation, user, device, stream) "
            "SELECT c.id, w.column2, w.column3, w.column4 "
            f"FROM ({values(len(part), 4)}) AS w CROSS JOIN conversations AS c ON c.name = w.column1",
            [value for key in part for value in key],
        )
    return found | find(connection, missing)


def conversation_id(connection: sqlite3.Connection, conversation: str) -> int | None:
    """The number of a conversation."""
    row = connection.execute("SELECT id FROM conversations WHERE name = ?", (conversation,)).fetchone()
    return None if row is None else int(row[0])


def name_in_lists(connection: sqlite3.Connection, listings: Iterable[tuple[Key, int, int]]) -> None:
    """Conversations come into lists: of (key, id of the stream, 1: the author's, 2: both)."""
    rows = set()
    levels: dict[int, int] = {}
    for key, stream, level in listings:
        levels[stream] = max(level, levels.get(stream, 0))
        one, other = members_of(key.conversation)
        mine = (one, other) if key.user == one else (other, one)
        rows.add(mine)
        if level > 1:
            rows.add(mine[::-1])
    for chunk in chunks(sorted(rows)):
        connection.execute(
            f"INSERT INTO members (user, other, listed) SELECT column1, column2, 1 FROM ({values(len(chunk), 2)}) "
            "WHERE true ON CONFLICT DO UPDATE SET listed = 1 WHERE listed = 0",
            [value for row in chunk for value in row],
        )
    connection.execute(
        "UPDATE streams SET listed = max(listed, json_extract(w.value, '$[1]')) FROM json_each(?) AS w "
        "WHERE streams.id = json_extract(w.value, '$[0]')",
        (json.dumps(list(levels.items())),),
    )


def drop_unused(connection: sqlite3.Connection, streams: Iterable[int]) -> None:
    """Forget those of these streams of which nothing is kept."""
    connection.execute(
        "DELETE FROM streams WHERE id IN (SELECT w.value FROM json_each(?) AS w "
        "WHERE NOT EXISTS (SELECT 1 FROM messages WHERE stream = w.value) "
        "AND NOT EXISTS (SELECT 1 FROM edits WHERE stream = w.value))",
        (json.dumps(sorted(set(streams))),),
    )
