"""Administration: `/v1/admin`, for those who run the service.

Owns its endpoints and its credential, which has nothing to do with anybody's account.
"""

from __future__ import annotations

import contextlib
import hmac
from typing import Any

from flask import request
from marshmallow import fields

from protocol.errors import ConfigError, InvalidIdError, NotFoundError, ServiceError
from protocol.ids import check_user_id
from store.interface import Account
from userapi import audit
from userapi.credentials import read_secret
from userapi.endpoints.accounts import Registered, Registration, begin
from userapi.http.endpoint import USER_IN_PATH, Area, Guard, endpoint
from userapi.http.fields import Answer, Flag, Number, Text, items, user_id
from userapi.http.problems import ProblemError
from userapi.identity import NEW_PASSWORD
from userapi.passwords import keeps_password
from userapi.service import service
from userapi.settings import UserApiSettings

area = Area("administration", "For those who run the service; off unless `userapi.admin_token_file` is set")

_MIN_TOKEN = 32
_MAX_PATH = 200
"""Characters of a path in the audit log."""


def read_admin_token(settings: UserApiSettings) -> str:
    """The credential; empty where there is no administration. Raises `ConfigError`."""
    if not settings.admin_token_file:
        return ""
    key = "userapi.admin_token_file"
    token = read_secret(key, settings.admin_token_file)
    if len(token) < _MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"{key}: {settings.admin_token_file}: write {_MIN_TOKEN} or more random characters there: "
            "openssl rand -hex 32"
        )
    return token


def _check() -> None:
    parts = service()
    wanted = parts.admin_token
    if not wanted:
        raise ProblemError("not_found")
    parts.limits.check_administrator()
    given = request.authorization
    token = given.token if given is not None and given.type == "bearer" else None
    if not hmac.compare_digest((token or "").encode(), wanted.encode()):
        parts.limits.administrator_failed()
        audit.note("admin_token_refused", "-", path=request.path[:_MAX_PATH])
        raise ProblemError("wrong_admin_token", headers={"WWW-Authenticate": 'Bearer realm="administration"'})


ADMINISTRATOR = Guard("admin_token", _check, ("not_found", "wrong_admin_token"))
"""Whoever knows what is in `userapi.admin_token_file`."""


class Totals(Answer):
    """What `GET /v1/admin/counts` answers."""

    accounts = Number("Registered accounts.", allow_none=True)
    devices = Number("Devices that have not been removed.", allow_none=True)
    inbox_rows = Number("Copies that wait for a device.", allow_none=True)


class KnownDevice(Answer):
    """One device."""

    device = Text("Its id.")
    label = Text("What people call it.")
    created_ms = Number("When it logged in first; Unix time in milliseconds.")
    logged_in = Flag("Whether it is.")


class KnownSubject(Answer):
    """Somebody at an OpenID provider."""

    issuer = Text("The provider.")
    subject = Text("What it calls them for good.")


class KnownAccount(Answer):
    """What `GET /v1/admin/accounts/{user}` answers."""

    user = user_id()
    display_name = Text("What people call them.")
    created_ms = Number("When it began; Unix time in milliseconds.")
    invitation = Text("The id of the invitation with which it was made.", allow_none=True)
    disabled = Flag("Whether it may not log in.")
    own_password = Flag("Whether we keep a password for it.")
    subjects = items(KnownSubject, "Who at an OpenID provider may log in to it.")
    online = fields.Boolean(
        required=True, allow_none=True, metadata={"description": "Whether a session is there; null: no broker answers."}
    )
    last_seen_ms = Number("When one was there last; Unix time in milliseconds.", allow_none=True)
    reset_code_ends_ms = Number(
        "Until when a code for a new password is open; Unix time in milliseconds; null: none is.", allow_none=True
    )
    waiting_rows = Number("Copies that wait for its devices.")
    waiting_bytes = Number("Their bytes.")
    uploaded_bytes = Number("Bytes of its files that are there.")
    devices = items(KnownDevice, "Oldest first.")


@endpoint(
    area,
    "POST",
    "/v1/admin/accounts",
    body=Registration,
    answer=Registered,
    status=201,
    also={200: "It was registered before, with this password: a repeat."},
    guard=ADMINISTRATOR,
    problems=("invalid_user_id", *NEW_PASSWORD, "user_taken"),
)
def register_for(body: dict[str, Any]) -> tuple[dict[str, object], int]:
    """Register a user, also where nobody may do so for themselves (`userapi.registration`)."""
    return begin(service(), body["user"], body["password"], by=audit.ADMINISTRATOR)


@endpoint(area, "GET", "/v1/admin/counts", answer=Totals, guard=ADMINISTRATOR)
def count_everything() -> dict[str, object]:
    """Count accounts, devices and waiting copies.

    A number is null where it would cost too much: with Cassandra, all are.
    """
    bridge = service().bridge
    counts = bridge.call(bridge.store.counts)
    return {"accounts": counts.accounts, "devices": counts.devices, "inbox_rows": counts.inbox_rows}


