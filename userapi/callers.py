"""Who calls: access tokens, as endpoints see them.

Owns the guards. Nothing is remembered from one request to the next: a device that was logged out or removed is so at
once, in every worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flask import g, request

from protocol.errors import TokenError
from store.interface import Profile
from userapi.http.endpoint import Guard
from userapi.http.handover import CONTINUED
from userapi.http.problems import ProblemError
from userapi.service import Service, service

LOOK_S = 1.0
"""A request that takes longer than this is of a login that still stands, looked at so often."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom the access token names."""

    user: str
    device: str
    login: str


def caller() -> Caller:
    """Who has made this request, whom a guard has let in."""
    found: Caller = g.caller
    return found


def check_signature() -> None:
    """Raises `ProblemError` unless there is a good token; `caller` knows then whose."""
    given = request.authorization
    if given is None or given.type != "bearer" or not given.token:
        detail = "log in, and send the access token: Authorization: Bearer ..."
        raise ProblemError("no_token", detail, headers={"WWW-Authenticate": "Bearer"})
    parts = service()
    try:
        identity = parts.verifier.verify(given.token, parts.clock())
    except TokenError as error:
        headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        raise ProblemError("invalid_token", f"{error}, or refresh it", headers=headers) from None
    g.caller = Caller(identity.user, identity.device, identity.login)


def check_login(*, pages: bool = False) -> None:
    """Raises `ProblemError` unless the caller's login stands, now, and the account may ask so much.

    `pages`: a page of a conversation, which counts by the messages that it has, and not as a request.
    """
    parts, user = service(), caller().user
    kept = parts.bridge.call(parts.bridge.store.login, user, caller().device)
    if kept is None or not kept.id or kept.id != caller().login:
        headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        raise ProblemError("logged_out", "the device was logged out or removed: log in again", headers=headers)
    # Not before: whoever has the token of a removed device must not use up what the others may ask.
    if not request.environ.get(CONTINUED):
        (parts.limits.check_history if pages else parts.limits.check_account)(user)
    if kept.disabled:
        raise ProblemError("account_disabled")
    parts.limits.at_home(user)
    g.profile = kept.profile


def while_logged_in(parts: Service, who: Caller, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What ends a login ends what it downloads or sends: the pieces end before their time. Needs no request."""
    looked = parts.clock()
    for piece in pieces:
        if abs(parts.clock() - looked) >= LOOK_S:
            looked = parts.clock()
            kept = parts.bridge.call(parts.bridge.store.login, who.user, who.device)
            if kept is None or not kept.id or kept.id != who.login or kept.disabled:
                return
        yield piece


def callers_profile() -> Profile:
    """As `check_login` has found it."""
    found: Profile = g.profile
    return found


def _check() -> None:
    check_signature()
    check_login()


_REFUSALS = ("no_token", "invalid_token", "logged_out", "account_disabled")
DEVICE = Guard("access_token", _check, _REFUSALS)
"""A device that is logged in."""
SIGNED = Guard("access_token", check_signature, _REFUSALS)
"""The token is good, be the login ended or not: for what ends a login, so that it may be repeated."""
