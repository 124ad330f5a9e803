"""Logins: `/v1/login`, `/v1/token`, and their ends.

Owns what a login asks for, and how tokens are renewed. What it gives is `userapi.endpoints.new_logins`'s business.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from typing import Any

from flask import request

from protocol.errors import ServiceError, TokenError
from store.interface import Account
from store.logins import Refresh
from userapi import audit
from userapi.callers import DEVICE, SIGNED, caller, check_login
from userapi.endpoints.new_logins import DPOP, NEW_LOGIN, Tokens, begin_login, tokens
from userapi.endpoints.replacing import SILENT_LONGEST
from userapi.http.endpoint import DEVICE_IN_PATH, Area, HeaderText, endpoint
from userapi.http.fields import LABEL, Answer, Flag, Strict, Text
from userapi.http.problems import ProblemError
from userapi.identity import PASSWORD, authenticate, check_enabled
from userapi.proofs import verify_renewal
from userapi.service import Service, service
from userapi.tokens import RefreshClaims

area = Area("logins", "Logging in and out, and tokens")

_KEY_MIN, _KEY_MAX = 16, 200

_log = logging.getLogger("sparrow.userapi")


class Credentials(Strict):
    """What `POST /v1/login` takes."""

    user = Text("Who.", example="alice")
    password = Text("Their password.", example="correct horse")
    device = Text("The device's id, from its first login; without it, the login makes a new device.", required=False)
    label = Text("What people call the new device.", required=False, example="phone", **LABEL)
    replaces = Text(
        "If the user has as many devices as allowed: the id of the one that the new device takes the place of, or "
        f"{SILENT_LONGEST}. It is removed for good.",
        required=False,
    )
    proof = Text(
        "A refresh token that one of the user's devices had, however old: then the wrong guesses of others do not "
        "keep the user out.",
        required=False,
    )


class RefreshToken(Strict):
    """What `POST /v1/token` takes."""

    refresh_token = Text("The newest one.")
    nonce = Text(
        "Random characters, drawn before the refresh is sent the first time, and the same when it is repeated.",
        required=False,
        min_length=_KEY_MIN,
        max_length=_KEY_MAX,
    )


class Ways(Answer):
    """How people log in here."""

    passwords = Flag("Whether with name and password (`POST /v1/login`).")
    registration = Text(
        "Who makes accounts that have a password: as `userapi.registration` says, or `elsewhere` where another system "
        "keeps these.",
        one_of=("open", "invitation", "admin", "elsewhere"),
    )
    oidc_name = Text(
        "Whether with an OpenID provider (`POST /v1/oidc/start`), and what people call it; null: there is none.",
        allow_none=True,
    )


@endpoint(area, "GET", "/v1/login", answer=Ways)
def ways_to_log_in() -> dict[str, object]:
    """Look how people log in here."""
    parts = service()
    settings = parts.settings
    return {
        "passwords": settings.password_login,
        "registration": "elsewhere" if parts.identity is not None else settings.registration,
        "oidc_name": parts.oidc.name if parts.oidc is not None else None,
    }


@endpoint(
    area,
    "POST",
    "/v1/login",
    body=Credentials,
    answer=Tokens,
    headers=(
        HeaderText(
            "Idempotency-Key",
            f"{_KEY_MIN} to {_KEY_MAX} random characters that name this login of a new device.",
            f".{{{_KEY_MIN},{_KEY_MAX}}}",
        ),
        DPOP,
    ),
    problems=(*PASSWORD, *NEW_LOGIN),
)
def log_in(body: dict[str, Any]) -> dict[str, object]:
    """Log in, with a new device or a known one.

    A client that repeats the login of a new device, for want of an answer, sends the same `Idempotency-Key`: then it
    gets the same device. `too_many_devices` names the user's `devices`, the one silent longest first; repeat the login
    with one of them as `replaces`. The answer for a user's second and later device takes about two seconds: until
    every broker knows of it. The login of a known device ends the one that it had, and its session.

    A proof in `DPoP` binds the login to a key: then refreshes need proofs by the same key.
    """
    parts = service()

    def check() -> Account:
        return authenticate(parts, body["user"], body["password"], _proven(parts, body))

    return begin_login(parts, check, body, _idempotency_key())


@endpoint(
    area,
    "POST",
    "/v1/token",
    body=RefreshToken,
    answer=Tokens,
    headers=(DPOP,),
    problems=(
        *("invalid_refresh_token", "refresh_token_reused", "account_disabled"),
        *("invalid_dpop_proof", "use_dpop_nonce"),
    ),
)
def refresh(body: dict[str, Any]) -> dict[str, object]:
    """Get new tokens for a refresh token.

    Each refresh token is good once. A client that has not got the answer may repeat it for a few minutes with the same
    `nonce` (without one, for half a minute), and gets the same refresh token. Whoever uses an old one otherwise shows
    that two have it: then the login ends for both.

    Where the login is bound to a key, the proof in `DPoP` has the token's hash as `ath`, and as `nonce` what
    `use_dpop_nonce` gives; without it, the token is worth nothing. Any other login is bound by a proof from then on.
    """
    parts = service()
    settings = parts.settings
    refused = ProblemError("invalid_refresh_token", "the login has ended: log in with the password")
    claims = parts.minter.read_refresh_token(body["refresh_token"])
    if claims is None:
        raise refused
    # Before it counts: who has copied the token must not use up what its owner may ask.
    bound_to = _key_of_renewal(parts, claims, body["refresh_token"])
    parts.limits.check_new_login(claims.user, claims.device)
    check_enabled(parts, claims.user)
    nonce = body.get("nonce", "")
    outcome = parts.bridge.call(
        parts.bridge.store.refresh_login,
        claims.user,
        claims.device,
        claims.login,
        claims.generation,
        int(settings.refresh_grace_s * 1000),
        int(settings.refresh_token_lifetime_s * 1000),
        hashlib.sha256(nonce.encode()).hexdigest() if nonce else "",
        int(settings.refresh_bare_grace_s * 1000),
    )
    if outcome is Refresh.REPEATED:
        audit.note("refresh_repeated", claims.user, device=claims.device, nonce="yes" if nonce else "no")
    if outcome is Refresh.REUSED:
        _log.warning("an old refresh token of %s/%s was used: the login is ended", claims.user, claims.device)
        audit.note("refresh_token_reused", claims.user, device=claims.device)
        with contextlib.suppress(ServiceError):
            parts.endings.end(claims.user, claims.device)
        raise ProblemError("refresh_token_reused")
    if outcome is Refresh.UNKNOWN:
        raise refused
    return tokens(parts, RefreshClaims(claims.user, claims.device, claims.login, claims.generation + 1, bound_to))


@endpoint(area, "DELETE", "/v1/me/login", status=204, guard=SIGNED)
def log_out() -> tuple[str, int]:
    """Log this device out.

    Its session is closed and its tokens end; the device and what waits for it stay.
    """
    parts = service()
    stands = _stands(parts)
    end_login(parts, caller().user, caller().device, stands)
    return "", 204


@endpoint(
    area,
    "DELETE",
    "/v1/me/devices/<device>/login",
    status=204,
    parts=(DEVICE_IN_PATH,),
    guard=DEVICE,
    problems=("no_such_device",),
)
def log_device_out(device: str) -> tuple[str, int]:
    """Log one of one's own devices out."""
    parts = service()
    for one in parts.bridge.call(parts.bridge.store.list_devices, caller().user):
        if one.device == device:
            break
    else:
        raise ProblemError("no_such_device")
    end_login(parts, caller().user, device, one.logged_in)
    return "", 204


