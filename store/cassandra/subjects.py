"""`Subjects` over a Cassandra cluster.

Owns the tables `oidc_subjects`, which says whose a subject is, and `oidc_subjects_of`, by which those of an account are
found: a row there may be too many, and is none too few. What changes the first is conditional.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from protocol.errors import NotFoundError, StoreError
from store.cassandra.accounts import Accounts
from store.cassandra.connecting import Connection
from store.cassandra.requests import Requests
from store.subjects import Subject, Subjects

_ONE = "SELECT user FROM oidc_subjects WHERE issuer = ? AND subject = ?"
_NEW = "INSERT INTO oidc_subjects (issuer, subject, user, linked_ms) VALUES (?, ?, ?, ?) IF NOT EXISTS"
_MOVE = "UPDATE oidc_subjects SET user = ?, linked_ms = ? WHERE issuer = ? AND subject = ? IF user = ?"
_DROP = "DELETE FROM oidc_subjects WHERE issuer = ? AND subject = ? IF user = ?"
_LIST = "INSERT INTO oidc_subjects_of (user, issuer, subject) VALUES (?, ?, ?)"
_LISTED = "SELECT issuer, subject FROM oidc_subjects_of WHERE user = ?"
_UNLIST = "DELETE FROM oidc_subjects_of WHERE user = ? AND issuer = ? AND subject = ?"

_TRIES = 20


class CassandraSubjects(Subjects):
    """`clock` gives Unix time in seconds."""

    def __init__(
        self, connection: Connection, requests: Requests, clock: Callable[[], float], accounts: Accounts
    ) -> None:
        self._requests = requests
        self._clock = clock
        self._accounts = accounts
        self._one = connection.prepare(_ONE)
        self._new = connection.prepare(_NEW)
        self._move = connection.prepare(_MOVE)
        self._drop = connection.prepare(_DROP)
        self._list = connection.prepare(_LIST)
        self._listed = connection.prepare(_LISTED)
        self._unlist = connection.prepare(_UNLIST)

    async def user_of(self, subject: Subject) -> str | None:
        (rows,) = await self._requests.run([self._one.bind(subject)], serially=True)
        return rows[0][0] if rows else None

    async def link(self, subject: Subject, user: str) -> str:
        if await self._accounts.account(user) is None:
            raise NotFoundError(f'there is no user "{user}"')
        await self._requests.run([self._list.bind((user, *subject))])
        now_ms = int(self._clock() * 1000)
        for _ in range(_TRIES):
            there = await self._requests.conditional(self._new.bind((*subject, user, now_ms)))
            if there["[applied]"] or there["user"] == user:
                return user
            other: str = there["user"]
            if await self._accounts.account(other) is not None:
                await self._requests.run([self._unlist.bind((user, *subject))])
                return other
            # What is left of an account that has ended.
            if (await self._requests.conditional(self._move.bind((user, now_ms, *subject, other))))["[applied]"]:
                return user
        raise StoreError(f'whose "{subject.subject}" of {subject.issuer} is changes too often to follow')

    async def unlink(self, subject: Subject, user: str) -> bool:
        gone = await self._requests.conditional(self._drop.bind((*subject, user or " ")))
        await self._requests.run([self._unlist.bind((user or " ", *subject))])
        return bool(gone["[applied]"])

    async def of(self, user: str) -> Sequence[Subject]:
        (listed,) = await self._requests.run([self._listed.bind((user or " ",))])
        found = [Subject(*row) for row in listed]
        answers = await self._requests.run([self._one.bind(one) for one in found], serially=True)
        return [one for one, rows in zip(found, answers, strict=True) if rows and rows[0][0] == user]

    async def forget(self, user: str) -> None:
        """The account has ended."""
        (listed,) = await self._requests.run([self._listed.bind((user,))])
        for row in listed:
            await self.unlink(Subject(*row), user)
