"""The operations on contacts, as functions of a connection; those that write need one that holds the write lock.

Owns their SQL. Begins and commits nothing; reads no clock.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping

from store.contacts import HIGH_BLOCKS, LOW_BLOCKS, Change, Relation, Verdict, keeps_since, pair_of, seen_by
from store.contacts import change as changed

_SOME = (
    "SELECT other, bits, since_ms FROM ("
    "SELECT high AS other, bits, since_ms FROM contacts WHERE low = ?1 AND high > ?2 "
    "UNION ALL SELECT low AS other, bits, since_ms FROM contacts WHERE high = ?1 AND low > ?2"
    ") ORDER BY other"
)


def _find(connection: sqlite3.Connection, user: str, other: str) -> tuple[int, int]:
    row = connection.execute(
        "SELECT bits, since_ms FROM contacts WHERE low = ? AND high = ?", pair_of(user, other)
    ).fetchone()
    return (0, 0) if row is None else row


def change(
    connection: sqlite3.Connection, user: str, other: str, what: Change, now_ms: int
) -> tuple[Relation, Relation]:
    """Change a pair; returns before and after. Raises as `store.contacts.change`."""
    bits, since_ms = _find(connection, user, other)
    before = seen_by(user, other, bits, since_ms)
    after = changed(user, other, bits, what)
    if after == bits:
        return before, before
    pair = pair_of(user, other)
    if keeps_since(what):
        now_ms = since_ms
    if after:
        # No REPLACE: it would empty columns of a later release.
        connection.execute(
            "INSERT INTO contacts (low, high, bits, since_ms) VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET bits = excluded.bits, since_ms = excluded.since_ms",
            (*pair, after, now_ms),
        )
    else:
        connection.execute("DELETE FROM contacts WHERE low = ? AND high = ?", pair)
    return before, seen_by(user, other, after, now_ms)


def blocked_by(connection: sqlite3.Connection, user: str) -> frozenset[str]:
    """Whom the user has blocked."""
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(low, high)) FROM (SELECT low, high FROM contacts WHERE low = ?1 "
        "AND bits & ?2 UNION ALL SELECT low, high FROM contacts WHERE high = ?1 AND bits & ?3)",
        (user, LOW_BLOCKS, HIGH_BLOCKS),
    ).fetchone()
    return frozenset(high if low == user else low for low, high in json.loads(found))


def forget(connection: sqlite3.Connection, user: str) -> None:
    """Nothing is left of this user's contacts, on either side."""
    connection.execute("DELETE FROM contacts WHERE low = ?", (user,))
    connection.execute("DELETE FROM contacts WHERE high = ?", (user,))
    connection.execute("DELETE FROM seen WHERE user = ?", (user,))


def one(connection: sqlite3.Connection, user: str, other: str) -> Relation:
    """How the two stand."""
    return seen_by(user, other, *_find(connection, user, other))


def some(connection: sqlite3.Connection, user: str, after: str, limit: int) -> list[tuple[str, Relation]]:
    """Contacts from behind `after` on, by id, without those who are nothing but blockers."""
    found: list[tuple[str, Relation]] = []
    for other, bits, since_ms in connection.execute(_SOME, (user, after)):
        relation = seen_by(user, other, bits, since_ms)
        if relation.visible:
            found.append((other, relation))
            if len(found) == limit:
                break
    return found


def verdicts(connection: sqlite3.Connection, pairs: Collection[tuple[str, str]]) -> dict[tuple[str, str], Verdict]:
    """How each author stands with each receiver."""
    wanted = json.dumps([pair_of(*pair) for pair in pairs if pair[0] != pair[1]])
    (found,) = connection.execute(
        "SELECT json_group_array(json_array(c.low, c.high, c.bits)) FROM json_each(?) AS w CROSS JOIN contacts AS c "
        "ON c.low = json_extract(w.value, '$[0]') AND c.high = json_extract(w.value, '$[1]')",
        (wanted,),
    ).fetchone()
    bits = {(low, high): kept for low, high, kept in json.loads(found)}
    return {
        (author, dest): seen_by(author, dest, bits.get((min(author, dest), max(author, dest)), 0), 0).verdict
        for author, dest in pairs
    }


def saw(connection: sqlite3.Connection, seen: Mapping[str, int]) -> None:
    """Keep the latest."""
    connection.execute(
        "INSERT INTO seen (user, seen_ms) SELECT key, value FROM json_each(?) WHERE true "
        "ON CONFLICT (user) DO UPDATE SET seen_ms = max(seen_ms, excluded.seen_ms)",
        (json.dumps(seen),),
    )


def last_seen(connection: sqlite3.Connection, users: Collection[str]) -> dict[str, int]:
    """User → when they were there last, in Unix milliseconds; of those who ever were."""
    (found,) = connection.execute(
        "SELECT json_group_object(s.user, s.seen_ms) FROM json_each(?) AS w CROSS JOIN seen AS s ON s.user = w.value",
        (json.dumps(list(users)),),
    ).fetchone()
    answer: dict[str, int] = json.loads(found)
    return answer
