"""Who at an OpenID provider an account is of, as those who run the service say.

Owns these endpoints. It is the one way by which somebody at the provider comes to an account that is there already.
"""

from __future__ import annotations

from typing import Any

from protocol.errors import AlreadyExistsError, NotFoundError
from store.subjects import Subject
from userapi import audit
from userapi.endpoints.admin import ADMINISTRATOR, known_account
from userapi.endpoints.oidc import scramble
from userapi.http.endpoint import USER_IN_PATH, Area, endpoint
from userapi.http.fields import Strict, Text
from userapi.http.problems import ProblemError
from userapi.passwords import NO_PASSWORD
from userapi.service import service

area = Area("administration of OpenID subjects", "Who at the provider an account is of, for who runs the service")


class LinkedSubject(Strict):
    """What both take."""

    subject = Text("What the provider calls them for good: the claim `sub`.", min_length=1, max_length=255)
    issuer = Text("The provider, if it is not `userapi.oidc_issuer`.", required=False)


@endpoint(
    area,
    "POST",
    "/v1/admin/accounts/<user>/link",
    body=LinkedSubject,
    status=204,
    parts=(USER_IN_PATH,),
    guard=ADMINISTRATOR,
    problems=("no_such_user", "oidc_off", "subject_taken"),
)
def link_subject(body: dict[str, Any], user: str) -> tuple[str, int]:
    """Let somebody whom the provider knows log in to an account. May be repeated."""
    account, subject = known_account(user), _subject(body)
    bridge = service().bridge
    before = bridge.call(bridge.store.subjects.user_of, subject)
    try:
        whose = bridge.call(bridge.store.subjects.link, subject, account.user)
    except NotFoundError as error:
        raise ProblemError("no_such_user", str(error)) from None
    if whose != account.user:
        raise ProblemError("subject_taken", f'this subject leads to "{whose}": unlink it there', field="subject")
    if before != account.user:
        audit.note("subject_linked", user, by=audit.ADMINISTRATOR, **subject._asdict())
    return "", 204


@endpoint(
    area,
    "POST",
    "/v1/admin/accounts/<user>/unlink",
    body=LinkedSubject,
    status=204,
    parts=(USER_IN_PATH,),
    guard=ADMINISTRATOR,
    problems=("no_such_user", "oidc_off", "no_such_subject"),
)
def unlink_subject(body: dict[str, Any], user: str) -> tuple[str, int]:
    """Let them in no more. What is logged in stays so: `end-logins` ends it."""
    account, subject = known_account(user), _subject(body)
    bridge = service().bridge
    # First: what the account began with would be taken for a repeat of it.
    if account.password_hash.startswith(NO_PASSWORD):
        try:
            bridge.call(bridge.store.change_password, user, account.password_hash, scramble())
        except (AlreadyExistsError, NotFoundError) as error:
            raise ProblemError("no_such_user", str(error)) from None
    if not bridge.call(bridge.store.subjects.unlink, subject, user):
        raise ProblemError("no_such_subject", field="subject")
    audit.note("subject_unlinked", user, by=audit.ADMINISTRATOR, **subject._asdict())
    return "", 204


def _subject(body: dict[str, Any]) -> Subject:
    parts = service()
    issuer = body.get("issuer") or parts.settings.oidc_issuer
    if not issuer:
        raise ProblemError("oidc_off")
    return Subject(issuer, body["subject"])
