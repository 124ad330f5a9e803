"""Who is in a group: members, their roles, invitations.

Owns consent (P4): nobody is a member without a yes of their own, but for friends who allow it; whoever was in it comes
back by a new yes alone. Whom somebody cannot reach looks like whom they have invited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from marshmallow import fields

from protocol.errors import InvalidIdError, MisuseError
from protocol.ids import check_user_id
from store.contacts import Relation
from store.groups import Group, GroupChange, Invitation, Role
from store.membership import after
from userapi.callers import DEVICE, caller
from userapi.endpoints.group_forms import (
    GROUP_IN_PATH,
    OF_CHANGES,
    ROLES,
    GroupMember,
    KnownGroup,
    change,
    check_admin,
    hold_answer,
    mine,
    note,
    refuse,
    rendered_group,
    rendered_member,
    tell_user,
    told,
)
from userapi.groups import Outcome, Step
from userapi.http.endpoint import USER_IN_PATH, Area, endpoint
from userapi.http.fields import Answer, Flag, Number, Strict, Text, user_id
from userapi.http.problems import ProblemError
from userapi.service import Service, service

area = Area("members", "Who is in a group, and who is invited")


class Membership(Strict):
    """What `PUT /v1/groups/{group}/members/{user}` takes."""

    role = Text("What a member is to be allowed; of somebody new, `member` or nothing.", required=False, one_of=ROLES)


class Added(Answer):
    """What became of them."""

    member = fields.Nested(GroupMember, metadata={"description": "They are in the group."})
    invited = Flag("true: they are asked, and come in by their own yes.", required=False)


class KnownInvitation(Answer):
    """Into a group, to you."""

    group = Text("The group's id.")
    name = Text("What people call it.")
    by = user_id("Who invites you.")
    members = Number("How many are in it.")
    ms = Number("When; Unix time in milliseconds.")


class Invitations(Answer):
    """All of yours."""

    invitations = fields.List(
        fields.Nested(KnownInvitation), required=True, metadata={"description": "Oldest first; 50 at most."}
    )


# Members.


@endpoint(
    area,
    "PUT",
    "/v1/groups/<group>/members/<user>",
    body=Membership,
    answer=Added,
    also={202: "They are asked, and come in by their own yes."},
    parts=(GROUP_IN_PATH, USER_IN_PATH),
    guard=DEVICE,
    problems=(*OF_CHANGES, "no_such_user", "no_such_member", "not_friend", "you_block_them"),
)
def put_member(body: dict[str, Any], group: str, user: str) -> tuple[dict[str, Any], int]:
    """Add somebody, or change a member's role. May be repeated.

    A friend who allows it (`friends_may_add_me`) is a member at once. All others are invited; so is whoever was in the
    group before. Nobody is told whether an invitation has come in. Roles are given by owners, and an owner's own is
    laid down by themselves alone. The answer takes about two seconds: until every broker knows.
    """
    parts, began = service(), service().clock()
    found, role = mine(group), body.get("role")
    parts.limits.check_group_change(caller().user)
    if user in found.members:
        outcome = _give(group, user, role)
        told(outcome)
        return {"member": rendered_member(outcome.group.members[user])}, 200
    if role not in (None, "member"):
        raise ProblemError("no_such_member")
    _check_may_add(found, caller().user, user)
    relation = _relation(parts, user)
    added = _add(parts, group, user, relation)
    if added is not None:
        parts.bridge.call(parts.groups.store.drop_invitation, user, group)
        if added.changed:
            note("group_member_added", group, user)
        told(added)
        return {"member": rendered_member(added.group.members[user])}, 200
    parts.limits.check_invitation(caller().user)
    if not relation.blocked:
        _invite(parts, found, user)
    hold_answer(parts, since=began)
    return {"invited": True}, 202


def _give(group: str, user: str, role: str | None) -> Outcome:
    """A member's role, if one is named."""

    def decide(now: Group) -> Step | None:
        member = now.members.get(user)
        if member is None:
            raise ProblemError("no_such_member")
        if role in (None, member.role.name.lower()):
            return None
        return Step("role", user, str(role))

    outcome = change(group, decide)
    if outcome.changed:
        note("group_role_given", group, user, role=str(role))
        if outcome.before.members[user].role >= Role.ADMIN > outcome.group.members[user].role:
            drop_links_of(group, user)
    return outcome


