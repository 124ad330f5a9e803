"""A new password by a code, for somebody who has lost theirs.

Owns `/v1/password-reset`, and the making of the code by those who run the service. Wrong, used and ended codes, and
those of nobody, get one answer.
"""

from __future__ import annotations

import hmac
from typing import Any

from protocol.errors import NotFoundError
from store.codes import ResetCode
from userapi import audit
from userapi.codes import MAX_LENGTH, digest, draw, wrong_code
from userapi.endpoints.admin import ADMINISTRATOR, known_account
from userapi.http.endpoint import USER_IN_PATH, Area, endpoint
from userapi.http.fields import Answer, Number, Strict, Text, user_id
from userapi.http.problems import ProblemError
from userapi.identity import NEW_PASSWORD, check_new_password, check_passwords_on, right_one
from userapi.service import service

area = Area("password reset", "A new password by a code that those who run the service have made")


class Reset(Strict):
    """What `POST /v1/password-reset` takes."""

    user = Text("Whose password.", example="alice")
    code = Text("The code.", max_length=MAX_LENGTH, example="abcd-efgh-ijkl-mnop-qrst-uvwx-yz")
    new_password = Text("At least `userapi.password_min_length` characters.", example="battery staple")


class MadeCode(Answer):
    """A code that was just made."""

    user = user_id()
    code = Text("What lets them set a new password. It is told this once.")
    ends_ms = Number("When it ends; Unix time in milliseconds.")


@endpoint(
    area,
    "POST",
    "/v1/admin/accounts/<user>/password-reset",
    answer=MadeCode,
    status=201,
    parts=(USER_IN_PATH,),
    guard=ADMINISTRATOR,
    problems=("no_such_user", "passwords_elsewhere", "passwords_off", "account_disabled"),
)
def make_reset_code(user: str) -> tuple[dict[str, object], int]:
    """Make a code by which somebody sets a new password, once; it takes the place of the one before.

    It ends after `userapi.reset_code_lifetime_s`, or when the password changes or the account is disabled. The password
    and the logins of before stay until it is used.
    """
    parts = service()
    if parts.identity is not None:
        raise ProblemError("passwords_elsewhere")
    check_passwords_on(parts)
    if known_account(user).disabled:
        raise ProblemError("account_disabled", "the account is disabled: enable it first")
    code = draw()
    ends_ms = int((parts.clock() + parts.settings.reset_code_lifetime_s) * 1000)
    codes = parts.bridge.store.codes
    try:
        parts.bridge.call(codes.put_reset_code, user, ResetCode(digest(code), ends_ms))
    except NotFoundError as error:
        raise ProblemError("no_such_user", str(error)) from None
    audit.note("reset_code_made", user, by=audit.ADMINISTRATOR, ends_ms=ends_ms)
    return {"user": user, "code": code, "ends_ms": ends_ms}, 201


@endpoint(
    area,
    "POST",
    "/v1/password-reset",
    body=Reset,
    status=204,
    problems=(*NEW_PASSWORD, "passwords_off", "wrong_code"),
)
def reset_password(body: dict[str, Any]) -> tuple[str, int]:
    """Set a new password by a code, which is good once.

    All devices of the user are logged out, and log in with the new password. May be repeated with the same fields.
    """
    parts = service()
    user, new = body["user"], body["new_password"]
    check_passwords_on(parts)
    check_new_password(parts, user, new, "new_password")
    parts.limits.check_code()
    store = parts.bridge.store
    wanted = digest(body["code"])
    kept = parts.bridge.call(store.codes.reset_code, user)
    if (
        kept is None
        or kept.ends_ms <= parts.clock() * 1000
        or not hmac.compare_digest(kept.digest.encode(), wanted.encode())
    ):
        raise wrong_code(parts, user, "code")
    if kept.used:
        # A repeat by somebody who has not got the answer: it may have to go on.
        account = parts.bridge.call(store.account, user)
        if right_one(parts, user, account, new, why="wrong_code") is None:
            raise wrong_code(parts, user, "code")
        parts.bridge.call(store.end_logins, user)
    elif parts.bridge.call(store.codes.reset_password, user, wanted, parts.passwords.hash(new)):
        audit.note("password_reset", user, by=user)
    else:
        raise wrong_code(parts, user, "code")
    parts.endings.end(user)
    return "", 204
