"""Logging in with an OpenID provider: what is asked of the user API before there is a ticket, and what comes back.

Owns the verifier of PKCE (RFC 7636), and what a provider's answer looks like in an address. Opens no browser, listens
nowhere, and keeps nothing: that is the program's.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from client.api.logins import UserApi
from protocol.errors import OidcError

_VERIFIER_BYTES = 32
_MAX_ERROR = 80


@dataclass(frozen=True, slots=True)
class LoginWays:
    """How people log in at a service."""

    passwords: bool
    """With name and password."""
    registration: str
    """Who makes accounts with a password: "open", "invitation", "admin", or "elsewhere"."""
    oidc_name: str
    """What people call the OpenID provider; empty: there is none."""


@dataclass(frozen=True, slots=True)
class OidcBegun:
    """A login that was begun: to be kept until somebody comes back, where nobody else sees it."""

    url: str
    """Where to go, in a browser."""
    state: str = field(repr=False)
    """What the answer has to have, too."""
    verifier: str = field(repr=False)
    """What shows that it was us who began."""


@dataclass(frozen=True, slots=True)
class OidcAnswer:
    """What the provider has sent back."""

    state: str = field(repr=False)
    """That of the login that it answers."""
    code: str = field(repr=False)
    """What the service gets a ticket for; empty: the provider says no."""
    error: str = ""
    """Why it says no."""
    issuer: str = ""
    """Who the answer says that it is from; empty: it does not say."""


@dataclass(frozen=True, slots=True)
class OidcTicket:
    """That the provider vouches for somebody. `Client(ticket=…)` takes the ticket, within five minutes, once."""

    ticket: str = field(repr=False)
    """What logs them in."""
    user: str
    """Whose account it is, or will be; empty: they come the first time, and choose a name."""
    is_new: bool
    """They come the first time."""
    proposed: str
    """A name for who chooses one; empty: none."""


def parse_oidc_answer(address: str) -> OidcAnswer | None:
    """Read the address to which a provider has sent somebody back; None: it is no answer.

    Args:
        address: All of it, or the path with what is behind `?`.
    """
    try:
        parts = urlsplit(address.strip())
        told = {name: values[0] for name, values in parse_qs(parts.query or parts.fragment).items()}
    except ValueError:
        return None
    state, code, error = told.get("state", ""), told.get("code", ""), told.get("error", "")
    if not state or not (code or error):
        return None
    return OidcAnswer(state, code, "" if code else error, told.get("iss", ""))


class Oidc:
    """A user API's OpenID provider, as somebody sees it who is not logged in.

    Each method raises, beside its own errors, `UnavailableError` where the user API cannot be reached or cannot do this
    now, and `PeerError` where its certificate is not trusted, or what answers is no user API.

    Args:
        api: The user API.
    """

    def __init__(self, api: UserApi) -> None:
        self._web = api.web

    async def ways(self) -> LoginWays:
        """Return how people log in there."""
        answer = await self._web.request("GET", "/v1/login")
        if answer.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
            return LoginWays(True, "open", "")  # of before 0.2
        match self._web.answer(answer):
            case {"passwords": bool(passwords), "registration": str(registration), "oidc_name": str() | None as name}:
                return LoginWays(passwords, registration, name or "")
        raise self._web.strange()

    async def begin(self, redirect: str) -> OidcBegun:
        """Begin a login: have somebody go to its `url`, and keep the rest until they come back to `redirect`.

        Args:
            redirect: Where they come back to. A program listens at `http://127.0.0.1:PORT/`, any port.

        Raises:
            MisuseError: The service has no provider, or lets nobody come back there.
        """
        verifier = secrets.token_urlsafe(_VERIFIER_BYTES)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        found = await self._post("/v1/oidc/start", {"redirect_uri": redirect, "code_challenge": challenge})
        match found:
            case {"authorization_url": str(url), "state": str(state)} if urlsplit(url).scheme in ("http", "https"):
                return OidcBegun(url, state, verifier)
        raise self._web.strange()

    async def redeem(self, begun: OidcBegun, answer: OidcAnswer) -> OidcTicket:
        """Show the service what has come back, and get a ticket.

        Args:
            begun: What was kept.
            answer: What `parse_oidc_answer` has read.

        Raises:
            OidcError: The answer is that to another login, the provider does not vouch for them, or they may not come.
            AccountDisabledError: The account is disabled.
        """
        if not secrets.compare_digest(answer.state.encode(), begun.state.encode()):
            raise OidcError("this login was not begun here: begin it again")
        if not answer.code:
            raise OidcError(f"the provider says no: {answer.error[:_MAX_ERROR]}")
        body = {"state": answer.state, "code": answer.code, "code_verifier": begun.verifier}
        found = await self._post("/v1/oidc/ticket", body | ({"iss": answer.issuer} if answer.issuer else {}))
        match found:
            case {
                "ticket": str(ticket),
                "user": str() | None as user,
                "is_new": bool(is_new),
                "proposed": str(proposed),
            }:
                return OidcTicket(ticket, user or "", is_new, proposed)
        raise self._web.strange()

    async def _post(self, path: str, body: dict[str, str]) -> dict[str, Any]:
        return self._web.answer(await self._web.request("POST", path, json=body))
