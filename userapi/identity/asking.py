"""The question whether a password is a user's, and whether a new one will do.

Owns the order of a login's checks: limits, password, whether the account may log in. Sees passwords, keeps none.
"""

from __future__ import annotations

from protocol.errors import AlreadyExistsError, InvalidIdError, UnavailableError
from protocol.ids import check_user_id
from store.interface import Account
from userapi import audit
from userapi.identity.breaches import is_breached
from userapi.identity.port import Identity
from userapi.passwords import normal
from userapi.problems import ProblemError
from userapi.service import Service

PASSWORD = ("wrong_credentials", "account_disabled")
"""Problems of endpoints that call `authenticate`."""
NEW_PASSWORD = ("password_too_short", "password_too_long", "password_breached", "passwords_elsewhere")
"""Problems of endpoints that call `check_new_password`."""


def authenticate(parts: Service, user: str, password: str) -> Account:
    """The account whose password it is; one that another system vouches for begins with its first login.

    Raises `ProblemError` ("wrong_credentials", "account_disabled", "too_many_requests"), and takes as long for a user
    that does not exist.
    """
    parts.limits.check_login(user)
    account = parts.bridge.call(parts.bridge.store.account, user)
    right = _is_right(parts, user, account, password)
    if right and account is None and parts.identity is not None:
        account = _begin(parts, user)
    if not right or account is None:
        _failed(parts, user, "wrong_credentials")
        raise ProblemError("wrong_credentials", "there is no such user, or the password is wrong")
    if account.disabled:
        audit.note("login_failed", user, why="account_disabled")
        raise ProblemError("account_disabled")
    return account


def right_one(parts: Service, user: str, account: Account | None, *passwords: str, why: str) -> str | None:
    """Which of the passwords is `user`'s; None counts and is noted like a failed login, `why` being what is answered.

    For whatever tries a password beside a login. Raises `ProblemError` ("too_many_requests").
    """
    parts.limits.check_login(user)
    for password in passwords:
        if _is_right(parts, user, account, password):
            return password
    _failed(parts, user, why, len(passwords))
    return None


def _failed(parts: Service, user: str, why: str, tries: int = 1) -> None:
    for _ in range(tries):
        parts.limits.login_failed(user)
    audit.note("login_failed", user, why=why)


def check_enabled(parts: Service, user: str) -> None:
    """Raises `ProblemError` ("account_disabled"). For everything that lets somebody in without a password."""
    account = parts.bridge.call(parts.bridge.store.account, user)
    if account is not None and account.disabled:
        raise ProblemError("account_disabled")


def check_new_password(parts: Service, password: str, field: str) -> None:
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
