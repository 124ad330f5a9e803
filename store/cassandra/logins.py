"""Each device's login.

Owns its statements. Conditional, as all writes to the table `users` are: of two who present one refresh token, one is
the first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocol.errors import NotFoundError, OutdatedError, StoreError
from store.cassandra.connecting import Connection
from store.cassandra.requests import Requests
from store.interface import Account, Profile
from store.logins import Login, Refresh, nonce_of, refresh

_LOGIN = (
    "SELECT login, generation, refreshed_us, removed_us, deleted_us, disabled, nonce, "
    "display_name, hides_presence, created_us, friends_may_add_me FROM users WHERE user = ? AND device = ?"
)
_STANDS = "IF added_us != null AND removed_us = null"
_BEGIN = (
    "UPDATE users SET login = ?, generation = 1, refreshed_us = ?, nonce = null "
    f"WHERE user = ? AND device = ? {_STANDS}"
)
_BEGIN_CHECKED = f"{_BEGIN} AND password_hash = ? AND epoch = ? AND disabled = null AND deleted_us = null"
_REFRESH = (
    "UPDATE users SET generation = ?, refreshed_us = ?, nonce = ? WHERE user = ? AND device = ? "
    "IF login = ? AND generation = ? AND removed_us = null"
)
_END = "UPDATE users SET login = '' WHERE user = ? AND device = ? IF login = ?"
_RENAME = f"UPDATE users SET label = ? WHERE user = ? AND device = ? {_STANDS}"

_TRIES = 20


class Logins:
    """These operations on the table `users`."""

    def __init__(self, connection: Connection, requests: Requests, clock: Callable[[], float]) -> None:
        self._requests = requests
        self._clock = clock
        self._login = connection.prepare(_LOGIN)
        self._begin = connection.prepare(_BEGIN)
        self._begin_checked = connection.prepare(_BEGIN_CHECKED)
        self._refresh = connection.prepare(_REFRESH)
        self._end = connection.prepare(_END)
        self._rename = connection.prepare(_RENAME)

    def _now_us(self) -> int:
        return int(self._clock() * 1_000_000)

    async def rename_device(self, user: str, device: str, label: str) -> None:
        """Raises `NotFoundError`."""
        await self._change(self._rename.bind((label, user, device)), user, device)

    async def begin(self, user: str, device: str, login: str, checked: Account | None) -> None:
        """Log the device in. Raises `NotFoundError`, and `OutdatedError` unless the account is as it was `checked`."""
        values = (login, self._now_us(), user, device)
        if checked is None:
            await self._change(self._begin.bind(values), user, device)
            return
        # An account whose epoch never changed has none.
        statement = self._begin_checked.bind((*values, checked.password_hash, checked.epoch or None))
        there = await self._requests.conditional(statement)
        if there["[applied]"]:
            return
        if there.get("added_us") is None or there["removed_us"] is not None:
            raise NotFoundError(f'"{user}" has no device "{device}"')
        raise OutdatedError(f'the account "{user}" has changed meanwhile')

    async def _change(self, statement: Any, user: str, device: str) -> None:
        if not (await self._requests.conditional(statement))["[applied]"]:
            raise NotFoundError(f'"{user}" has no device "{device}"')

    async def one(self, user: str, device: str) -> Login | None:
        """The device's login; None without such a device."""
        (rows,) = await self._requests.run([self._login.bind((user or " ", device))])
        if not rows:
            return None
        login, generation, refreshed_us, removed_us, deleted_us, disabled, nonce, *told = rows[0]
        if removed_us is not None or deleted_us is not None:
            return None
        name, hides, created_us, may_add = told
        profile = Profile(user, name or "", bool(hides), created_us // 1000, bool(may_add))
        # A device of before logins were kept has none.
        return Login(login or "", generation or 0, (refreshed_us or 0) // 1000, bool(disabled), profile, nonce or "")

    async def refresh(
        self,
        user: str,
        device: str,
        login: str,
        generation: int,
        grace_ms: int,
        lifetime_ms: int,
        nonce: str,
        bare_grace_ms: int | None,
    ) -> Refresh:
        """Use a refresh token. When many do so at once, one of them is `DONE`."""
        for _ in range(_TRIES):
            kept = await self.one(user, device)
            if kept is None:
                return Refresh.UNKNOWN
            now_us = self._now_us()
            outcome = refresh(kept, login, generation, now_us // 1000, grace_ms, lifetime_ms, nonce, bare_grace_ms)
            if outcome is Refresh.DONE:
                made = nonce_of(generation + 1, nonce) or None
                swap = self._refresh.bind((generation + 1, now_us, made, user, device, login, generation))
                if not (await self._requests.conditional(swap))["[applied]"]:
                    continue  # somebody was quicker; or this very call was, in a try whose answer was lost
            elif outcome is Refresh.REUSED:
                await self._requests.conditional(self._end.bind((user, device, login)))
            return outcome
        raise StoreError(f'the login of "{user}" changes too often to follow')

    async def end(self, user: str, device: str) -> None:
        """Log the device out, if it is logged in."""
        for _ in range(_TRIES):
            kept = await self.one(user, device)
            if kept is None or not kept.id:
                return
            if (await self._requests.conditional(self._end.bind((user, device, kept.id))))["[applied]"]:
                return
        raise StoreError(f'the login of "{user}" changes too often to follow')
