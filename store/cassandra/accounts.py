"""Accounts, devices, and the chain of each device's sessions.

Owns their statements. All writes to a user's partition are conditional (Paxos): one of many gets a name, and a session
is followed by exactly one other, however many brokers are asked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from protocol.errors import AlreadyExistsError, NotFoundError
from store.cassandra.connecting import Connection
from store.cassandra.keys import bucket_of
from store.cassandra.requests import Requests, Rows
from store.interface import Account, Device, SessionStart

_ACCOUNT = "SELECT password_hash, created_us, deleted_us, disabled FROM users WHERE user = ? LIMIT 1"
_LIST = "INSERT INTO names (bucket, user) VALUES (?, ?)"
_NEW_ACCOUNT = "INSERT INTO users (user, password_hash, created_us) VALUES (?, ?, ?) IF NOT EXISTS"
_DEVICES = "SELECT user, device, label, added_us, removed_us, deleted_us, login FROM users WHERE user IN ?"
_SET_DISABLED = "UPDATE users SET disabled = ? WHERE user = ? IF created_us != null AND deleted_us = null"
_NEW_DEVICE = (
    "INSERT INTO users (user, device, label, added_us, session, previous_session) VALUES (?, ?, ?, ?, 0, 0) "
    "IF NOT EXISTS"
)
_MARK_REMOVED = "UPDATE users SET removed_us = ? WHERE user = ? AND device = ? IF EXISTS"
_SESSION = "SELECT session, previous_session, removed_us, deleted_us FROM users WHERE user = ? AND device = ?"
_SESSIONS = (
    "SELECT user, device, session, previous_session, removed_us, deleted_us, disabled FROM users WHERE user IN ?"
)
_NEXT_SESSION = (
    "UPDATE users SET session = ?, previous_session = ? WHERE user = ? AND device = ? "
    "IF session = ? AND previous_session = ? AND removed_us = null AND disabled = null"
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

    def _now_us(self) -> int:
        return int(self._clock() * 1_000_000)

    async def create_account(self, user: str, password_hash: str) -> Account:
        """Raises `AlreadyExistsError`."""
        await self._requests.run([self._list.bind((bucket_of(user), user))])
        now_us = self._now_us()
        answer = await self._requests.conditional(self._new_account.bind((user, password_hash, now_us)))
        if answer["[applied]"]:
            return Account(user, password_hash, now_us // 1000)
        # A salted hash is never the same twice by chance: this is the same call, repeated.
        if answer["password_hash"] == password_hash:
            return Account(user, password_hash, answer["created_us"] // 1000, bool(answer["disabled"]))
        raise AlreadyExistsError(f'the user id "{user}" is taken: choose another')

    async def account(self, user: str) -> Account | None:
        """The account, or None."""
        ((*rows,),) = await self._requests.run([self._account.bind((_key(user),))])
        if not rows or rows[0][2] is not None:
            return None
        return Account(user, rows[0][0], rows[0][1] // 1000, bool(rows[0][3]))

    async def set_disabled(self, user: str, disabled: bool) -> None:
        """Disable or enable an account. Raises `NotFoundError`."""
        answer = await self._requests.conditional(self._set_disabled.bind((disabled or None, _key(user))))
        if not answer["[applied]"]:
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

    async def begin_sessions(self, starts: Sequence[SessionStart]) -> list[int | None]:
        """Name each device's newest session; returns the one before, None without such a device or if disabled.

        A start that names the session before the newest is a repeat that comes late, and changes nothing.
        """
        answers: list[int | None] = [None] * len(starts)
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

    async def _begin(self, starts: list[tuple[int, SessionStart]]) -> list[tuple[int, int | None]]:
        """All of different devices. A read tells what probably stands there, the condition makes sure."""
        rows = await self._of_users(self._sessions, {start.user for _, start in starts})
        # A user without any device has one row, of the account.
        known = {
            (user, device): (new, old)
            for user, device, new, old, removed_us, deleted_us, disabled in rows
            if removed_us is None and deleted_us is None and not disabled
        }
        answers: list[tuple[int, int | None]] = []
        open_ones: list[tuple[int, SessionStart, int, int]] = []
        for at, start in starts:
            if (chain := known.get((start.user, start.device))) is not None:
                open_ones.append((at, start, *chain))
            else:
                answers.append((at, None))
        while open_ones:
            answers += [(at, old % _U64) for at, start, new, old in open_ones if new == _signed(start.session)]
            answers += [(at, 0) for at, start, _, old in open_ones if old == _signed(start.session)]
            open_ones = [one for one in open_ones if _signed(one[1].session) not in one[2:]]
            swaps = [
                self._next_session.bind((_signed(start.session), new, start.user, start.device, new, old))
                for _, start, new, old in open_ones
            ]
            taken = []
            for (at, start, new, _), answer in zip(open_ones, await self._requests.conditionals(swaps), strict=True):
                if answer["[applied]"]:
                    answers.append((at, new % _U64))
                elif answer.get("session") is None or answer["removed_us"] is not None or answer["disabled"]:
                    answers.append((at, None))
                else:
                    taken.append((at, start, answer["session"], answer["previous_session"]))
            open_ones = taken
        return answers


def _signed(session: int) -> int:
    return session - _U64 if session >= _I63 else session


def _key(user: str) -> str:
    """Cassandra refuses an empty key; a user id is never a space."""
    return user or " "
