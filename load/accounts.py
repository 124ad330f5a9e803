"""Accounts to log in as: over HTTP, kept in a file since they are dear, or straight into the store.

Owns the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import jwt

from client.api.logins import Login, UserApi
from client.tls import Trust
from load.spec import Account
from protocol.errors import (
    AlreadyExistsError,
    ConfigError,
    DeviceRemovedError,
    TokenRejectedError,
    UnavailableError,
    UnreachableError,
)
from sparrow.config.settings import Settings
from store import HistorySettings, StoreSettings, open_store
from userapi.passwords import Passwords
from userapi.settings import UserApiSettings
from userapi.tokens import TokenMinter

AT_ONCE = 16
AT_ONCE_IN_STORE = 200
TRIES = 6
"""Of a request that the user API cannot carry out now; the waits double, a minute in all."""
DEVICE = "load"
LIFETIME_S = 7 * 86400.0
"""How long tokens that we mint ourselves are good for, in seconds."""

Answer = TypeVar("Answer")


@dataclass
class Kept:
    """An account in the file."""

    user: str
    device: str = ""
    token: str = ""
    refresh_token: str = ""

    def good_for_s(self) -> float:
        """How long its token is good for."""
        if not self.token:
            return 0.0
        claims = jwt.decode(self.token, options={"verify_signature": False})
        return float(claims["exp"]) - time.time()


class ApiAccounts:
    """Accounts at a user API. All of them have one password, which is in the file."""

    def __init__(self, url: str, trust: Trust, file: Path | None) -> None:
        """Raises `ConfigError` for a file that is another one's, and for what is no URL."""
        self._api = UserApi(url, trust=trust)
        self._url = url.rstrip("/")
        self._file = file
        self._password = secrets.token_urlsafe(18)
        self._prefix = f"load-{secrets.token_hex(3)}"
        self._kept: list[Kept] = []
        self.connectors: list[str] = []
        """As the user API names them."""
        if file is not None and file.exists():
            self._read(file)

    def _read(self, file: Path) -> None:
        try:
            values = json.loads(file.read_text())
            kept, url = [Kept(**each) for each in values["accounts"]], values["api"]
            self._password, self._prefix = values["password"], values["prefix"]
            self.connectors = values["connectors"]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ConfigError(f"--accounts {file}: not a file of accounts ({error}); name another one") from None
        if url != self._url:
            raise ConfigError(f"--accounts {file} is of {url}, not of {self._url}: name another one")
        self._kept = kept

    def save(self) -> None:
        """Write the file, for nobody else to read."""
        if self._file is None:
            return
        values = {
            "api": self._url,
            "password": self._password,
            "prefix": self._prefix,
            "connectors": self.connectors,
            "accounts": [asdict(each) for each in self._kept],
        }
        new = self._file.with_name(self._file.name + ".new")
        new.touch(0o600)
        new.write_text(json.dumps(values))
        new.replace(self._file)

    async def get(
        self, count: int, good_for_s: float, tell: Callable[[int], None] = lambda ready: None
    ) -> list[Account]:
        """So many, with tokens that are good for so long, or are new. What was made is kept even if this fails.

        `tell` hears how many are ready.

        Raises `ConfigError` when the user API's limits are in the way, and what `UserApi` raises.
        """
        self._kept += [Kept(f"{self._prefix}-{n}") for n in range(len(self._kept), count)]
        gate = asyncio.Semaphore(AT_ONCE)

        ready = 0

        async def one(kept: Kept) -> None:
            nonlocal ready
            async with gate:
                if kept.good_for_s() < good_for_s:
                    await self._renew(kept)
            ready += 1
            tell(ready)

        try:
            async with asyncio.TaskGroup() as group:
                for kept in self._kept[:count]:
                    group.create_task(one(kept))
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        finally:
            self.save()
        return [Account(kept.user, kept.device, kept.token) for kept in self._kept[:count]]

    async def further(self, users: Sequence[str]) -> list[Account]:
        """A new device of each of these users, whose accounts were got before. Raises what `get` raises."""
        return await _new_devices(self._api, users, self._password, self._patiently)

    async def _renew(self, kept: Kept) -> None:
        """Without the password where that is possible: checking one costs the server 25 ms of CPU."""
        login = await self._refreshed(kept) or await self._with_password(kept)
        kept.device, kept.token, kept.refresh_token = login.device, login.token, login.refresh_token
        self.connectors = list(login.connectors)

    async def _refreshed(self, kept: Kept) -> Login | None:
        if kept.refresh_token:
            with contextlib.suppress(TokenRejectedError):
                return await self._patiently(lambda: self._api.refresh(kept.refresh_token))
        return None

    async def _with_password(self, kept: Kept) -> Login:
        if not kept.device:
            await self._patiently(lambda: self._api.register(kept.user, self._password))
        with contextlib.suppress(DeviceRemovedError):
            return await self._patiently(lambda: self._api.login(kept.user, self._password, kept.device, "load test"))
        return await self._patiently(lambda: self._api.login(kept.user, self._password, "", "load test"))

    async def _patiently(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        for tries in range(TRIES):
            try:
                return await ask()
            except UnreachableError:
                raise
            except UnavailableError as error:
                if tries == TRIES - 1:
                    raise ConfigError(
                        f"{error}. The user API limits what one address may ask: put this machine into "
                        "userapi.unlimited_addresses for the test, or use --config, or fewer accounts; "
                        "with --accounts FILE the next try goes on from here"
                    ) from None
                await asyncio.sleep(2.0**tries)
        raise AssertionError


async def store_accounts(settings: Settings, users: Sequence[str]) -> list[Account]:
    """These accounts with a device each, in the store of these settings, made if they are not there; and tokens.

    Raises `ConfigError`, `StoreError`.
    """
    minter = TokenMinter(Path(settings.userapi.token_private_key_file), lifetime_s=LIFETIME_S)
    return await make_accounts(settings.store, minter, users, settings.history)


async def make_accounts(
    settings: StoreSettings, minter: TokenMinter, users: Sequence[str], history: HistorySettings
) -> list[Account]:
    """Make the accounts and log all of them in; a store that is not there yet keeps `history`. Raises `ConfigError`,
    `StoreError`."""
    gate = asyncio.Semaphore(AT_ONCE_IN_STORE)
    async with open_store(settings, history=history) as store:

        async def make(user: str) -> None:
            async with gate:
                with contextlib.suppress(AlreadyExistsError):
                    await store.create_account(user, "!")
                await store.add_device(user, DEVICE, "load test")

        await asyncio.gather(*map(make, users))
    return [Account(user, DEVICE, minter.mint(user, DEVICE, time.time())[0]) for user in users]


async def further_in_store(settings: StoreSettings, url: str, trust: Trust, users: Sequence[str]) -> list[Account]:
    """A new device of each of these users, by a login at the user API, which tells brokers of it; they get a password.

    Raises `ConfigError`, `StoreError`, and what `UserApi` raises.
    """
    password = secrets.token_urlsafe(18)
    hashed = Passwords(UserApiSettings()).hash(password)
    async with open_store(settings) as store:
        for user in users:
            account = await store.account(user)
            if account is not None:
                await store.change_password(user, account.password_hash, hashed)

    async def at_once(ask: Callable[[], Awaitable[Answer]]) -> Answer:
        return await ask()

    return await _new_devices(UserApi(url, trust=trust), users, password, at_once)


async def _new_devices(
    api: UserApi, users: Sequence[str], password: str, ask: Callable[[Callable[[], Awaitable[Login]]], Awaitable[Login]]
) -> list[Account]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(user: str) -> Account:
        async with gate:
            login = await ask(lambda: api.login(user, password, "", "load test, new"))
        return Account(user, login.device, login.token)

    return list(await asyncio.gather(*map(one, users)))


async def drop_devices(url: str, trust: Trust, accounts: Sequence[Account]) -> None:
    """Remove the devices of these accounts. Raises what `UserApi` raises."""
    web = UserApi(url, trust=trust).web
    for account in accounts:
        web.check(await web.request("DELETE", f"/v1/me/devices/{account.device}", token=account.token))
