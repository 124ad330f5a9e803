"""What a login gives, whoever has vouched for the user: a device, and tokens.

Owns the minting of devices and tokens. Sees no password.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import string
from collections.abc import Callable
from typing import Any

from flask import request
from marshmallow import fields

from protocol.errors import AlreadyExistsError, NotFoundError, OutdatedError, ServiceError, TokenError
from protocol.sparrow_pb2 import Hint
from store.interface import Account
from userapi import audit
from userapi.endpoints.hints import tell
from userapi.endpoints.replacing import make_room
from userapi.http.endpoint import HeaderText
from userapi.http.fields import Answer, Number, Text, user_id
from userapi.http.handover import held_s, hold
from userapi.http.problems import ProblemError
from userapi.proofs import verify_key
from userapi.service import Service
from userapi.tokens import RefreshClaims

_PART = "[A-Za-z0-9_-]+"
DPOP = HeaderText("DPoP", "A proof that the client has a key: a JWT of RFC 9449.", rf"{_PART}\.{_PART}\.{_PART}")
NEW_LOGIN = ("no_such_device", "device_removed", "too_many_devices", "changed_meanwhile", "invalid_dpop_proof")
"""Problems of endpoints that call `begin_login`."""

_ALPHABET = string.ascii_lowercase + string.digits
_DEVICE_LENGTH = 16
_TRIES = 3
"""How often a login is tried whose account changes while it is checked."""


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


def begin_login(
    parts: Service, check: Callable[[], Account], body: dict[str, Any], key: str | None, **facts: object
) -> dict[str, object]:
    """Log the user in whom `check` finds, with the `device` of the body or a new one, which has the id of `key`.

    `facts`: what the audit log has of it besides. Raises `ProblemError`, as `NEW_LOGIN` and `check`.
    """
    bound_to = _key_of_login()
    device = body.get("device")
    login = _random_id()
    for _ in range(_TRIES):
        account = check()
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
    audit.note("logged_in", user, by=user, device=device, **facts)
    if "device" in body:
        # With no broker there, it goes on by itself.
        with contextlib.suppress(ServiceError):
            parts.endings.end(user, device)
    return tokens(parts, RefreshClaims(user, device, login, 1, bound_to))


def tokens(parts: Service, claims: RefreshClaims) -> dict[str, object]:
    """What `Tokens` answers."""
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


def _device_id(user: str, key: str | None) -> str:
    """Random; with a key, the same for the same key."""
    if key is None:
        return _random_id()
    digest = hashlib.sha256(f"{user} {key}".encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:_DEVICE_LENGTH])


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