def _check_may_add(group: Group, actor: str, user: str) -> None:
    """Raises `ProblemError`, for who is invited as for who is added."""
    try:
        after(group, GroupChange(group.version + 1, 0, actor, "added", user))
    except MisuseError as error:
        refuse(error)


def _relation(parts: Service, user: str) -> Relation:
    """How the caller stands to whom they want to add. Raises `ProblemError`."""
    store = parts.bridge.store
    try:
        check_user_id(user)
    except InvalidIdError as error:
        raise ProblemError("no_such_user", str(error)) from None
    if parts.bridge.call(store.account, user) is None:
        raise ProblemError("no_such_user", f'there is no user "{user}"')
    relation = parts.bridge.call(store.contact, caller().user, user)
    if relation.blocks:
        raise ProblemError("you_block_them")
    # Who is blocked, silently or not, is told what they would be told otherwise.
    if parts.settings.who_may_write == "friends" and not relation.friend:
        raise ProblemError("not_friend")
    return relation


def _add(parts: Service, group: str, user: str, relation: Relation) -> Outcome | None:
    """Without asking, where they have said that friends may; None: they are to be asked."""
    if not relation.friend or relation.blocked:
        return None
    profile = parts.bridge.call(parts.bridge.store.profiles, [user]).get(user)
    if profile is None or not profile.friends_may_add_me or not parts.groups.has_room(user):
        return None

    def decide(now: Group) -> Step | None:
        # Each time anew: they may have been in it, and out, meanwhile.
        if user in now.members or was_member(group, user) or parts.groups.blocks_meet(now, user, own=True):
            return None
        return Step("added", user)

    outcome = change(group, decide, limited=True)
    return outcome if user in outcome.group.members else None


def was_member(group: str, user: str) -> bool:
    """Whether they were in it, and come back by a new invitation alone. Raises `StoreError`."""
    parts = service()
    return parts.bridge.call(parts.groups.store.was_member, group, user)


def _invite(parts: Service, group: Group, user: str) -> None:
    """Once, however often: and by somebody whose word still counts there."""
    store = parts.groups.store
    for one in parts.bridge.call(store.invitations, user):
        if one.group == group.group:
            if _stands(group, one):
                return
            parts.bridge.call(store.drop_invitation, user, group.group)
    by = caller().user
    if parts.bridge.call(store.invite, Invitation(group.group, user, by, parts.groups.now_ms())):
        parts.counts.group("invited")
        note("group_invited", group.group, user)
        tell_user(user, group.group)


def _stands(group: Group | None, invitation: Invitation) -> bool:
    """Whether who has invited could do so now: what somebody did who was removed, or may not add any more, is void."""
    if group is None or group.closed:
        return False
    inviter = group.members.get(invitation.by)
    return inviter is not None and (inviter.role >= Role.ADMIN or not group.admins_add)


@endpoint(
    area,
    "DELETE",
    "/v1/groups/<group>/members/<user>",
    status=204,
    parts=(GROUP_IN_PATH, USER_IN_PATH),
    guard=DEVICE,
    problems=OF_CHANGES,
)
def remove_member(group: str, user: str) -> tuple[str, int]:
    """Remove a member, or leave. Admins remove members, owners remove admins, too. May be repeated.

    When its last owner leaves, the group is the oldest admin's, or else the oldest member's. What happens there from
    now on is none of theirs who are out: they come back by a new invitation alone. The answer takes about two seconds:
    until every broker knows.
    """
    if user == caller().user:
        _leave(group, user)
    else:
        _remove(group, user)
    return "", 204


def _leave(group: str, user: str) -> None:
    parts = service()
    # What they were sent before is no way back, neither here nor below.
    parts.bridge.call(parts.groups.store.drop_invitation, user, group)
    outcome = _left(group, user)
    if outcome is None:
        # Not counted is leaving alone, and not what may be a repeat of it.
        parts.limits.check_group_change(user)
        found = parts.groups.find(group)
        if found is None or not parts.groups.was_in(user, group):
            raise ProblemError("not_member")
        outcome = Outcome(found, found, False)
    else:
        note("group_left", group)
    told(outcome)


