"""Accounts: `POST /v1/accounts`.

Owns registration.
"""

from __future__ import annotations

from flask import Blueprint

from protocol.errors import AlreadyExistsError, InvalidIdError
from protocol.ids import check_user_id
from userapi.bodies import Text, read_strings
from userapi.problems import ProblemError
from userapi.service import service

blueprint = Blueprint("accounts", __name__)


@blueprint.post("/v1/accounts")
def register() -> tuple[dict[str, object], int]:
    """Register a user: {user, password} → 201 {user}."""
    fields = read_strings({"user": Text(), "password": Text()})
    parts = service()
    shortest = parts.settings.password_min_length
    try:
        user = check_user_id(fields["user"])
    except InvalidIdError as error:
        raise ProblemError(400, "invalid_user_id", str(error), field="user") from None
    if len(fields["password"]) < shortest:
        detail = f"the password is too short: use at least {shortest} characters"
        raise ProblemError(400, "password_too_short", detail, field="password")
    kept = parts.passwords.hash(fields["password"])
    try:
        parts.bridge.call(parts.bridge.store.create_account, user, kept)
    except AlreadyExistsError as error:
        raise ProblemError(409, "user_taken", str(error), field="user") from None
    return {"user": user}, 201
