"""Accounts, devices, and the chain of each device's sessions.

Owns their statements. All writes to a user's partition are conditional (Paxos): one of many gets a name, and a session
is followed by exactly one other, however many brokers are asked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from protocol.errors import AlreadyExistsError, NotFoundError
from store.cassandra.connecting import Connection
from store.cassandra.keys import bucket_of
from store.cassandra.requests import Requests, Rows
from store.interface import Account, Device
from store.sessions import NoSession, SessionStart, Standing

_ACCOUNT = "SELECT password_hash, created_us, deleted_us, disabled, epoch FROM users WHERE user = ? LIMIT 1"
_LIST = "INSERT INTO names (bucket, user) VALUES (?, ?)"
_NEW_ACCOUNT = "INSERT INTO users (user, password_hash, created_us, invitation) VALUES (?, ?, ?, ?) IF NOT EXISTS"
_DEVICES = "SELECT user, device, label, added_us, removed_us, deleted_us, login FROM users WHERE user IN ?"
_STANDS = "IF created_us != null AND deleted_us = null"
_SET_DISABLED = f"UPDATE users SET disabled = ?, epoch = ?, reset_code = null WHERE user = ? {_STANDS}"
_NEW_EPOCH = f"UPDATE users SET epoch = ? WHERE user = ? {_STANDS}"
_USERS = "SELECT DISTINCT user FROM users WHERE token(user) > token(?) LIMIT ?"
_FIRST_USERS = "SELECT DISTINCT user FROM users LIMIT ?"
_STANDING = "SELECT user, device, removed_us, deleted_us, disabled, login FROM users WHERE user IN ?"
_NEW_DEVICE = (
    "INSERT INTO users (user, device, label, added_us, session, previous_session) VALUES (?, ?, ?, ?, 0, 0) "
    "IF NOT EXISTS"
)
_MARK_REMOVED = "UPDATE users SET removed_us = ? WHERE user = ? AND device = ? IF EXISTS"
_SESSION = "SELECT session, previous_session, removed_us, deleted_us FROM users WHERE user = ? AND device = ?"
_SESSIONS = (
    "SELECT user, device, session, previous_session, start, tries, login, removed_us, deleted_us, disabled "
    "FROM users WHERE user IN ?"
)
# Whether it is still the login that was read counts even where none was told: it costs nothing.
_NEXT_SESSION = (
    "UPDATE users SET session = ?, previous_session = ?, start = ?, tries = ? WHERE user = ? AND device = ? "
    "IF session = ? AND previous_session = ? AND start = ? AND tries = ? AND login = ? "
    "AND removed_us = null AND disabled = null"
)

_USERS_AT_ONCE = 25
_U64 = 1 << 64
_I63 = 1 << 63


class Accounts:
    """The operations on the table `users`."""

    def __init__(self, connection: Connection, requests: Requests, clock: Callable[[], float]) -> None:
        self._requests = requests
        self._clock = clock
        self._account = connection.prepare(_ACCOUNT)
        self._list = connection.prepare(_LIST)
        self._new_account = connection.prepare(_NEW_ACCOUNT)
        self._set_disabled = connection.prepare(_SET_DISABLED)
        self._devices = connection.prepare(_DEVICES)
        self._new_device = connection.prepare(_NEW_DEVICE)
        self._mark_removed = connection.prepare(_MARK_REMOVED)
        self._session = connection.prepare(_SESSION)
        self._sessions = connection.prepare(_SESSIONS)
        self._next_session = connection.prepare(_NEXT_SESSION)
        self._new_epoch = connection.prepare(_NEW_EPOCH)
        self._users = connection.prepare(_USERS)
        self._first_users = connection.prepare(_FIRST_USERS)
        self._standing = connection.prepare(_STANDING)

    def _now_us(self) -> int:
        return int(self._clock() * 1_000_000)

    async def create_account(self, user: str, password_hash: str, invitation: str) -> Account:
        """Raises `AlreadyExistsError`."""
        await self._requests.run([self._list.bind((bucket_of(user), user))])
        now_us = self._now_us()
        new = self._new_account.bind((user, password_hash, now_us, invitation))
        answer = await self._requests.conditional(new)
        if answer["[applied]"]:
            return Account(user, password_hash, now_us // 1000)
        # A salted hash is never the same twice by chance: this is the same call, repeated.
        if answer["password_hash"] == password_hash:
            made_ms, epoch = answer["created_us"] // 1000, answer["epoch"] or 0
            return Account(user, password_hash, made_ms, bool(answer["disabled"]), epoch)
        raise AlreadyExistsError(f'the user id "{user}" is taken: choose another')

    async def account(self, user: str) -> Account | None:
        """The account, or None."""
        ((*rows,),) = await self._requests.run([self._account.bind((_key(user),))])
        if not rows or rows[0][2] is not None:
            return None
        return Account(user, rows[0][0], rows[0][1] // 1000, bool(rows[0][3]), rows[0][4] or 0)

    async def users(self, after: str, limit: int) -> list[str]:
        """Users from behind `after` on, in the order of their keys' tokens."""
        query = self._users.bind((after, limit)) if after else self._first_users.bind((limit,))
        (rows,) = await self._requests.run([query])
        return [row[0] for row in rows]

    async def set_disabled(self, user: str, disabled: bool) -> None:
        """Disable or enable an account. Raises `NotFoundError`."""
        change = self._set_disabled.bind((disabled or None, self._now_us(), _key(user)))
        await self._change_account(change, user)

    async def new_epoch(self, user: str) -> None:
        """Whatever was checked of the account's password before is void. Raises `NotFoundError`."""
        await self._change_account(self._new_epoch.bind((self._now_us(), _key(user))), user)

    async def _change_account(self, change: Any, user: str) -> None:
        if not (await self._requests.conditional(change))["[applied]"]:
            raise NotFoundError(f'there is no user "{user}"')

    async def add_device(self, user: str, device: str, label: str) -> Device:
        """Raises `NotFoundError`, `AlreadyExistsError`."""
        if await self.account(user) is None:
            raise NotFoundError(f'there is no user "{user}"')
        now_us = self._now_us()
        answer = await self._requests.conditional(self._new_device.bind((user, device, label, now_us)))
        if not answer["[applied]"]:
            if answer["removed_us"] is not None:
                raise AlreadyExistsError(f'the device "{device}" was removed: mint a new id')
            label, now_us = answer["label"], answer["added_us"]
        # Read after it stands: of two first ones at once, at least the later sees the other.
        (rows,) = await self._requests.run([self._devices.bind(([user],))])
        return Device(device, label, now_us // 1000, first=len(rows) == 1)

    async def list_devices(self, user: str) -> list[Device]:
        """Oldest first, without removed ones."""
        found = await self._read([user])
        return [
            Device(device, label, added_us // 1000, logged_in=bool(login))
            for added_us, device, label, login in found[user] or []
        ]

    async def devices(self, users: Collection[str]) -> dict[str, tuple[str, ...] | None]:
        """Oldest first, without removed ones; None for a user that does not exist."""
        found = await self._read(list(users))
        return {
            user: None if devices is None else tuple([device for _, device, *_ in devices])
            for user, devices in found.items()
        }

    async def _read(self, users: list[str]) -> dict[str, list[tuple[int, str, str, str | None]] | None]:
        found: dict[str, list[tuple[int, str, str, str | None]] | None] = dict.fromkeys(users)
        for user, device, label, added_us, removed_us, deleted_us, login in await self._of_users(self._devices, users):
            if deleted_us is not None:
                continue
            devices = found[user] or []
            found[user] = devices
            if device is not None and removed_us is None:
                devices.append((added_us, device, label, login))
        for listed in found.values():
            if listed:
                listed.sort(key=lambda one: one[:2])
        return found

    async def _of_users(self, statement: Any, users: Collection[str]) -> Rows:
        """What a statement with `user IN ?` says of many users, a few of them in one request."""
        keys = [_key(user) for user in users]
        chunks = [keys[start : start + _USERS_AT_ONCE] for start in range(0, len(keys), _USERS_AT_ONCE)]
        answers = await self._requests.run([statement.bind((chunk,)) for chunk in chunks])
        return [row for rows in answers for row in rows]

    async def mark_removed(self, user: str, device: str) -> None:
        """Mark the device removed, if it is not yet. Raises `NotFoundError` if there never was one."""
        (rows,) = await self._requests.run([self._session.bind((_key(user), device))])
        if not rows:
            raise NotFoundError(f'"{user}" has no device "{device}"')
        if rows[0][2] is None:
            await self._requests.conditional(self._mark_removed.bind((self._now_us(), user, device)))

    # Sessions.

    async def standing(self, users: Collection[str]) -> dict[str, Standing | None]:
        """What the sessions of each user are held against; None for a user that does not exist."""
        logins: dict[str, dict[str, str]] = {}
        disabled = set()
        for user, device, removed_us, deleted_us, is_disabled, login in await self._of_users(self._standing, users):
            if deleted_us is not None:
                continue
            of_user = logins.setdefault(user, {})
            if device is not None and removed_us is None:
                of_user[device] = login or ""
            if is_disabled:
                disabled.add(user)
        return {user: Standing(user in disabled, logins[user]) if user in logins else None for user in users}

    async def begin_sessions(self, starts: Sequence[SessionStart]) -> list[int | NoSession]:
        """Name each device's newest session; returns the one before, or why there is none.

        A start that names the session before the newest is a repeat that comes late, and changes nothing.
        """
        answers: list[int | NoSession] = [NoSession.NO_DEVICE] * len(starts)
        rest = list(enumerate(starts))
        while rest:
            # Of several of one device, one after the other, in their order.
            now: dict[tuple[str, str], tuple[int, SessionStart]] = {}
            later = []
            for at, start in rest:
                if now.setdefault((start.user, start.device), (at, start))[0] != at:
                    later.append((at, start))
            for at, previous in await self._begin(list(now.values())):
                answers[at] = previous
            rest = later
        return answers

    async def _begin(self, starts: list[tuple[int, SessionStart]]) -> list[tuple[int, int | NoSession]]:
        """All of different devices. A read tells what probably stands there, the condition makes sure."""
        rows = await self._of_users(self._sessions, {start.user for _, start in starts})
        # A user without any device has one row, of the account.
        known = {
            (user, device): _Chain(
                session, previous, start, tries, login, removed_us is not None or deleted_us is not None, disabled
            )
            for user, device, session, previous, start, tries, login, removed_us, deleted_us, disabled in rows
            if device is not None
        }
        answers: list[tuple[int, int | NoSession]] = []
        open_ones: list[tuple[int, SessionStart, _Chain]] = []
        for at, start in starts:
            chain = known.get((start.user, start.device))
            if chain is None:
                answers.append((at, NoSession.NO_DEVICE))
            else:
                open_ones.append((at, start, chain))
        while open_ones:
            answered = [(one, one[2].answer(one[1])) for one in open_ones]
            answers += [(at, answer) for (at, _, _), answer in answered if answer is not None]
            open_ones = [one for one, answer in answered if answer is None]
            swaps = [self._next_session.bind(chain.swap(start)) for _, start, chain in open_ones]
            taken = []
            for (at, start, chain), there in zip(open_ones, await self._requests.conditionals(swaps), strict=True):
                if there["[applied]"]:
                    answers.append((at, chain.session % _U64))
                elif there.get("session") is None:
                    answers.append((at, NoSession.NO_DEVICE))
                else:
                    taken.append((at, start, _Chain.found(there)))
            open_ones = taken
        return answers


@dataclass(frozen=True, slots=True)
class _Chain:
    """What stands of one device."""

    session: int
    previous: int
    start: int | None
    tries: int | None
    login: str | None
    removed: bool
    disabled: bool | None

    @classmethod
    def found(cls, row: dict[str, Any]) -> _Chain:
        """As a swap that was not applied tells it."""
        return cls(
            row["session"],
            row["previous_session"],
            row["start"],
            row["tries"],
            row["login"],
            row["removed_us"] is not None,
            row["disabled"],
        )

    def answer(self, start: SessionStart) -> int | NoSession | None:
        """What `start` gets; None: it becomes the newest."""
        logins = {} if self.removed else {start.device: self.login or ""}
        refused = Standing(bool(self.disabled), logins).refuses(start.device, start.login)
        if refused is not None:
            return refused
        session = _signed(start.session)
        if session == self.session:
            return self.previous % _U64
        if session == self.previous:
            return 0
        if start.start and _signed(start.start) == self.start and start.tries < (self.tries or 0):
            return NoSession.LATE
        return None

    def swap(self, start: SessionStart) -> tuple[object, ...]:
        """The values of `_NEXT_SESSION`."""
        new = (_signed(start.session), self.session, _signed(start.start), start.tries)
        return (
            *new,
            start.user,
            start.device,
            self.session,
            self.previous,
            self.start,
            self.tries,
            self.login,
        )


def _signed(session: int) -> int:
    return session - _U64 if session >= _I63 else session


def _key(user: str) -> str:
    """Cassandra refuses an empty key; a user id is never a space."""
    return user or " "
