"""Registering, logging in, and new tokens: what is asked of the user API without a token.

Owns what a login gives. Keeps nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from client.api.web import TIMEOUT_S, Web, code_of, told_devices
from client.tls import Trust
from protocol.errors import DeviceRemovedError, NotFoundError, TooManyDevicesError

SILENT_LONGEST = "silent_longest"
_TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class Login:
    """What a login gives."""

    token: str
    user: str
    device: str
    connectors: tuple[str, ...]
    """host:port, or tls://host:port."""
    refresh_token: str = ""
    """For the next token, once."""


class UserApi:
    """The user API, as somebody sees it who is not logged in.

    Args:
        url: Its base URL, such as `http://127.0.0.1:7480`.
        timeout_s: How long each step of a request may take, in seconds.
        trust: Which certificates to trust; without it, those that the system trusts.

    Raises:
        ConfigError: `url` is no URL of a server.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S, trust: Trust | None = None) -> None:
        """Raises `ConfigError` for what is no URL of a server."""
        self.web = Web(url, timeout_s, trust or Trust())

    async def register(self, user: str, password: str, invitation: str = "") -> None:
        """Make an account. Doing so again with the same password is no error.

        Args:
            user: The id that it is to have.
            password: As long as the service asks (8 characters, unless it is set otherwise).
            invitation: The code of an invitation, where the service asks for one.

        Raises:
            AlreadyExistsError: Somebody else has this id.
            InvalidIdError: `user` is no user id.
            InvitationNeededError: The service asks for an invitation.
            WrongCodeError: The invitation's code is wrong, was used or has ended.
            MisuseError: The service does not allow this password, or nobody may register; the text says why.
            UnavailableError: The user API cannot be reached (`UnreachableError`), or cannot do this now: try again
                later.
            PeerError: Its certificate is not trusted (`UntrustedError`), or what answers is no user API (`ApiError`).
        """
        # A server of 0.1 knows no such field.
        extra = {"invitation": invitation} if invitation else {}
        await self._post("/v1/accounts", {"user": user, "password": password, **extra})

    async def reset_password(self, user: str, code: str, new_password: str) -> None:
        """Set a new password by a code that those who run the service have made. All the user's devices are logged out.

        Doing so again with the same password is no error.

        Args:
            user: Whose password it is.
            code: The code; it is good once.
            new_password: As long as the service asks.

        Raises:
            WrongCodeError: The code is wrong, was used or has ended.
            MisuseError: The service does not allow this password; the text says why.
            UnavailableError: The user API cannot be reached (`UnreachableError`), or cannot do this now: try again
                later.
            PeerError: Its certificate is not trusted (`UntrustedError`), or what answers is no user API (`ApiError`).
        """
        body = {"user": user, "code": code, "new_password": new_password}
        self.web.check(await self.web.request("POST", "/v1/password-reset", json=body))

    async def login(
        self,
        user: str,
        password: str,
        device: str = "",
        label: str = "",
        key: str = "",
        *,
        replaces: str = "",
        proof: str = "",
    ) -> Login:
        """Get a token, for a known device or (without one) for a new one.

        Args:
            user: Whose device it is.
            password: Theirs.
            device: The device's id; empty for a new one.
            label: What people see of a new device.
            key: 16 to 200 random characters that name the login of a new device: who repeats it with the same, for want
                of an answer, gets the same device.
            replaces: Where the user has as many devices as allowed, the id of the one that the new one takes the place
                of, or `SILENT_LONGEST`.
            proof: A refresh token that this device had once, shown if others have guessed so often that the server
                takes no password.

        Raises:
            WrongPasswordError: There is no such account, or the password is wrong.
            TooManyDevicesError: The user may have no more devices; its `devices` may be replaced.
            DeviceRemovedError: The user has no such device (any more).
            AccountDisabledError: The account is disabled.
            UnavailableError: The user API cannot be reached (`UnreachableError`), or cannot do this now: try again
                later.
            PeerError: Its certificate is not trusted (`UntrustedError`), or what answers is no user API (`ApiError`).
        """
        body = {"user": user, "password": password} | _of_device(device, label, replaces)
        headers = {"Idempotency-Key": key} if key and not device else None
        try:
            answer = await self.web.request("POST", "/v1/login", json=body, headers=headers)
            if proof and answer.status_code == _TOO_MANY:
                # Not at once: a server of 0.1 knows no such field.
                answer = await self.web.request("POST", "/v1/login", json=body | {"proof": proof}, headers=headers)
            if code_of(answer) == "too_many_devices":
                raise TooManyDevicesError(*told_devices(answer))
            return self._login(self.web.answer(answer))
        except NotFoundError as error:
            raise DeviceRemovedError(str(error)) from error

    async def enter(self, user: str, ticket: str, device: str = "", label: str = "", *, replaces: str = "") -> Login:
        """Get a token with the ticket of an OpenID provider (`Oidc.redeem`), which is good for one device.

        Args:
            user: Whom it is for; or, of somebody who comes the first time and chooses, the name that they want.
            ticket: The ticket; who repeats it, for want of an answer, gets the same device.
            device: The device's id; empty for a new one.
            label: What people see of a new device.
            replaces: As of `login`.

        Raises:
            OidcError: The ticket has ended, or the name that the provider has for them cannot be used.
            AlreadyExistsError: Somebody else has the name that they chose.
            InvalidIdError: It is no user id.
            TooManyDevicesError: The user may have no more devices; its `devices` may be replaced.
            DeviceRemovedError: The user has no such device (any more).
            AccountDisabledError: The account is disabled.
            UnavailableError: The user API cannot be reached (`UnreachableError`), or cannot do this now: try again
                later.
            PeerError: Its certificate is not trusted (`UntrustedError`), or what answers is no user API (`ApiError`).
        """
        body = {"user": user, "ticket": ticket} | _of_device(device, label, replaces)
        try:
            answer = await self.web.request("POST", "/v1/oidc/login", json=body)
            if code_of(answer) == "too_many_devices":
                raise TooManyDevicesError(*told_devices(answer))
            return self._login(self.web.answer(answer))
        except NotFoundError as error:
            raise DeviceRemovedError(str(error)) from error

    async def refresh(self, refresh_token: str, nonce: str = "") -> Login:
        """Get a new token without the password; the refresh token is replaced by the one that comes with it.

        Args:
            refresh_token: What the last login or refresh has given. It is good once.
            nonce: 16 to 200 random characters, drawn before this token is presented the first time. Who presents it
                once more with the same, for want of an answer, is known by it.

        Raises:
            TokenRejectedError: Only the password helps.
            AccountDisabledError: The account is disabled.
            UnavailableError: The user API cannot be reached (`UnreachableError`), or cannot do this now: try again
                later.
            PeerError: Its certificate is not trusted (`UntrustedError`), or what answers is no user API (`ApiError`).
        """
        body = {"refresh_token": refresh_token}
        if nonce:
            answer = await self.web.request("POST", "/v1/token", json={**body, "nonce": nonce})
            if answer.status_code != HTTPStatus.BAD_REQUEST:  # which is what a user API of 0.1 says to a field more
                return self._login(self.web.answer(answer))
        return self._login(await self._post("/v1/token", body))

    async def _post(self, path: str, body: dict[str, str], headers: dict[str, str] | None = None) -> dict[str, Any]:
        return self.web.answer(await self.web.request("POST", path, json=body, headers=headers))

    def _login(self, answer: dict[str, Any]) -> Login:
        match answer:
            case {
                "access_token": str(token),
                "refresh_token": str(refresh_token),
                "user": str(name),
                "device": str(made),
                "connectors": [_, *_] as connectors,
            }:
                if all(isinstance(address, str) for address in connectors):
                    return Login(token, name, made, tuple(connectors), refresh_token)
        raise self.web.strange()


def _of_device(device: str, label: str, replaces: str) -> dict[str, str]:
    if device:
        return {"device": device}
    return ({"label": label} if label else {}) | ({"replaces": replaces} if replaces else {})


async def register(
    user: str,
    password: str,
    *,
    api: str = "http://127.0.0.1:7480",
    ca: str | os.PathLike[str] | None = None,
    invitation: str = "",
) -> None:
    """Make an account at the user API. Doing so again with the same password is no error.

    Args:
        user: The id that it is to have.
        password: As long as the service asks (8 characters, unless it is set otherwise).
        api: Base URL of the user API.
        ca: A PEM file: trust servers with certificates of this CA, instead of those that the system trusts.
        invitation: The code of an invitation, where the service asks for one.

    Raises:
        AlreadyExistsError: Somebody else has this id.
        InvalidIdError: `user` is no user id.
        InvitationNeededError: The service asks for an invitation.
        WrongCodeError: The invitation's code is wrong, was used or has ended.
        MisuseError: The service does not allow this password, or nobody may register; the text says why.
        ConfigError: `api` is no URL of a server, or `ca` cannot be read.
        UnavailableError: The user API cannot be reached (`UnreachableError`), or cannot do this now: try again later.
        PeerError: Its certificate is not trusted (`UntrustedError`), or what answers is no user API (`ApiError`).
    """
    await UserApi(api, trust=Trust(ca)).register(user, password, invitation)
