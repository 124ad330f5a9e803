"""Profiles, passwords, the search, and the end of accounts.

Owns their statements. Writes to the table `users` are conditional, as all are (`accounts`); a row of `names` that leads
to nobody costs a read, so it is written before the account is, and removed after it has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from protocol.errors import AlreadyExistsError, NotFoundError
from store.cassandra.connecting import Connection
from store.cassandra.keys import bucket_of
from store.cassandra.requests import Requests
from store.interface import COMMON, Profile

_PROFILES = (
    "SELECT user, display_name, hides_presence, created_us, deleted_us, friends_may_add_me FROM users "
    "WHERE user IN ? PER PARTITION LIMIT 1"
)
_STANDS = "IF created_us != null AND deleted_us = null"
_PASSWORD = (
    "UPDATE users SET password_hash = ?, epoch = ?, reset_code = null WHERE user = ? "
    "IF password_hash = ? AND deleted_us = null"
)
_NAME = f"UPDATE users SET display_name = ? WHERE user = ? {_STANDS}"
_HIDES = f"UPDATE users SET hides_presence = ? WHERE user = ? {_STANDS}"
_MAY_ADD = f"UPDATE users SET friends_may_add_me = ? WHERE user = ? {_STANDS}"
_NAMES = "SELECT user FROM names WHERE bucket = ? AND user >= ? AND user < ? LIMIT ?"
_UNLIST = "DELETE FROM names WHERE bucket = ? AND user = ?"
_END = (
    "UPDATE users SET deleted_us = ?, password_hash = '', display_name = null, reset_code = null "
    f"WHERE user = ? {_STANDS}"
)
_DEVICES = "SELECT device, created_us, removed_us FROM users WHERE user = ?"
_END_DEVICE = (
    "UPDATE users SET removed_us = ?, login = '', label = '' WHERE user = ? AND device = ? IF removed_us = null"
)
_DROP = "DELETE FROM inbox USING TIMESTAMP ? WHERE user = ? AND device = ?"

_USERS_AT_ONCE = 25
_DAY_US = 86_400_000_000
# Just above a user id, and above all that begin with it.
_NEXT, _LAST = " ", "\x7f"


class Profiles:
    """These operations on the tables `users`, `names` and `inbox`."""

    def __init__(self, connection: Connection, requests: Requests, clock: Callable[[], float]) -> None:
        self._requests = requests
        self._clock = clock
        self._profiles = connection.prepare(_PROFILES)
        self._password = connection.prepare(_PASSWORD)
        self._name = connection.prepare(_NAME)
        self._hides = connection.prepare(_HIDES)
        self._may_add = connection.prepare(_MAY_ADD)
        self._names = connection.prepare(_NAMES)
        self._unlist = connection.prepare(_UNLIST)
        self._end = connection.prepare(_END)
        self._devices = connection.prepare(_DEVICES)
        self._end_device = connection.prepare(_END_DEVICE)
        self._drop = connection.prepare(_DROP)

    def _now_us(self) -> int:
        return int(self._clock() * 1_000_000)

    async def change_password(self, user: str, old_hash: str, new_hash: str) -> None:
        """Swap the hash. Raises `NotFoundError`, `AlreadyExistsError`."""
        answer = await self._requests.conditional(self._password.bind((new_hash, self._now_us(), user, old_hash)))
        if answer["[applied]"]:
            return
        kept = answer.get("password_hash")
        if kept is None or answer["deleted_us"] is not None:
            raise NotFoundError(f'there is no user "{user}"')
        if kept != new_hash:
            raise AlreadyExistsError("the password was changed meanwhile: log in with the new one")

    async def profiles(self, users: Collection[str]) -> dict[str, Profile]:
        """The profile of each of these users that exists."""
        keys = [user for user in users if user]
        chunks = [keys[start : start + _USERS_AT_ONCE] for start in range(0, len(keys), _USERS_AT_ONCE)]
        answers = await self._requests.run([self._profiles.bind((chunk,)) for chunk in chunks])
        return {
            user: Profile(user, name or "", bool(hides), created_us // 1000, bool(may_add))
            for rows in answers
            for user, name, hides, created_us, deleted_us, may_add in rows
            if deleted_us is None
        }

    async def change_profile(
        self, user: str, display_name: str | None, hides_presence: bool | None, friends_may_add_me: bool | None
    ) -> Profile:
        """Change what is not None. Raises `NotFoundError`."""
        changes: list[Any] = []
        if display_name is not None:
            changes.append(self._name.bind((display_name, user)))
        if hides_presence is not None:
            changes.append(self._hides.bind((hides_presence, user)))
        if friends_may_add_me is not None:
            changes.append(self._may_add.bind((friends_may_add_me, user)))
        for change in changes:
            await self._requests.conditional(change)
        found = await self.profiles([user])
        if user not in found:
            raise NotFoundError(f'there is no user "{user}"')
        return found[user]

    async def search(self, prefix: str, after: str, limit: int) -> list[Profile]:
        """Profiles that match, by id, from behind `after` on."""
        found: list[Profile] = []
        start = max(prefix, after + _NEXT if after else "")
        while True:
            (rows,) = await self._requests.run([self._names.bind((bucket_of(prefix), start, prefix + _LAST, limit))])
            users = [row[0] for row in rows]
            known = await self.profiles(users)
            found += [known[user] for user in users if user in known]
            if len(found) >= limit or len(users) < limit:
                return found[:limit]
            start = users[-1] + _NEXT

    async def delete(self, user: str) -> None:
        """End the account, then its devices, then drop what waits. Raises `NotFoundError`."""
        answer = await self._requests.conditional(self._end.bind((self._now_us(), user)))
        if not answer["[applied]"] and answer.get("created_us") is None:
            raise NotFoundError(f'there is no user "{user}"')
        (rows,) = await self._requests.run([self._devices.bind((user,))])
        devices = [device for device, _, _ in rows if device is not None]
        now_us = self._now_us()
        standing = [device for device, _, removed_us in rows if device is not None and removed_us is None]
        await self._requests.conditionals([self._end_device.bind((now_us, user, device)) for device in standing])
        # Whatever the clocks say, and for what is still on its way: nobody will ever read here.
        drops = [self._drop.bind((now_us + _DAY_US, user, device)) for device in [*devices, COMMON]]
        await self._requests.run([*drops, self._unlist.bind((bucket_of(user), user))])