def _left(group: str, user: str) -> Outcome | None:
    try:
        return service().groups.leave(group, user)
    except MisuseError as error:
        refuse(error)


def _remove(group: str, user: str) -> None:
    parts, found = service(), mine(group)
    check_admin(found)
    if user in found.members:
        parts.bridge.call(parts.groups.store.drop_invitation, user, group)
    outcome = change(group, lambda now: _removal(now, user))
    if outcome.changed:
        note("group_member_removed", group, user)
        if outcome.before.members[user].role >= Role.ADMIN:
            drop_links_of(group, user)
    else:
        parts.limits.check_group_change(caller().user)
    told(outcome)


def _removal(group: Group, user: str) -> Step | None:
    check_admin(group)
    # Whoever is not there is out: to say so is to say nothing of who was there once.
    return Step("removed", user) if user in group.members else None


def drop_links_of(group: str, user: str) -> None:
    """Links of somebody who is no admin any more end. Raises `ServiceError`."""
    parts = service()
    for link in parts.bridge.call(parts.groups.store.links, group):
        if link.by == user:
            parts.bridge.call(parts.groups.store.drop_link, group, link.link)


# Invitations.


@endpoint(area, "GET", "/v1/invitations", answer=Invitations, guard=DEVICE)
def list_invitations() -> dict[str, Any]:
    """List who invites you, and into what."""
    parts = service()
    found = parts.bridge.call(parts.groups.store.invitations, caller().user)
    groups = parts.bridge.call(parts.groups.store.groups, [one.group for one in found]) if found else {}
    parts.limits.read_history(caller().user, sum(len(group.members) for group in groups.values() if group))
    return {
        "invitations": [
            {"group": group.group, "name": group.name, "by": one.by, "members": len(group.members), "ms": one.ms}
            for one in found
            if (group := groups[one.group]) is not None and _stands(group, one)
        ]
    }


@endpoint(
    area,
    "POST",
    "/v1/invitations/<group>",
    answer=KnownGroup,
    parts=(GROUP_IN_PATH,),
    guard=DEVICE,
    problems=("no_such_invitation", "not_allowed_here", "changed_meanwhile", "too_many_groups"),
)
def accept_invitation(group: str) -> dict[str, Any]:
    """Say yes: you are in the group. May be repeated.

    The answer takes about two seconds: until every broker knows.
    """
    parts, user = service(), caller().user
    parts.limits.check_group_change(user)

    def check(now: Group) -> None:
        for one in parts.bridge.call(parts.groups.store.invitations, user):
            if one.group == group and _stands(now, one):
                return
        raise ProblemError("no_such_invitation")

    outcome = enter(group, check, "no_such_invitation")
    parts.bridge.call(parts.groups.store.drop_invitation, user, group)
    return rendered_group(outcome.group, user)


def enter(group: str, check: Callable[[Group], None], refusal: str) -> Outcome:
    """The caller joins, unless `check` raises: it looks at the group as it is, each time that this is tried.

    Raises `ProblemError`: `refusal`, "too_many_groups" and what a change may be refused with; and `ServiceError`.
    """
    parts, user = service(), caller().user

    def decide(now: Group) -> Step | None:
        if user in now.members:
            return None
        if parts.groups.blocks_meet(now, user, own=False):
            raise ProblemError(refusal)
        if not parts.groups.has_room(user):
            raise ProblemError("too_many_groups")
        check(now)
        return Step("joined", user)

    try:
        outcome = change(group, decide, limited=True)
    except ProblemError as problem:
        raise ProblemError(refusal) if problem.code == "not_member" else problem from None
    if outcome.changed:
        note("group_joined", group)
    told(outcome)
    return outcome


@endpoint(area, "DELETE", "/v1/invitations/<group>", status=204, parts=(GROUP_IN_PATH,), guard=DEVICE)
def decline_invitation(group: str) -> tuple[str, int]:
    """Say no. Nobody is told. Once more is no error."""
    parts, user = service(), caller().user
    if parts.bridge.call(parts.groups.store.drop_invitation, user, group):
        tell_user(user, group)
    return "", 204
