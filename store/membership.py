"""What a change makes of a group, and who may make it: a pure state machine (docs/design/groups.md, "In the store").

Owns the rules. Engines write what `after` returns, if the version is still the one that it was made for.
"""

from __future__ import annotations

from dataclasses import replace

from protocol.errors import MisuseError, NotAllowedHereError, NotFoundError
from store.groups import MAX_MEMBERS, Group, GroupChange, Member, Role

SETTINGS = {
    "who_may_write": ("admins_write", {"all": False, "admins": True}),
    "who_may_add": ("admins_add", {"all": False, "admins": True}),
    "newcomers_see": ("open", {"nothing": False, "history": True}),
}
"""Setting → its field, and what its values are there."""


def made(group: str, owner: str, name: str, ms: int) -> tuple[Group, GroupChange]:
    """A new group of its owner alone."""
    change = GroupChange(1, ms, owner, "made", owner, name)
    return Group(group, 1, name, ms, {owner: Member(owner, Role.OWNER, 1)}), change


def role_of(group: Group, user: str) -> Role:
    """Of a member. Raises `NotFoundError` for anybody else: whether there is such a group is not theirs to know."""
    member = group.members.get(user)
    if member is None:
        raise NotFoundError("you are in no such group")
    return member.role


def heir(group: Group, leaving: str) -> str | None:
    """Who becomes owner when `leaving`, the only owner, goes: the oldest admin, else the oldest member; None: nobody is
    left, or there is another owner."""
    others = [member for member in group.members.values() if member.user != leaving]
    if not others or any(member.role == Role.OWNER for member in others):
        return None
    return min(others, key=lambda member: (-member.role, member.since, member.user)).user


def after(group: Group, change: GroupChange) -> Group:
    """The group as `change` makes it, whose version must be the next one. An actor "" may do everything.

    Raises `NotFoundError` for an actor who is no member, or a user who is none; `NotAllowedHereError` for what their
    role does not allow; `MisuseError` for what cannot be.
    """
    if group.closed:
        raise NotFoundError("you are in no such group")
    if change.version != group.version + 1:
        raise MisuseError(f"version {change.version} cannot follow {group.version}")
    step = _STEPS.get(change.kind)
    if step is None:
        raise MisuseError(f"a change of no known kind: {change.kind!r}")
    return replace(step(group, change), version=change.version)


def _need(group: Group, actor: str, least: Role) -> Role:
    role = Role.OWNER if not actor else role_of(group, actor)
    if role < least:
        who = {Role.ADMIN: "admins and owners", Role.OWNER: "owners"}[least]
        raise NotAllowedHereError(f"only {who} of the group may do this")
    return role


def _member(group: Group, user: str) -> Member:
    member = group.members.get(user)
    if member is None:
        raise NotFoundError(f"{user} is not in the group")
    return member


def _with(group: Group, member: Member) -> Group:
    return replace(group, members={**group.members, member.user: member})


def _without(group: Group, user: str, version: int) -> Group:
    next_owner = heir(group, user) if _member(group, user).role == Role.OWNER else None
    members = {name: member for name, member in group.members.items() if name != user}
    if next_owner is not None:
        members[next_owner] = members[next_owner]._replace(role=Role.OWNER)
    return replace(group, members=members, closed=not members)


def _renamed(group: Group, change: GroupChange) -> Group:
    _need(group, change.actor, Role.ADMIN)
    return replace(group, name=change.value)


def _picture(group: Group, change: GroupChange) -> Group:
    _need(group, change.actor, Role.ADMIN)
    return replace(group, picture=change.value)


def _settings(group: Group, change: GroupChange) -> Group:
    _need(group, change.actor, Role.ADMIN)
    name, _, value = change.value.partition("=")
    field, values = SETTINGS.get(name, ("", {}))
    if value not in values:
        raise MisuseError(f"no such setting of a group: {change.value!r}")
    if field == "admins_write":
        return replace(group, admins_write=values[value])
    if field == "admins_add":
        return replace(group, admins_add=values[value])
    return replace(group, open=values[value])


def _added(group: Group, change: GroupChange) -> Group:
    _need(group, change.actor, Role.ADMIN if group.admins_add else Role.MEMBER)
    return _enter(group, change)


def _enter(group: Group, change: GroupChange) -> Group:
    if change.user in group.members:
        raise MisuseError(f"{change.user} is in the group already")
    if len(group.members) >= MAX_MEMBERS:
        raise NotAllowedHereError(f"a group has at most {MAX_MEMBERS} members")
    return _with(group, Member(change.user, Role.MEMBER, change.version))


def _removed(group: Group, change: GroupChange) -> Group:
    role = _need(group, change.actor, Role.ADMIN)
    if change.actor == change.user:
        raise MisuseError("to leave is another change")
    if change.actor and _member(group, change.user).role >= role:
        raise NotAllowedHereError("admins remove members, owners remove admins, and nobody removes an owner")
    return _without(group, change.user, change.version)


def _left(group: Group, change: GroupChange) -> Group:
    return _without(group, change.user, change.version)


def _role(group: Group, change: GroupChange) -> Group:
    _need(group, change.actor, Role.OWNER)
    member = _member(group, change.user)
    try:
        role = Role[change.value.upper()]
    except KeyError:
        raise MisuseError(f"no such role: {change.value!r}") from None
    if member.role == Role.OWNER and change.actor not in ("", change.user):
        raise NotAllowedHereError("an owner's role is theirs to lay down")
    if member.role == Role.OWNER and role != Role.OWNER and not _another_owner(group, change.user):
        raise NotAllowedHereError("make somebody else owner first, or leave")
    return _with(group, member._replace(role=role))


def _another_owner(group: Group, user: str) -> bool:
    return any(member.role == Role.OWNER and member.user != user for member in group.members.values())


def _closed(group: Group, change: GroupChange) -> Group:
    _need(group, change.actor, Role.OWNER)
    return replace(group, members={}, closed=True)


_STEPS = {
    "renamed": _renamed,
    "picture": _picture,
    "settings": _settings,
    "added": _added,
    "joined": _enter,
    "removed": _removed,
    "left": _left,
    "role": _role,
    "closed": _closed,
}
