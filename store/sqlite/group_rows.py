"""Rows of groups' timelines, and who may see which, as functions of a connection.

Owns what is visible to whom (docs/design/groups.md, G4), and that each name is shown once. Writes nothing; reads no
clock. A message's row is the one of `messages`; later attempts stand in `attempts`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from store.groups import Interval, Membership
from store.sqlite.timeline_streams import BOTH_VIEW, CHANGES_VIEW

_LAST = 2**63 - 1
Place = tuple[int, int, int]
"""Stamp, position, version: no two rows of a group have the same."""
NEWEST: Place = (_LAST, _LAST, _LAST)
_COLUMNS = "SELECT stamp, position, version, open, settled FROM messages WHERE conversation = ?1"
_ATTEMPTS = (
    "SELECT a.stamp, a.position, a.version, a.open, a.settled FROM attempts AS a "
    "CROSS JOIN messages AS x ON x.position = a.position AND x.view {views} WHERE a.conversation = ?1"
)
# The LIMIT keeps the order; all parts come in it from their indexes.
_READ = (
    "SELECT json_group_array(json_array(r.stamp, r.position, r.version, r.open, r.settled, m.stream, m.id, m.kind, "
    "m.erased_by, length(m.body), hex(coalesce(m.about, x'')))) FROM ({parts} LIMIT {limit}) AS r "
    "CROSS JOIN messages AS m ON m.position = r.position"
)
_BACK = _READ.format(
    parts=f"{_COLUMNS} AND view = {BOTH_VIEW} AND stamp >= ?5 AND (stamp, position, version) < (?2, ?3, ?4) UNION ALL "
    + _ATTEMPTS.format(views=f"= {BOTH_VIEW}")
    + " AND a.stamp >= ?5 AND (a.stamp, a.position, a.version) < (?2, ?3, ?4) "
    "ORDER BY stamp DESC, position DESC, version DESC",
    limit="?6",
)
_ON = _READ.format(
    parts="".join(
        f"{_COLUMNS} AND view = {view} AND (stamp, position, version) > (?2, ?3, ?4) UNION ALL "
        for view in (BOTH_VIEW, CHANGES_VIEW)
    )
    + _ATTEMPTS.format(views=f"IN ({BOTH_VIEW}, {CHANGES_VIEW})")
    + " AND (a.stamp, a.position, a.version) > (?2, ?3, ?4) ORDER BY stamp, position, version",
    limit="?5",
)


class Row(NamedTuple):
    """One attempt of a message."""

    stamp: int
    position: int
    version: int
    open: int
    settled: int
    stream: int
    id: int
    kind: int
    erased_by: str | None
    size: int
    about: str
    """In hex."""

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self[:3]

    def as_message(self) -> list[object]:
        """As `timeline_reading.messages_of` takes it."""
        return [self.position, self.stamp, self.stream, self.id, self.kind, self.erased_by, self.size, self.about]


def back(connection: sqlite3.Connection, conversation: int, before: Place, floor: int, limit: int) -> list[Row]:
    """Rows that pages show, from before a place back."""
    (found,) = connection.execute(_BACK, (conversation, *before, floor, limit)).fetchone()
    return [Row(*row) for row in json.loads(found)]


def on(connection: sqlite3.Connection, conversation: int, after: Place, limit: int) -> list[Row]:
    """All rows, from behind a place on."""
    (found,) = connection.execute(_ON, (conversation, *after, limit)).fetchone()
    return [Row(*row) for row in json.loads(found)]


def memberships(connection: sqlite3.Connection, user: str, groups: Collection[str]) -> dict[str, Membership]:
    """What the user may see of each of these groups that they are in. Who has left is in none."""
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(group_id, since, until)) FROM (SELECT i.group_id, i.since, i.until "
        "FROM json_each(?) AS w CROSS JOIN group_intervals AS i ON i.user = ? AND i.group_id = w.value "
        "ORDER BY i.group_id, i.since)",
        (json.dumps(list(groups)), user),
    ).fetchone()
    answer: dict[str, Membership] = {}
    for group, since, until in json.loads(found):
        answer.setdefault(group, Membership()).intervals.append(Interval(since, until))
    return {group: membership for group, membership in answer.items() if not membership.intervals[-1].until}


def membership(connection: sqlite3.Connection, user: str, group: str) -> Membership | None:
    """What the user may see of one group; None unless they are in it."""
    return memberships(connection, user, [group]).get(group)


class Attempts:
    """Of some messages, all rows."""

    def __init__(self, connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
        """`rows` names the messages."""
        (found,) = connection.execute(
            "SELECT json_group_array(json_array(position, stamp, version, open)) FROM ("
            "SELECT a.position, a.stamp, a.version, a.open FROM json_each(?1) AS w CROSS JOIN attempts AS a "
            "ON a.position = w.value UNION ALL SELECT m.position, m.stamp, m.version, m.open FROM json_each(?1) AS w "
            "CROSS JOIN messages AS m ON m.position = w.value "
            "WHERE EXISTS (SELECT 1 FROM attempts AS a WHERE a.position = m.position))",
            (json.dumps(list({row.position for row in rows})),),
        ).fetchone()
        self._rows: dict[int, list[tuple[Place, int]]] = {}
        for position, stamp, version, is_open in json.loads(found):
            self._rows.setdefault(position, []).append(((stamp, position, version), is_open))

    def is_first(self, row: Row, sees: Membership | None, since: int) -> bool:
        """Whether no row of the same message, visible and not below `since`, stands before this visible one.

        `sees` None: all are visible."""
        return not any(
            place < row.place and place[0] >= since and (sees is None or sees.sees(place[2], bool(is_open)))
            for place, is_open in self._rows.get(row.position, ())
        )


def visible(connection: sqlite3.Connection, rows: Sequence[Row], sees: Membership | None, since: int) -> list[Row]:
    """Those that are visible, and of these each message's first one that is not below `since` (G3)."""
    seen = [row for row in rows if sees is None or sees.sees(row.version, bool(row.open))]
    if not seen:
        return []
    attempts = Attempts(connection, seen)
    return [row for row in seen if attempts.is_first(row, sees, since)]
