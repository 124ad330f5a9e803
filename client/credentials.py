"""What a client logs in with: token, device, and where to. Kept in the journal.

Owns getting a token and getting a new one, for the chat connection and for requests to the user API alike. Opens no
connection to a connector.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Sequence

from client.api.logins import Login, UserApi
from client.journal import ClientJournal
from protocol.errors import (
    AlreadyExistsError,
    ConfigError,
    DeviceRemovedError,
    SparrowError,
    TokenRejectedError,
    UnavailableError,
    WrongPasswordError,
)

USER, DEVICE, TOKEN, CONNECTORS, REFRESH, KEY = "user", "device", "token", "connectors", "refresh", "login_key"
NONCE = "refresh_nonce"

LAST_ANSWER_S = 2.0
"""How long a renewal that nobody wants any more may take to end."""


class Credentials:
    """Of one device."""

    def __init__(
        self,
        user: str,
        password: str | None,
        api: UserApi,
        journal: ClientJournal,
        *,
        token: str | None,
        device: str | None,
        connectors: Sequence[str],
        label: str,
        register: bool,
        invitation: str = "",
        ticket: str = "",
    ) -> None:
        """Raises `ConfigError` if this can never log in."""
        self.user = user
        self._password = password
        self._api = api
        self._journal = journal
        self._label = label
        self._register = register
        self._invitation = invitation
        self._ticket = ticket
        self._key = ""
        self._proof = ""
        """A refresh token that was good once."""
        self._renewing = asyncio.Lock()
        """A refresh token is good once: nobody else may have it in hand."""
        self._refused = False
        """A connector has refused the last token that it was shown."""
        self._unanswered = False
        """A login with the password was asked for, and may have counted without our having its token."""
        self.changed: Callable[[], None] = journal.commit
        """What makes the journal's changes count."""
        kept_user = journal.value(USER)
        if kept_user is not None and kept_user != user:
            raise ConfigError(f"the state file is {kept_user}'s, not {user}'s: name another one")
        kept_device = journal.value(DEVICE) or ""
        if device and kept_device and device != kept_device:
            raise ConfigError(f"the state file is device {kept_device}'s, not {device}'s: name another one")
        self.device = device or kept_device
        """Empty until it is known."""
        self._earlier = "" if token else journal.value(TOKEN) or ""
        """The token of an earlier run."""
        self._token = token or self._earlier
        # What was kept belongs to the token that was kept.
        self._refresh = (journal.value(REFRESH) or "") if not token else ""
        self._connectors = tuple(connectors) or _addresses(journal.value(CONNECTORS))
        self.fixed_connectors = bool(connectors)
        """They are the application's, not the user API's."""
        if not self._can_log_in and not self._token:
            raise ConfigError("give a password or a token, or a ticket: none is kept from an earlier login")
        if not self._can_log_in and not self._connectors:
            raise ConfigError("with a token and no password, give connectors as well, such as ['127.0.0.1:7400']")

    @property
    def can_renew(self) -> bool:
        """Whether there is a refresh token, or something to log in with."""
        return bool(self._refresh) or self._can_log_in

    @property
    def _can_log_in(self) -> bool:
        """Whether there is a password, or a ticket."""
        return bool(self._password or self._ticket)

    async def get(self) -> tuple[str, Sequence[str]]:
        """A token and the connectors' addresses. Raises what `UserApi.login` and `refresh` raise."""
        async with self._renewing:
            if not self._token or not self._connectors:
                await self._renew()
            return self._token, self._connectors

    async def renew(self) -> None:
        """Get a token over HTTP. Raises what `UserApi.login` and `refresh` raise."""
        async with self._renewing:
            await self._renew()

    async def instead_of(self, token: str, *, expired: bool) -> str:
        """The token to use after the user API has refused this one, as `expired` or as one of a login that has ended.

        The same one, if there can be no other. Raises what `renew` raises.
        """
        async with self._renewing:
            # It may have been renewed, or replaced by a new login, while the request was on its way.
            if expired and token == self._token and self.can_renew:
                await self._renew()
            return self._token or token

    async def _renew(self) -> None:
        renewing = asyncio.create_task(self._renew_now())
        try:
            await asyncio.shield(renewing)
        finally:
            # A refresh token whose successor has got lost ends the login minutes later.
            await asyncio.wait([renewing], timeout=LAST_ANSWER_S)
            renewing.cancel()

    async def _renew_now(self) -> None:
        login = await self._refreshed() or await self._anew()
        if login.user != self.user:
            raise ConfigError(f"the user API calls {self.user!r} {login.user!r}: use that name")
        self._token, self.device = login.token, login.device
        self._refresh = login.refresh_token
        if not self.fixed_connectors:
            self._connectors = login.connectors
        self._unanswered = False
        self._ticket = ""
        keep_login(self._journal, self.user, login)
        self.changed()

    async def _refreshed(self) -> Login | None:
        """With the refresh token; None without a good one, if there is something to log in with."""
        if not self._refresh:
            return None
        # Kept before it is sent: who repeats it after a restart is known by it, an earlier copy of the state is not.
        nonce = self._journal.value(NONCE) or secrets.token_urlsafe(24)
        self._journal.put_value(NONCE, nonce)
        self.changed()
        await asyncio.sleep(0)  # with an engine, it counts at the end of the turn
        try:
            return await self._api.refresh(self._refresh, nonce)
        except TokenRejectedError:
            self._refresh, self._proof = "", self._refresh
            if not self._can_log_in:
                raise
            return None

    async def _anew(self) -> Login:
        self._unanswered = True
        try:
            if self._ticket:
                return await self._api.enter(self.user, self._ticket, self.device, self._label)
            assert self._password is not None
            return await self._log_in(self._password)
        except UnavailableError:
            raise  # it may have counted
        except SparrowError as error:
            self._unanswered = False
            if isinstance(error, DeviceRemovedError):
                raise device_removed(self.device) from error
            raise

    async def _log_in(self, password: str) -> Login:
        try:
            key = self._login_key()
            return await self._api.login(self.user, password, self.device, self._label, key, proof=self._proof)
        except WrongPasswordError as error:
            if not self._register or self.device:
                raise
            try:
                await self._api.register(self.user, password, self._invitation)
            except AlreadyExistsError:
                raise error from None
        return await self._api.login(self.user, password, "", self._label, self._login_key())

    def _login_key(self) -> str:
        if not self._key and not self.device:
            self._key = login_key(self._journal)
            self.changed()
        return self._key

    def keep_device(self, device: str) -> None:
        """The device is this one."""
        self.device = device
        self._journal.put_value(USER, self.user)
        self._journal.put_value(DEVICE, device)
        self.changed()

    def rejected(self, token: str, text: str) -> None:
        """A connector does not take this token. Raises `TokenRejectedError` if there is no other to be had."""
        if self._refused or not self.can_renew:
            raise TokenRejectedError(
                f"the server does not take the login token ({text}): "
                + ("connector and user API do not belong together" if self._refused else "log in with the password")
            )
        self._refused = True
        if token == self._token:
            self._token = ""

    async def at_rest(self) -> None:
        """Return when no renewal is under way."""
        async with self._renewing:
            pass

    def logged_out(self, token: str) -> bool:
        """The login of this token has ended. Whether by a login of our own: then there is another token to be had."""
        if self._token not in ("", token):
            return True
        # The answer to our login got lost, but it has ended the one before.
        if self._unanswered and self._can_log_in:
            self._token = ""
            return True
        # It ended before this run, which was given something to log in with.
        if token == self._earlier and self._can_log_in:
            self._token = self._earlier = self._refresh = ""
            return True
        return False

    def accepted(self) -> None:
        """A connector has taken the token; when one is refused later, it has expired."""
        self._refused = False

    def password_changed(self, password: str) -> None:
        """The account has another one."""
        if self._password is not None:
            self._password = password

    def forget(self) -> None:
        """The login has ended: only the password helps."""
        self._token = self._refresh = ""
        self._journal.put_value(TOKEN, "")
        self._journal.put_value(REFRESH, "")
        self.changed()


def _addresses(kept: str | None) -> tuple[str, ...]:
    try:
        return tuple(map(str, json.loads(kept or "[]")))
    except (ValueError, TypeError):
        return ()


def keep_login(journal: ClientJournal, user: str, login: Login) -> None:
    """Put what a login has given into the journal, to be committed."""
    journal.put_value(USER, user)
    journal.put_value(DEVICE, login.device)
    journal.put_value(TOKEN, login.token)
    journal.put_value(REFRESH, login.refresh_token)
    journal.put_value(NONCE, "")
    journal.put_value(CONNECTORS, json.dumps(login.connectors))


def login_key(journal: ClientJournal) -> str:
    """What names this device's first login, so that who repeats it gets the same device. To be committed."""
    key = journal.value(KEY) or secrets.token_urlsafe(24)
    journal.put_value(KEY, key)
    return key


def device_removed(device: str) -> SparrowError:
    """What to say when a device is no more."""
    return DeviceRemovedError(
        f"device {device or 'of this token'} has been removed: begin with a new state file, which makes a new device"
    )