@endpoint(
    area,
    "GET",
    "/v1/admin/accounts/<user>",
    answer=KnownAccount,
    parts=(USER_IN_PATH,),
    guard=ADMINISTRATOR,
    problems=("no_such_user",),
)
def look_at_account(user: str) -> dict[str, object]:
    """Look at an account."""
    parts = service()
    account = known_account(user)
    store = parts.bridge.store
    online = None
    with contextlib.suppress(ServiceError):
        online = parts.fabric.online([user])[user]
    profile = parts.bridge.call(store.profiles, [user]).get(user)
    code = parts.bridge.call(store.codes.reset_code, user)
    is_open = code is not None and not code.used and code.ends_ms > parts.clock() * 1000
    waiting = parts.bridge.call(store.waiting, [user]).get(user, {}).values()
    return {
        "user": user,
        "display_name": profile.display_name if profile else "",
        "invitation": parts.bridge.call(store.codes.invitation_of, user) or None,
        "reset_code_ends_ms": code.ends_ms if code is not None and is_open else None,
        "waiting_rows": sum(rows for rows, _ in waiting),
        "waiting_bytes": sum(size for _, size in waiting),
        "uploaded_bytes": parts.bridge.call(store.uploads_of, user, 0).bytes,
        "created_ms": account.created_ms,
        "disabled": account.disabled,
        "own_password": keeps_password(account.password_hash),
        "subjects": [one._asdict() for one in parts.bridge.call(store.subjects.of, user)],
        "online": online,
        "last_seen_ms": parts.bridge.call(store.last_seen, [user]).get(user),
        "devices": parts.bridge.call(store.list_devices, user),
    }


@endpoint(
    area,
    "POST",
    "/v1/admin/accounts/<user>/disable",
    status=204,
    parts=(USER_IN_PATH,),
    guard=ADMINISTRATOR,
    problems=("no_such_user",),
)
def disable_account(user: str) -> tuple[str, int]:
    """Disable an account: nobody logs in to it any more, and its sessions are closed.

    What is written to it is kept, for as long as the inbox keeps it. Clients are told that the account is disabled;
    those that do not know that, that they are logged out: they keep their device. May be repeated.
    """
    _set_disabled(user, True)
    service().endings.end(user)
    return "", 204


@endpoint(
    area,
    "POST",
    "/v1/admin/accounts/<user>/enable",
    status=204,
    parts=(USER_IN_PATH,),
    guard=ADMINISTRATOR,
    problems=("no_such_user",),
)
def enable_account(user: str) -> tuple[str, int]:
    """Enable an account again. May be repeated."""
    _set_disabled(user, False)
    return "", 204


@endpoint(
    area,
    "POST",
    "/v1/admin/accounts/<user>/close-sessions",
    status=204,
    parts=(USER_IN_PATH,),
    guard=ADMINISTRATOR,
    problems=("no_such_user",),
)
def close_sessions(user: str) -> tuple[str, int]:
    """Close the chat sessions of an account. Its devices stay, and may log in again."""
    known_account(user)
    service().fabric.close(user)
    audit.note("sessions_closed", user, by=audit.ADMINISTRATOR)
    return "", 204


@endpoint(
    area,
    "POST",
    "/v1/admin/accounts/<user>/end-logins",
    status=204,
    parts=(USER_IN_PATH,),
    guard=ADMINISTRATOR,
    problems=("no_such_user",),
)
def end_account_logins(user: str) -> tuple[str, int]:
    """End all logins of an account: tokens and sessions of all its devices. These stay, and may log in again.

    May be repeated. Of all accounts at once, as after a restore: `sparrow end-logins --all`.
    """
    known_account(user)
    parts = service()
    parts.bridge.call(parts.bridge.store.end_logins, user)
    audit.note("logins_ended", user, by=audit.ADMINISTRATOR)
    parts.endings.end(user)
    return "", 204


def _set_disabled(user: str, disabled: bool) -> None:
    before = known_account(user).disabled
    bridge = service().bridge
    try:
        bridge.call(bridge.store.set_disabled, user, disabled)
    except NotFoundError as error:
        raise ProblemError("no_such_user", str(error)) from None
    if before != disabled:
        audit.note("account_disabled" if disabled else "account_enabled", user, by=audit.ADMINISTRATOR)


def known_account(user: str) -> Account:
    """The account. Raises `ProblemError`."""
    bridge = service().bridge
    account = None
    with contextlib.suppress(InvalidIdError):
        account = bridge.call(bridge.store.account, check_user_id(user))
    if account is None:
        raise ProblemError("no_such_user")
    return account
