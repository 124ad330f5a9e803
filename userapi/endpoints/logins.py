"""Logins: `/v1/login`, `/v1/token`, and their ends.

Owns the minting of devices and tokens.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
import string
from typing import Any

from flask import request
from marshmallow import fields

from protocol.errors import AlreadyExistsError, NotFoundError, OutdatedError, ServiceError, TokenError
from protocol.sparrow_pb2 import Hint
from store.logins import Refresh
from userapi import audit
from userapi.callers import DEVICE, SIGNED, caller, check_login
from userapi.endpoints.hints import tell
from userapi.endpoints.replacing import SILENT_LONGEST, make_room
from userapi.http.endpoint import DEVICE_IN_PATH, Area, HeaderText, endpoint
from userapi.http.fields import LABEL, Answer, Number, Strict, Text, user_id
from userapi.http.handover import held_s, hold
from userapi.http.problems import ProblemError
from userapi.identity import PASSWORD, authenticate, check_enabled
from userapi.proofs import verify_key, verify_renewal
from userapi.service import Service, service
from userapi.tokens import RefreshClaims

_PART = "[A-Za-z0-9_-]+"
_DPOP = HeaderText("DPoP", "A proof that the client has a key: a JWT of RFC 9449.", rf"{_PART}\.{_PART}\.{_PART}")

area = Area("logins", "Logging in and out, and tokens")

_ALPHABET = string.ascii_lowercase + string.digits
_DEVICE_LENGTH = 16
_KEY_MIN, _KEY_MAX = 16, 200
_TRIES = 3
"""How often a login is tried whose account changes while its password is checked."""

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


class Tokens(Answer):
    """What a device works with."""

    access_token = Text("For the chat connection, and for this API (`Authorization: Bearer`).", max_length=4096)
    token_type = Text("Always Bearer.", one_of=("Bearer",))
    expires_in = Number("Seconds for which the access token is good.")
    refresh_token = Text("For `POST /v1/token`, once: keep the one that it answers in its place.", max_length=4096)
    refresh_expires_in = Number("Seconds after which the device has to log in with the password again.")
    user = user_id()
    device = Text("The device's id: keep it.")
    connectors = fields.List(
        fields.String(), required=True, metadata={"description": "Where to chat: host:port or tls://host:port."}
    )


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
        _DPOP,
    ),
    problems=(
        *PASSWORD,
        *("no_such_device", "device_removed", "too_many_devices", "changed_meanwhile", "invalid_dpop_proof"),
    ),
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
    key, bound_to = _idempotency_key(), _key_of_login()
    device = body.get("device")
    login = _random_id()
    for _ in range(_TRIES):
        account = authenticate(parts, body["user"], body["password"], _proven(parts, body))
        user = account.user
        parts.limits.check_new_login(user)
        if device is None:
            device = _add_device(parts, user, _device_id(user, key), body.get("label", ""), body.get("replaces"))
        try:
            parts.bridge.call(parts.bridge.store.begin_login, user, device, login, account)
        except OutdatedError:
            continue  # what was checked is not what stands: check again
        except NotFoundError:
            detail = 'this user has no such device (any more): log in without "device" to get a new one'
            raise ProblemError("no_such_device", detail, field="device") from None
        break
    else:
        raise ProblemError("changed_meanwhile")
    audit.note("logged_in", user, by=user, device=device)
    if "device" in body:
        # With no broker there, it goes on by itself.
        with contextlib.suppress(ServiceError):
            parts.endings.end(user, device)
    return _tokens(parts, RefreshClaims(user, device, login, 1, bound_to))


@endpoint(
    area,
    "POST",
    "/v1/token",
    body=RefreshToken,
    answer=Tokens,
    headers=(_DPOP,),
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
    return _tokens(parts, RefreshClaims(claims.user, claims.device, claims.login, claims.generation + 1, bound_to))


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


def _tokens(parts: Service, claims: RefreshClaims) -> dict[str, object]:
    now = parts.clock() + held_s()  # its time begins when the client has it
    access, expires = parts.minter.mint(claims.user, claims.device, now, claims.login)
    return {
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": expires - int(now),
        "refresh_token": parts.minter.refresh_token(claims),
        "refresh_expires_in": int(parts.settings.refresh_token_lifetime_s),
        "user": claims.user,
        "device": claims.device,
        "connectors": list(parts.settings.connectors),
    }


def _random_id() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_DEVICE_LENGTH))


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY_MIN <= len(key) <= _KEY_MAX:
        detail = f"Idempotency-Key: send {_KEY_MIN} to {_KEY_MAX} random characters"
        raise ProblemError("invalid_value", detail, field="Idempotency-Key")
    return key


def _key_of_login() -> str:
    """The thumbprint of the key that the login is to be bound to; empty without one. Raises `ProblemError`.

    Of such a proof the time does not matter: it goes with the password, and gives nothing but a bound.
    """
    proof = request.headers.get("DPoP")
    if proof is None:
        return ""
    try:
        return verify_key(proof, "POST", request.path)[0]
    except TokenError as error:
        raise ProblemError("invalid_dpop_proof", f"DPoP: {error}") from None


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


def _device_id(user: str, key: str | None) -> str:
    """Random; with a key, the same for the same key."""
    if key is None:
        return _random_id()
    digest = hashlib.sha256(f"{user} {key}".encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:_DEVICE_LENGTH])


def _proven(parts: Service, body: dict[str, Any]) -> str:
    """The device of this user that the caller has shown to have, or to have had; empty: none."""
    claims = parts.minter.read_refresh_token(body.get("proof", ""))
    if claims is None or claims.user != body["user"]:
        return ""
    stands = parts.bridge.call(parts.bridge.store.login, claims.user, claims.device) is not None
    return claims.device if stands else ""


def _add_device(parts: Service, user: str, device: str, label: str, replaces: str | None) -> str:
    store = parts.bridge.store
    there = parts.bridge.call(store.list_devices, user)
    known = {one.device for one in there}
    if device not in known:
        make_room(parts, user, there, replaces)
    try:
        made = parts.bridge.call(store.add_device, user, device, label)
    except NotFoundError:
        raise ProblemError("wrong_credentials", "there is no such user, or the password is wrong") from None
    except AlreadyExistsError:
        raise ProblemError("device_removed") from None
    if device not in known:
        audit.note("device_added", user, by=user, device=device)
    if made.first:
        # What was written to nobody's device is in the common queue, and found there. This only makes it cheaper.
        with contextlib.suppress(ServiceError):
            parts.fabric.changed([user])
        return device
    # Brokers may route by a list of devices without this one for as long. Nobody can use it before its token.
    try:
        parts.fabric.changed([user])
    except ServiceError:
        # Nobody will have its token, so nothing should be kept for it; unless it stood before this repeat.
        if device not in known:
            parts.bridge.call(store.remove_device, user, device)
            audit.note("device_removed", user, by=user, device=device, why="unavailable")
        raise
    hold(parts.settings.further_device_delay_s, parts.sleep)
    tell(user, Hint.DEVICES_CHANGED)
    return device
