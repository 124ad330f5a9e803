"""Logins: `POST /v1/login`.

Owns the minting of devices and tokens.
"""

from __future__ import annotations

import secrets
import string

from flask import Blueprint

from protocol.errors import NotFoundError
from store.interface import Account
from userapi.bodies import Text, read_strings
from userapi.problems import ProblemError
from userapi.service import Service, service

blueprint = Blueprint("logins", __name__)

_ALPHABET = string.ascii_lowercase + string.digits
_DEVICE_LENGTH = 16


@blueprint.post("/v1/login")
def log_in() -> dict[str, object]:
    """Log in: {user, password, device?, label?} → {token, user, device, expires_ms, connectors}."""
    fields = read_strings(
        {
            "user": Text(),
            "password": Text(),
            "device": Text(required=False),
            "label": Text(required=False, max_length=100),
        }
    )
    parts = service()
    account = parts.bridge.call(parts.bridge.store.account, fields["user"])
    kept = None if account is None else account.password_hash
    if not parts.passwords.matches(fields["password"], kept) or account is None:
        raise ProblemError(401, "wrong_credentials", "there is no such user, or the password is wrong")
    device = fields.get("device")
    if device is None:
        device = _add_device(parts, account, fields.get("label", ""))
    else:
        _check_device(parts, account, device)
    token, expires = parts.minter.mint(account.user, device, parts.clock())
    return {
        "token": token,
        "user": account.user,
        "device": device,
        "expires_ms": expires * 1000,
        "connectors": list(parts.settings.connectors),
    }


def _add_device(parts: Service, account: Account, label: str) -> str:
    device = "".join(secrets.choice(_ALPHABET) for _ in range(_DEVICE_LENGTH))
    store = parts.bridge.store
    try:
        parts.bridge.call(store.add_device, account.user, device, label)
    except NotFoundError:
        raise ProblemError(401, "wrong_credentials", "there is no such user, or the password is wrong") from None
    # Asked after adding: of two first logins at once, at least the later one sees the other.
    if len(parts.bridge.call(store.list_devices, account.user)) > 1:
        # Brokers may route by a list of devices without this one for as long. Nobody can use it before its token.
        parts.sleep(parts.settings.further_device_delay_s)
    return device


def _check_device(parts: Service, account: Account, device: str) -> None:
    known = parts.bridge.call(parts.bridge.store.list_devices, account.user)
    if all(one.device != device for one in known):
        detail = 'this user has no such device (any more): log in without "device" to get a new one'
        raise ProblemError(404, "no_such_device", detail, field="device")
