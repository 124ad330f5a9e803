"""What each of the two, or a group's member, has of a conversation, files that messages name, terms and reports.

Owns the statements on `members` but the one that lists, on `kept_files`, `history` and `reports`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from store.cassandra.connecting import Connection
from store.cassandra.requests import Requests
from store.cassandra.timeline_keys import FOREVER
from store.timeline_rules import MAX_STAMP, other_of, pack_report, stored, unpack_report, unstored
from store.timelines import Mark, Marks, Name, Report, is_group

_SOME = "SELECT other, span, hidden, private, public FROM members WHERE user = ? AND other > ? LIMIT ?"
_ONE = "SELECT other, span, hidden, private, public FROM members WHERE user = ? AND other = ?"
_OF_MEMBERS = "SELECT user, private, public FROM members WHERE user IN ? AND other = ?"
_HIDE = "UPDATE members USING TIMESTAMP ? SET hidden = ? WHERE user = ? AND other = ?"
_PRIVATE = "UPDATE members USING TIMESTAMP ? SET private = ? WHERE user = ? AND other = ?"
_PUBLIC = "UPDATE members USING TIMESTAMP ? SET private = ?, public = ? WHERE user = ? AND other = ?"
_FORGET = "DELETE FROM members USING TIMESTAMP ? WHERE user = ?"
_NAME_FILE = (
    "INSERT INTO kept_files (file, conversation, author, device, stream, id) VALUES (?, ?, ?, ?, ?, ?) USING TTL ?"
)
_NAMED = "SELECT conversation, author, device, stream, id FROM kept_files WHERE file = ? LIMIT 500"
_UNNAME = (
    "DELETE FROM kept_files WHERE file = ? AND conversation = ? AND author = ? AND device = ? AND stream = ? AND id = ?"
)
_TERMS = "SELECT keep_days, since_ms, floor FROM history WHERE id = 0"
_SET_TERMS = "INSERT INTO history (id, keep_days, since_ms, floor) VALUES (0, ?, ?, ?)"
_REPORT = "INSERT INTO reports (bucket, report, reporter, told) VALUES (0, ?, ?, ?)"
_REPORTS = "SELECT report, reporter, told FROM reports WHERE bucket = 0 AND report > ? LIMIT ?"
_DROP_REPORT = "DELETE FROM reports WHERE bucket = 0 AND report = ?"
_REPORTS_AT_ONCE = 500
_USERS_AT_ONCE = 25


class Member(NamedTuple):
    """One user in one conversation."""

    other: str
    span: int | None
    """The newest day on which something was written there that the user sees; None: never."""
    hidden: int
    marks: Marks


class Terms(NamedTuple):
    """The row of `history`."""

    keep_days: int
    since_ms: int
    floor: int


class TimelineMembers:
    """The operations on these tables."""

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self._requests = requests
        self._some = connection.prepare(_SOME)
        self._one = connection.prepare(_ONE)
        self._of_members = connection.prepare(_OF_MEMBERS)
        self._hide = connection.prepare(_HIDE)
        self._private = connection.prepare(_PRIVATE)
        self._public = connection.prepare(_PUBLIC)
        self._forget = connection.prepare(_FORGET)
        self._name_file = connection.prepare(_NAME_FILE)
        self._named = connection.prepare(_NAMED)
        self._unname = connection.prepare(_UNNAME)
        self._terms = connection.prepare(_TERMS)
        self._set_terms = connection.prepare(_SET_TERMS)
        self._report = connection.prepare(_REPORT)
        self._reports = connection.prepare(_REPORTS)
        self._drop_report = connection.prepare(_DROP_REPORT)

    async def some(self, user: str, after: str, limit: int) -> list[Member]:
        """Of a user, by the other's id."""
        (rows,) = await self._requests.run([self._some.bind((user, after, limit))])
        return [_member(*row) for row in rows]

    async def ones(self, pairs: Sequence[tuple[str, str]]) -> list[Member]:
        """Of each (user, other)."""
        answers = await self._requests.run([self._one.bind(pair) for pair in pairs])
        return [
            _member(*rows[0]) if rows else Member(other, None, 0, Marks())
            for (_, other), rows in zip(pairs, answers, strict=True)
        ]

    async def hide(self, user: str, other: str, stamp: int) -> None:
        """A floor under what brings the conversation into the list."""
        stamp = min(stamp, MAX_STAMP)
        await self._requests.run([self._hide.bind((stamp + 1, stamp, user, other))])

    async def marks_of(self, users: Sequence[str], group: str) -> dict[str, Marks]:
        """How far each has read there."""
        chunks = [users[start : start + _USERS_AT_ONCE] for start in range(0, len(users), _USERS_AT_ONCE)]
        answers = await self._requests.run([self._of_members.bind((chunk, group)) for chunk in chunks])
        found = {user: Marks(private or 0, public or 0) for rows in answers for user, private, public in rows}
        return {user: found.get(user, Marks()) for user in users}

    async def raise_marks(self, marks: Sequence[Mark], inside: Collection[tuple[str, str]] = ()) -> list[bool]:
        """Whether each rose. `inside`: those of (user, group) who are in it."""
        keys = [(mark.user, _other_of(mark, inside)) for mark in marks]
        wanted = [(user, other) for user, other in dict.fromkeys(keys) if other is not None]
        there = dict(zip(wanted, [member.marks for member in await self.ones(wanted)], strict=True))
        answers, statements = [], []
        for mark, (user, other) in zip(marks, keys, strict=True):
            stamp = min(mark.stamp, MAX_STAMP)
            if other is None or stamp <= 0:
                answers.append(False)
                continue
            now = there[user, other]
            rises = stamp > (now.public if mark.public else now.private)
            answers.append(rises)
            if rises:
                there[user, other] = Marks(max(now.private, stamp), stamp if mark.public else now.public)
                statement = self._public if mark.public else self._private
                values = (stamp, stamp) if mark.public else (stamp,)
                statements.append(statement.bind((stamp, *values, user, other)))
        await self._requests.run(statements)
        return answers

    async def forget(self, user: str) -> None:
        """The user's list, marks and reports are no more."""
        await self._requests.run([self._forget.bind((FOREVER, user))])
        after = ""
        while True:
            (rows,) = await self._requests.run([self._reports.bind((after, _REPORTS_AT_ONCE))])
            await self._requests.run([self._drop_report.bind((row[0],)) for row in rows if row[1] == user])
            if len(rows) < _REPORTS_AT_ONCE:
                return
            after = rows[-1][0]

    # Files.

    async def name_file(self, file: str, conversation: str, name: Name, ttl_s: int) -> None:
        """A message names a file of its author's."""
        await self._requests.run([self._name_file.bind((file, conversation, *_stored(name), ttl_s))])

    async def named(self, file: str) -> list[tuple[str, Name]]:
        """The messages that name it."""
        (rows,) = await self._requests.run([self._named.bind((file or " ",))])
        return [(row[0], Name(row[1], row[2], unstored(row[3]), row[4])) for row in rows]

    async def unname_file(self, file: str, conversation: str, name: Name) -> None:
        """It names it no more."""
        await self._requests.run([self._unname.bind((file, conversation, *_stored(name)))])

    # Terms and reports.

    async def terms(self) -> Terms:
        """As they stand."""
        (rows,) = await self._requests.run([self._terms.bind(())])
        return Terms(*[value or 0 for value in rows[0]]) if rows else Terms(0, 0, 0)

    async def set_terms(self, terms: Terms) -> None:
        """From now on."""
        await self._requests.run([self._set_terms.bind(terms)])

    async def report(self, report: Report) -> None:
        """Keep it."""
        await self._requests.run([self._report.bind((report.report, report.reporter, pack_report(report)))])

    async def reports(self, after: str, limit: int) -> list[Report]:
        """By id."""
        (rows,) = await self._requests.run([self._reports.bind((after, limit))])
        return [unpack_report(*row) for row in rows]

    async def drop_report(self, report: str) -> None:
        """Forget it."""
        await self._requests.run([self._drop_report.bind((report or " ",))])


def _other_of(mark: Mark, inside: Collection[tuple[str, str]]) -> str | None:
    if is_group(mark.conversation):
        return mark.conversation if (mark.user, mark.conversation) in inside else None
    return other_of(mark.conversation, mark.user)


def _member(other: str, span: int | None, hidden: int | None, private: int | None, public: int | None) -> Member:
    return Member(other, span, hidden or 0, Marks(private or 0, public or 0))


def _stored(name: Name) -> tuple[str, str, int, int]:
    return name.author, name.device, stored(name.stream), name.id