@endpoint(area, "DELETE", "/v1/me/logins", status=204, guard=SIGNED)
def log_all_out() -> tuple[str, int]:
    """Log all of one's own devices out, this one included, and last."""
    parts = service()
    stands = _stands(parts)
    if stands:
        end_other_logins(parts, caller().user, caller().device)
    end_login(parts, caller().user, caller().device, stands)
    return "", 204


def _stands(parts: Service) -> bool:
    """Whether the caller's device is logged in, which must be by the caller's own login; if not, this is a repeat."""
    kept = parts.bridge.call(parts.bridge.store.login, caller().user, caller().device)
    if kept is None or not kept.id:
        return False
    check_login()
    return True


def end_login(parts: Service, user: str, device: str, stands: bool) -> None:
    """End a device's login, which `stands` or has ended before, and its session.

    Raises `ServiceError`; may be repeated.
    """
    parts.bridge.call(parts.bridge.store.end_login, user, device)
    if stands:
        audit.note("logged_out", user, device=device)
    parts.endings.end(user, device)


def end_other_logins(parts: Service, user: str, device: str) -> None:
    """End those of all devices but this one. Raises `ServiceError`; may be repeated."""
    others = [one for one in parts.bridge.call(parts.bridge.store.list_devices, user) if one.device != device]
    for other in others:
        parts.bridge.call(parts.bridge.store.end_login, user, other.device)
        if other.logged_in:
            audit.note("logged_out", user, device=other.device)
    if others:
        parts.endings.end(user, *(other.device for other in others))


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY_MIN <= len(key) <= _KEY_MAX:
        detail = f"Idempotency-Key: send {_KEY_MIN} to {_KEY_MAX} random characters"
        raise ProblemError("invalid_value", detail, field="Idempotency-Key")
    return key


def _key_of_renewal(parts: Service, claims: RefreshClaims, token: str) -> str:
    """The thumbprint of the key that the login is, or is to be, bound to. Raises `ProblemError` unless it is at hand.

    Nothing has come of the token then: who has copied one of a bound login can not even end the login with it.
    """
    proof = request.headers.get("DPoP")
    if proof is None and not claims.key:
        return ""
    refused = "this login is bound to a key: send a proof by it, or log in with the password"
    try:
        found, nonce = verify_renewal(proof, request.path, token) if proof is not None else ("", "")
    except TokenError as error:
        found, nonce, refused = "", "", str(error)
    if not found or claims.key not in ("", found):
        audit.note("proof_refused", claims.user, device=claims.device)
        raise ProblemError("invalid_dpop_proof", f"DPoP: {refused}")
    now = parts.clock()
    if not parts.nonces.takes(nonce, now):
        raise ProblemError("use_dpop_nonce", headers={"DPoP-Nonce": parts.nonces.give(now)})
    return found


def _proven(parts: Service, body: dict[str, Any]) -> str:
    """The device of this user that the caller has shown to have, or to have had; empty: none."""
    claims = parts.minter.read_refresh_token(body.get("proof", ""))
    if claims is None or claims.user != body["user"]:
        return ""
    stands = parts.bridge.call(parts.bridge.store.login, claims.user, claims.device) is not None
    return claims.device if stands else ""
