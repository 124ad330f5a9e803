"""The question whether a password is a user's, and whether a new one will do.

Owns the order of a login's checks: limits, password, whether the account may log in. Sees passwords, keeps none.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from flask import g

from protocol.errors import AlreadyExistsError, InvalidIdError, NotFoundError, ServiceError, UnavailableError
from protocol.ids import check_user_id
from store.interface import Account
from userapi import audit
from userapi.http.problems import ProblemError
from userapi.identity.breaches import is_breached
from userapi.identity.common import is_common
from userapi.identity.port import Identity
from userapi.passwords import normal
from userapi.service import Service

if TYPE_CHECKING:
    from userapi.callers import Caller

PASSWORD = ("wrong_credentials", "account_disabled", "passwords_off")
"""Problems of endpoints that call `authenticate`."""
NEW_PASSWORD = (
    "password_too_short",
    "password_too_long",
    "password_common",
    "password_breached",
    "passwords_elsewhere",
)
"""Problems of endpoints that call `check_new_password`."""


def authenticate(parts: Service, user: str, password: str, device: str = "") -> Account:
    """The account whose password it is; one that another system vouches for begins with its first login.

    `device`: one of the user's, which the caller has shown to have. Raises `ProblemError` ("wrong_credentials",
    "account_disabled", "passwords_off", "too_many_requests"), and takes as long for a user that does not exist.
    """
    check_passwords_on(parts)
    parts.limits.check_login(user, device)
    account = parts.bridge.call(parts.bridge.store.account, user)
    right = _is_right(parts, user, account, password)
    if right and account is None and parts.identity is not None:
        account = _begin(parts, user)
    if not right or account is None:
        _failed(parts, user, "wrong_credentials", device=device)
        raise ProblemError("wrong_credentials", "there is no such user, or the password is wrong")
    if account.disabled:
        audit.note("login_failed", user, why="account_disabled")
        raise ProblemError("account_disabled")
    parts.limits.at_home(user)
    return _rehashed(parts, account, password)


def _rehashed(parts: Service, account: Account, password: str) -> Account:
    """The account, its hash made anew if it was made with other settings than those of today."""
    if parts.identity is not None or not parts.passwords.is_outdated(account.password_hash):
        return account
    store = parts.bridge.store
    with contextlib.suppress(AlreadyExistsError, NotFoundError, ServiceError):
        made = parts.passwords.hash(password)
        parts.bridge.call(store.change_password, account.user, account.password_hash, made)
        there = parts.bridge.call(store.account, account.user)
        # Anything else means that it was changed at this moment, and this login is held against what was checked.
        if there is not None and there.password_hash == made:
            return there
    return account


def right_one(parts: Service, user: str, account: Account | None, *passwords: str, why: str) -> str | None:
    """Which of the passwords is `user`'s; None counts and is noted like a failed login, `why` being what is answered.

    For whatever tries a password beside a login; one's own, with a standing login, is not counted with strangers'.
    Raises `ProblemError` ("too_many_requests").
    """
    own: Caller | None = g.get("caller")
    device = own.device if own is not None and own.user == user else ""
    parts.limits.check_login(user, device)
    for password in passwords:
        if _is_right(parts, user, account, password):
            return password
    _failed(parts, user, why, len(passwords), device)
    return None


def _failed(parts: Service, user: str, why: str, tries: int = 1, device: str = "") -> None:
    for _ in range(tries):
        parts.limits.login_failed(user, device)
    audit.note("login_failed", user, why=why)


def check_enabled(parts: Service, user: str) -> None:
    """Raises `ProblemError` ("account_disabled"). For everything that lets somebody in without a password."""
    account = parts.bridge.call(parts.bridge.store.account, user)
    if account is not None and account.disabled:
        raise ProblemError("account_disabled")


def check_passwords_on(parts: Service) -> None:
    """Raises `ProblemError` ("passwords_off") where people log in without one."""
    if not parts.settings.password_login:
        raise ProblemError("passwords_off")


def check_new_password(parts: Service, user: str, password: str, field: str) -> None:
    """Raises `ProblemError` for a password that is too easy, and where another system keeps them."""
    settings = parts.settings
    if parts.identity is not None:
        raise ProblemError("passwords_elsewhere")
    length = len(normal(password))
    if length < settings.password_min_length:
        detail = f"the password is too short: use at least {settings.password_min_length} characters"
        raise ProblemError("password_too_short", detail, field=field)
    if length > settings.password_max_length:
        detail = f"the password is too long: use at most {settings.password_max_length} characters"
        raise ProblemError("password_too_long", detail, field=field)
    if is_common(password, user):
        raise ProblemError("password_common", field=field)
    if settings.password_breached_file and is_breached(settings.password_breached_file, password):
        raise ProblemError("password_breached", field=field)


def _is_right(parts: Service, user: str, account: Account | None, password: str) -> bool:
    if parts.identity is None:
        return parts.passwords.matches(password, account.password_hash if account else None)
    return _ask(parts, parts.identity, user, password)


def _ask(parts: Service, identity: Identity, user: str, password: str) -> bool:
    try:
        check_user_id(user)
    except InvalidIdError:
        return False
    if not password:
        return False
    # While that system is slow, logins must not take all threads from those who are logged in.
    if not parts.identity_turn.acquire(blocking=False):
        raise UnavailableError(f"{parts.settings.identity_max_at_once} logins wait for the user system already")
    try:
        return identity.check(user, password)
    finally:
        parts.identity_turn.release()


def _begin(parts: Service, user: str) -> Account | None:
    try:
        made = parts.bridge.call(parts.bridge.store.create_account, user, "")
    except AlreadyExistsError:
        # At once by somebody else, or it has ended for good.
        return parts.bridge.call(parts.bridge.store.account, user)
    audit.note("account_created", user, why="first_login")
    return made
