"""Contacts: how two users stand, and when each was online last.

Owns their statements. A pair has a row of its own, which only conditional updates change, so both sides see one truth.
Who is to be listed for a user stands in a second table, written first: a row there that leads to nothing costs a read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from protocol.errors import StoreError
from store.cassandra.connecting import Connection
from store.cassandra.requests import Requests
from store.contacts import Change, Relation, Verdict, change, keeps_since, pair_of, seen_by

_PAIR = "SELECT bits, since_us FROM pairs WHERE low = ? AND high = ?"
_LOWER, _HIGHER = (
    "SELECT low, bits, since_us FROM pairs WHERE low IN ? AND high = ?",
    "SELECT high, bits, since_us FROM pairs WHERE low = ? AND high IN ?",
)
_NEW_PAIR = "INSERT INTO pairs (low, high, bits, since_us) VALUES (?, ?, ?, ?) IF NOT EXISTS"
_CHANGE = "UPDATE pairs SET bits = ?, since_us = ? WHERE low = ? AND high = ? IF bits = ?"
_LIST = "INSERT INTO contacts (user, other) VALUES (?, ?)"
_LISTED = "SELECT other FROM contacts WHERE user = ? AND other > ? LIMIT ?"
# With the time that is told as the write's own, the latest wins by itself.
_SAW = "INSERT INTO seen (user, seen_ms) VALUES (?, ?) USING TIMESTAMP ?"
_SEEN = "SELECT user, seen_ms FROM seen WHERE user IN ?"
# What others have listed of the user leads to nothing any more.
_DROP = ("DELETE FROM contacts WHERE user = ?", "DELETE FROM seen WHERE user = ?")

_FORGOTTEN_AT_ONCE = 100
_USERS_AT_ONCE = 25
_TRIES = 20


class Contacts:
    """The operations on the tables `pairs`, `contacts` and `seen`."""

    def __init__(self, connection: Connection, requests: Requests, clock: Callable[[], float]) -> None:
        self._requests = requests
        self._clock = clock
        self._pair = connection.prepare(_PAIR)
        self._lower = connection.prepare(_LOWER)
        self._higher = connection.prepare(_HIGHER)
        self._new_pair = connection.prepare(_NEW_PAIR)
        self._change = connection.prepare(_CHANGE)
        self._list = connection.prepare(_LIST)
        self._listed = connection.prepare(_LISTED)
        self._saw = connection.prepare(_SAW)
        self._seen = connection.prepare(_SEEN)
        self._drop = [connection.prepare(statement) for statement in _DROP]

    async def _find(self, pairs: list[tuple[str, str]]) -> list[tuple[int | None, int]]:
        """(bits, since when in µs) of each; None where there is no row."""
        answers = await self._requests.run([self._pair.bind(pair) for pair in pairs])
        return [tuple(rows[0]) if rows else (None, 0) for rows in answers]

    async def change(self, user: str, other: str, what: Change) -> tuple[Relation, Relation]:
        """Change a pair; returns before and after. Raises as `store.contacts.change`."""
        pair = pair_of(user, other)
        ((bits, since_us),) = await self._find([pair])
        for _ in range(_TRIES):
            before = seen_by(user, other, bits or 0, since_us // 1000)
            after = change(user, other, bits or 0, what)
            if after == (bits or 0):
                return before, before
            now_us = since_us if keeps_since(what) else int(self._clock() * 1_000_000)
            if bits is None:
                await self._requests.run([self._list.bind((user, other)), self._list.bind((other, user))])
                statement = self._new_pair.bind((*pair, after, now_us))
            else:
                statement = self._change.bind((after, now_us, *pair, bits))
            answer = await self._requests.conditional(statement)
            if answer["[applied]"]:
                return before, seen_by(user, other, after, now_us // 1000)
            # Somebody was quicker; or this very change was, in a try whose answer was lost.
            bits = answer["bits"]
            since_us = answer.get("since_us", since_us)
        raise StoreError(f'"{user}" and "{other}" change how they stand too often to follow')

    async def one(self, user: str, other: str) -> Relation:
        """How the two stand."""
        ((bits, since_us),) = await self._find([pair_of(user, other)])
        return seen_by(user, other, bits or 0, since_us // 1000)

    async def some(self, user: str, after: str, limit: int) -> list[tuple[str, Relation]]:
        """Contacts from behind `after` on, by id, without those who are nothing but blockers."""
        found: list[tuple[str, Relation]] = []
        while True:
            (rows,) = await self._requests.run([self._listed.bind((user or " ", after, limit))])
            others = [row[0] for row in rows]
            known = await self._of_one(user, others)
            for other in others:
                relation = seen_by(user, other, *known.get(other, (0, 0)))
                if relation.visible:
                    found.append((other, relation))
                    if len(found) == limit:
                        return found
            if len(others) < limit:
                return found
            after = others[-1]

    async def _of_one(self, user: str, others: list[str]) -> dict[str, tuple[int, int]]:
        """(bits, since when in ms) of the user's pairs with others, many of them in one request."""
        lower = _chunks([other for other in others if other < user])
        higher = _chunks([other for other in others if other > user])
        answers = await self._requests.run(
            [self._lower.bind((chunk, user)) for chunk in lower]
            + [self._higher.bind((user, chunk)) for chunk in higher]
        )
        return {other: (bits, since_us // 1000) for rows in answers for other, bits, since_us in rows}

    async def forget(self, user: str) -> None:
        """Nothing is left of this user's contacts, on either side."""
        after = ""
        while True:
            (rows,) = await self._requests.run([self._listed.bind((user or " ", after, _FORGOTTEN_AT_ONCE))])
            for (other,) in rows:
                await self.change(user, other, Change.FORGET)
            if len(rows) < _FORGOTTEN_AT_ONCE:
                break
            after = rows[-1][0]
        await self._requests.run([statement.bind((user or " ",)) for statement in self._drop])

    async def verdicts(self, pairs: Collection[tuple[str, str]]) -> dict[tuple[str, str], Verdict]:
        """How each author stands with each receiver."""
        answer = dict.fromkeys(pairs, Verdict.STRANGER)
        asked = [pair for pair in answer if pair[0] != pair[1]]
        found = await self._find([pair_of(*pair) for pair in asked])
        for (author, dest), (bits, _) in zip(asked, found, strict=True):
            answer[author, dest] = seen_by(author, dest, bits or 0, 0).verdict
        return answer

    async def blocked(self, user: str, authors: Collection[str]) -> set[str]:
        """Which of these a user has blocked."""
        found = await self.verdicts([(author, user) for author in authors])
        return {author for (author, _), verdict in found.items() if verdict is Verdict.BLOCKED}

    async def saw(self, seen: Mapping[str, int]) -> None:
        """Keep the latest."""
        await self._requests.run([self._saw.bind((user, at_ms, at_ms * 1000)) for user, at_ms in seen.items()])

    async def last_seen(self, users: Collection[str]) -> dict[str, int]:
        """User → when they were there last, in Unix milliseconds; of those who ever were."""
        chunks = _chunks([user or " " for user in users])
        answers = await self._requests.run([self._seen.bind((chunk,)) for chunk in chunks])
        return {user: at_ms for rows in answers for user, at_ms in rows}


def _chunks(users: list[str]) -> list[list[str]]:
    return [users[at : at + _USERS_AT_ONCE] for at in range(0, len(users), _USERS_AT_ONCE)]
