"""Accounts: registration, a new password, and the end.

Owns `/v1/accounts`, `/v1/me/password` and `/v1/me/deletion`.
"""

from __future__ import annotations

from typing import Any

from protocol.errors import AlreadyExistsError, InvalidIdError, NotFoundError
from protocol.ids import check_new_user_id
from userapi import audit
from userapi.callers import DEVICE, SIGNED, caller, check_login
from userapi.codes import MAX_LENGTH, digest, wrong_code
from userapi.endpoints import account_deletion
from userapi.endpoints.logins import end_other_logins
from userapi.endpoints.oidc import check_vouched
from userapi.http.endpoint import Area, endpoint
from userapi.http.fields import Answer, Strict, Text, user_id
from userapi.http.problems import ProblemError
from userapi.identity import NEW_PASSWORD, check_new_password, check_passwords_on, right_one
from userapi.service import Service, service

area = Area("accounts", "Accounts: their beginning, their password, their end")


class Registration(Strict):
    """What `POST /v1/admin/accounts` takes."""

    user = Text("1 to 64 of a-z, 0-9, dot, underscore and hyphen; it never changes.", example="alice")
    password = Text("At least `userapi.password_min_length` characters.", example="correct horse")


class InvitedRegistration(Registration):
    """What `POST /v1/accounts` takes."""

    invitation = Text(
        'The code of an invitation, where `userapi.registration` is "invitation".',
        required=False,
        load_default="",
        max_length=MAX_LENGTH,
    )


class Registered(Answer):
    """What `POST /v1/accounts` answers."""

    user = user_id()


class NewPassword(Strict):
    """What `PUT /v1/me/password` takes."""

    old_password = Text("The one that holds now.", example="correct horse")
    new_password = Text("At least `userapi.password_min_length` characters.", example="battery staple")


class AccountDeletion(Strict):
    """What `POST /v1/me/deletion` takes."""

    password = Text("To be sure that it is you.", required=False, example="correct horse")
    ticket = Text("Or that the provider vouches for you: of `POST /v1/oidc/ticket`.", required=False, max_length=8192)


@endpoint(
    area,
    "POST",
    "/v1/accounts",
    body=InvitedRegistration,
    answer=Registered,
    status=201,
    also={200: "It was registered before, with this password: a repeat."},
    problems=(
        "passwords_off",
        "registration_closed",
        "invitation_needed",
        "wrong_code",
        "invalid_user_id",
        *NEW_PASSWORD,
        "user_taken",
        "no_space",
    ),
)
def register(body: dict[str, Any]) -> tuple[dict[str, object], int]:
    """Register a user.

    A repeat with the same password gets 200, so a client whose answer was lost may ask again. A wrong one counts as a
    failed login.
    """
    parts = service()
    check_passwords_on(parts)
    mode = parts.settings.registration
    if mode not in ("open", "invitation"):
        raise ProblemError("registration_closed")
    if mode == "open":
        return begin(parts, body["user"], body["password"])
    if not body["invitation"]:
        raise ProblemError("invitation_needed", field="invitation")
    return begin(parts, body["user"], body["password"], invited_by=digest(body["invitation"]))


def begin(
    parts: Service, wanted: str, password: str, *, by: str = "", invited_by: str = ""
) -> tuple[dict[str, object], int]:
    """Make an account; `by` an administrator, whose registrations nobody counts. `invited_by`: the digest of an
    invitation's code. Raises `ProblemError`."""
    try:
        user = check_new_user_id(wanted)
    except InvalidIdError as error:
        raise ProblemError("invalid_user_id", str(error), field="user") from None
    check_new_password(parts, user, password, "password")
    if not by:
        parts.limits.check_registration()
    store = parts.bridge.store
    invitation = _use_invitation(parts, user, invited_by) if invited_by else ""
    kept = parts.passwords.hash(password)
    try:
        parts.bridge.call(store.create_account, user, kept, invitation)
    except AlreadyExistsError as error:
        # Unless it is a repeat, the name was another's.
        if invitation and parts.bridge.call(store.codes.invitation_of, user) != invitation:
            parts.bridge.call(store.codes.return_use, invited_by, user)
        there = parts.bridge.call(store.account, user)
        if right_one(parts, user, there, password, why="user_taken") is not None:
            return {"user": user}, 200
        raise ProblemError("user_taken", str(error), field="user") from None
    audit.note("account_created", user, by=by or user, **({"invitation": invitation} if invitation else {}))
    return {"user": user}, 201


def _use_invitation(parts: Service, user: str, invited_by: str) -> str:
    """Its id. Before anything is said of the name, or costs anything."""
    parts.limits.check_code()
    found = parts.bridge.call(parts.bridge.store.codes.use_invitation, invited_by, user)
    if found is None:
        raise wrong_code(parts, user, "invitation")
    return found


@endpoint(
    area,
    "PUT",
    "/v1/me/password",
    body=NewPassword,
    status=204,
    guard=DEVICE,
    problems=(*NEW_PASSWORD, "wrong_password", "changed_meanwhile"),
)
def change_password(body: dict[str, Any]) -> tuple[str, int]:
    """Change one's own password.

    The user's other devices are logged out; this one stays. May be repeated with the same fields.
    """
    parts = service()
    store = parts.bridge.store
    old, new = body["old_password"], body["new_password"]
    check_new_password(parts, caller().user, new, "new_password")
    account = parts.bridge.call(store.account, caller().user)
    if account is None:
        raise ProblemError("logged_out")
    right = right_one(parts, account.user, account, old, new, why="wrong_password")
    if right is None:
        raise ProblemError("wrong_password", "the old password is wrong", field="old_password")
    if right == old:  # else it is a repeat, and may have to go on
        try:
            parts.bridge.call(store.change_password, account.user, account.password_hash, parts.passwords.hash(new))
        except (AlreadyExistsError, NotFoundError) as error:
            raise ProblemError("changed_meanwhile", str(error)) from None
        audit.note("password_changed", account.user, device=caller().device)
    end_other_logins(parts, account.user, caller().device)
    return "", 204


@endpoint(
    area,
    "POST",
    "/v1/me/deletion",
    body=AccountDeletion,
    status=204,
    guard=SIGNED,
    problems=("wrong_password", "oidc_off", "oidc_expired"),
)
def delete_account(body: dict[str, Any]) -> tuple[str, int]:
    """Delete one's own account, at once and for good.

    What goes: the password and the profile, all devices and their tokens, contacts, and every message that waits for
    the user. Their sessions are closed. What others have received from the user stays with them, files until their
    time is over; what was being written to the user at this moment expires in the inbox. Of conversations that are
    kept, the user's list and marks go; what the user wrote there stays for the others, or goes as well
    (`history.words_of_deleted_accounts`). All groups are left first. Nobody ever gets the id again.
    """
    parts = service()
    user = caller().user
    account = parts.bridge.call(parts.bridge.store.account, user)
    if account is not None:  # else it is a repeat, which the token allows, and may have to go on
        check_login()
        if "ticket" in body:
            check_vouched(parts, user, body["ticket"])
        elif "password" not in body:
            raise ProblemError("missing_field", 'send "password", or a "ticket"', field="password")
        elif right_one(parts, user, account, body["password"], why="wrong_password") is None:
            raise ProblemError("wrong_password", "the password is wrong", field="password")
    account_deletion.end_account(parts, user, known=account is not None, device=caller().device)
    return "", 204
