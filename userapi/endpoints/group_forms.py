"""Groups as they go out over HTTP, and what all of their endpoints do alike (docs/design/groups.md, "Over HTTP").

Owns their form as JSON, and what errors of a change are called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from marshmallow import fields

from protocol.errors import MisuseError, NotAllowedHereError, NotFoundError, OutdatedError
from protocol.sparrow_pb2 import Hint
from store.groups import Group, Member, Role
from store.membership import SETTINGS, role_of
from userapi import audit
from userapi.callers import DEVICE, caller
from userapi.groups import Outcome, Step
from userapi.http.endpoint import Guard, PathText
from userapi.http.fields import LABEL, Answer, Number, Strict, Text, user_id
from userapi.http.handover import hold
from userapi.http.problems import ProblemError
from userapi.service import Service, service

GROUP = "~[a-z2-7]{24}"
GROUP_IN_PATH = PathText("group", "The group's id.", GROUP, "~abcdefghijklmnopqrstuvwx")
FILE = "[0-9a-f]{32}"
ROLES = tuple(role.name.lower() for role in Role)
OF_CHANGES = ("not_member", "not_allowed_here", "changed_meanwhile")
"""What every change may be refused with."""


def _check() -> None:
    DEVICE.check()
    service().limits.check_history(caller().user)


READER = Guard(DEVICE.scheme, _check, DEVICE.problems)
"""A device that is logged in, for lists that count as so many messages read as members are looked at."""


class GroupMember(Answer):
    """Somebody who is in a group."""

    user = user_id()
    role = Text("What they may do.", one_of=ROLES)
    since = Number("The version that made them a member.")


_ABOUT = {
    "who_may_write": "Who writes there.",
    "who_may_add": "Who adds and invites others.",
    "newcomers_see": "What those see of before who become members later.",
}


def _setting(name: str, *, required: bool) -> Text:
    return Text(_ABOUT[name], required=required, one_of=tuple(SETTINGS[name][1]))


class KnownGroup(Answer):
    """A group, as its members see it."""

    who_may_write = _setting("who_may_write", required=True)
    who_may_add = _setting("who_may_add", required=True)
    newcomers_see = _setting("newcomers_see", required=True)
    group = Text("Its id: the `dest_id` of messages to it.")
    version = Number("How many changes there were.")
    name = Text("What people call it.")
    picture = Text("A file's id, which members may fetch; empty: none.")
    created_ms = Number("When it was made; Unix time in milliseconds.")
    role = Text("Your own.", one_of=ROLES)
    members = fields.List(
        fields.Nested(GroupMember), required=True, metadata={"description": "You among them, by user id."}
    )


class GroupFields(Strict):
    """What can be said of a group."""

    picture = Text("The id of a file of yours; empty: none.", required=False, max_length=32, pattern=f"({FILE})?")
    who_may_write = _setting("who_may_write", required=False)
    who_may_add = _setting("who_may_add", required=False)
    newcomers_see = _setting("newcomers_see", required=False)


def group_name(*, required: bool) -> Text:
    """The name of a group."""
    return Text("What people call it.", required=required, min_length=1, example="Lunch", **LABEL)


def set_value(group: Group, name: str) -> str:
    """What a setting says in this version."""
    field, values = SETTINGS[name]
    return next(text for text, value in values.items() if value == getattr(group, field))


def rendered_member(member: Member) -> dict[str, Any]:
    """As `GroupMember` has it."""
    return {"user": member.user, "role": member.role.name.lower(), "since": member.since}


def rendered_group(group: Group, user: str) -> dict[str, Any]:
    """As `KnownGroup` has it, for a member."""
    return {
        "group": group.group,
        "version": group.version,
        "name": group.name,
        "picture": group.picture,
        **{name: set_value(group, name) for name in SETTINGS},
        "created_ms": group.created_ms,
        "role": group.members[user].role.name.lower(),
        "members": [rendered_member(group.members[name]) for name in sorted(group.members)],
    }


# What all of them do.


def mine(group: str) -> Group:
    """A group that the caller is in. Raises `ProblemError`, the same whether there is one or not."""
    found = service().groups.find(group)
    if found is None or caller().user not in found.members:
        raise ProblemError("not_member")
    return found


def check_admin(group: Group) -> None:
    """Raises `ProblemError` unless the caller is an admin or owner there."""
    try:
        if role_of(group, caller().user) < Role.ADMIN:
            raise ProblemError("not_allowed_here", "only admins and owners of the group may do this")
    except MisuseError as error:
        refuse(error)


def change(group: str, decide: Callable[[Group], Step | None], *, limited: bool = False) -> Outcome:
    """A change by the caller; `limited`: only so often in one group. Raises `ProblemError` of `OF_CHANGES`, what
    `decide` raises, and `ServiceError`."""
    parts = service()
    if limited:
        parts.limits.check_changes_of(group)
    try:
        outcome = parts.groups.change(group, caller().user, decide)
    except MisuseError as error:
        refuse(error)
    if limited and outcome.changed:
        parts.limits.group_changed(group)
    return outcome


def refuse(error: MisuseError) -> NoReturn:
    """Raises what a change's error is called over HTTP."""
    if isinstance(error, NotFoundError):
        raise ProblemError("not_member") from None
    if isinstance(error, NotAllowedHereError):
        raise ProblemError("not_allowed_here", str(error)) from None
    if isinstance(error, OutdatedError):
        raise ProblemError("changed_meanwhile") from None
    raise error


def told(*outcomes: Outcome) -> None:
    """Tell brokers and members, and let the answer follow T later. Also of what was so already: this may repeat a
    change that brokers were not told of. Raises `ServiceError`."""
    parts = service()
    parts.notices.tell(outcomes, caller().user)
    hold_answer(parts)


def tell_user(user: str, group: str) -> None:
    """T later: by the caller, an invitation of theirs has come or gone."""
    service().notices.add([user], Hint(kind=Hint.GROUP_CHANGED, group=group, user_id=caller().user))


def hold_answer(parts: Service, since: float | None = None) -> None:
    """Until T after now, or after `since` (`parts.clock`), so that how long something took tells nothing."""
    delay_s = parts.settings.further_device_delay_s
    passed_s = 0.0 if since is None else parts.clock() - since
    hold(min(max(delay_s - passed_s, 0.0), delay_s), parts.sleep)


def note(event: str, group: str, user: str = "", **facts: str) -> None:
    """In the audit log: by the caller, to `user` or themselves."""
    audit.note(event, user or caller().user, group=group, **facts)
