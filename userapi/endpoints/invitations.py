"""Invitations to register, where accounts are made by invitation (`userapi.registration`).

Owns `/v1/admin/invitations`, and what becomes of a code when somebody registers with it.
"""

from __future__ import annotations

import secrets
from typing import Any

from marshmallow import fields

from store.codes import Invitation
from userapi import audit
from userapi.codes import digest, draw
from userapi.endpoints.admin import ADMINISTRATOR
from userapi.http.endpoint import Area, PathText, endpoint
from userapi.http.fields import LABEL, Answer, Number, Strict, Text, items
from userapi.http.pages import PageAnswer, PageQuery, from_cursor, to_cursor
from userapi.http.problems import ProblemError
from userapi.identity import check_passwords_on
from userapi.service import service

area = Area("invitations", "Invitations to register, for those who run the service")

MAX_USES = 1000
_ID_BYTES = 8
_HOUR_MS = 3_600_000
_MAX_HOURS = 8760
_INVITATION_IN_PATH = PathText("invitation", "The invitation's id.", "[0-9a-f]{16}", "0" * 16)


class NewInvitation(Strict):
    """What `POST /v1/admin/invitations` takes."""

    hours = Number("It ends after so many.", required=False, load_default=168, minimum=1, maximum=_MAX_HOURS)
    uses = Number("So many may register with it.", required=False, load_default=1, minimum=1, maximum=MAX_USES)
    note = Text("For you: whom it is for.", required=False, load_default="", example="Bob", **LABEL)


class OpenInvitation(Answer):
    """One that has not ended."""

    invitation = Text("Its id, which is no secret.")
    note = Text("Whom it is for.")
    made_ms = Number("When it was made; Unix time in milliseconds.")
    ends_ms = Number("When it ends; Unix time in milliseconds.")
    uses = Number("So many may register with it.")
    used_by = fields.List(fields.String(), required=True, metadata={"description": "Who has registered, or tries to."})


class MadeInvitation(OpenInvitation):
    """One that was just made."""

    code = Text("What lets somebody register. It is told this once.")


class OpenInvitations(PageAnswer):
    """Those that have not ended, used up or not."""

    invitations = items(OpenInvitation, "By id.")


@endpoint(
    area,
    "POST",
    "/v1/admin/invitations",
    body=NewInvitation,
    answer=MadeInvitation,
    status=201,
    guard=ADMINISTRATOR,
    problems=("passwords_elsewhere", "passwords_off", "too_many_invitations"),
)
def make_invitation(body: dict[str, Any]) -> tuple[dict[str, object], int]:
    """Make an invitation. It has a meaning where `userapi.registration` is "invitation"."""
    parts = service()
    if parts.identity is not None:
        raise ProblemError("passwords_elsewhere")
    check_passwords_on(parts)
    codes = parts.bridge.store.codes
    if parts.bridge.call(codes.count_invitations) >= parts.settings.max_invitations:
        raise ProblemError("too_many_invitations")
    code, now_ms = draw(), int(parts.clock() * 1000)
    ends_ms = now_ms + body["hours"] * _HOUR_MS
    made = Invitation(secrets.token_hex(_ID_BYTES), digest(code), now_ms, ends_ms, body["uses"], body["note"])
    parts.bridge.call(codes.add_invitation, made)
    facts = {"invitation": made.invitation, "uses": made.uses, "ends_ms": ends_ms}
    audit.note("invitation_made", "-", by=audit.ADMINISTRATOR, **facts)
    return {**_rendered(made), "code": code}, 201


@endpoint(area, "GET", "/v1/admin/invitations", query=PageQuery, answer=OpenInvitations, guard=ADMINISTRATOR)
def list_open_invitations(query: dict[str, Any]) -> dict[str, object]:
    """List invitations that have not ended; not their codes, which nobody has kept."""
    bridge, limit = service().bridge, query["limit"]
    found = bridge.call(bridge.store.codes.invitations, from_cursor(query), limit)
    following = to_cursor(found[-1].invitation) if len(found) == limit else None
    return {"invitations": [_rendered(one) for one in found], "next": following}


@endpoint(
    area,
    "DELETE",
    "/v1/admin/invitations/<invitation>",
    status=204,
    parts=(_INVITATION_IN_PATH,),
    guard=ADMINISTRATOR,
    problems=("unknown_invitation",),
)
def withdraw_invitation(invitation: str) -> tuple[str, int]:
    """Withdraw an invitation: nobody registers with it any more; who has, stays."""
    bridge = service().bridge
    if not bridge.call(bridge.store.codes.withdraw_invitation, invitation):
        raise ProblemError("unknown_invitation")
    audit.note("invitation_withdrawn", "-", by=audit.ADMINISTRATOR, invitation=invitation)
    return "", 204


def _rendered(one: Invitation) -> dict[str, object]:
    return {
        "invitation": one.invitation,
        "note": one.note,
        "made_ms": one.made_ms,
        "ends_ms": one.ends_ms,
        "uses": one.uses,
        "used_by": list(one.used_by),
    }
