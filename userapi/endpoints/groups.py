"""Groups: `/v1/groups`, but for their members, invitations, links and marks.

Owns making, looking, changing and closing them. Who may do what, `store.membership` says; how a change is made and
told, `userapi.groups`.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from functools import partial
from typing import Any

from flask import Response
from marshmallow import fields

from protocol.errors import NotFoundError
from protocol.ids import new_group_id
from protocol.sparrow_pb2 import Hint
from store.groups import Group, GroupChange, MyGroup
from store.membership import SETTINGS, made
from userapi.callers import DEVICE, caller
from userapi.endpoints.group_forms import (
    GROUP,
    GROUP_IN_PATH,
    OF_CHANGES,
    READER,
    ROLES,
    GroupFields,
    KnownGroup,
    change,
    check_admin,
    group_name,
    hold_answer,
    mine,
    note,
    rendered_group,
    set_value,
    told,
)
from userapi.groups import Outcome, Step
from userapi.http.endpoint import Area, endpoint
from userapi.http.fields import Answer, Number, Strict, Text
from userapi.http.pages import IF_NONE_MATCH, MAX_LIMIT, NOT_MODIFIED, unstored
from userapi.http.problems import ProblemError
from userapi.service import Service, service

area = Area("groups", "Groups: up to 1,000 members who write to all of them")

_RANDOM_BYTES = 15
_FILES = ("no_such_file", "incomplete_file", "too_many_readers")


class NewGroup(GroupFields):
    """What `POST /v1/groups` takes."""

    name = group_name(required=True)


class GroupEdit(GroupFields):
    """What `PATCH /v1/groups/{group}` takes; what is absent stays."""

    name = group_name(required=False)


class GroupsQuery(Strict):
    """Which part of the list."""

    after = Text("`next` of the page before; without it, the first page.", required=False, max_length=25, pattern=GROUP)
    limit = Number("How many at most.", required=False, load_default=50, minimum=1, maximum=MAX_LIMIT, dump_default=50)


class ListedGroup(Answer):
    """A group in one's list. Of one that was left, only `group` and `left_ms` say something."""

    group = Text("Its id.")
    version = Number("How many changes there were.")
    name = Text("What people call it.")
    picture = Text("A file's id; empty: none.")
    role = Text("Your own; null: you are not in it any more.", one_of=ROLES, allow_none=True)
    left_ms = Number(
        "When you left it, or were removed; Unix time in milliseconds. Null: you are in it.", allow_none=True
    )


class ListedGroups(Answer):
    """A page of them."""

    groups = fields.List(fields.Nested(ListedGroup), required=True, metadata={"description": "By id."})
    next = Text("For the next page's `after`; null at the end.", allow_none=True)


class ChangesQuery(Strict):
    """Which changes."""

    since = Number("The version that you know.", required=False, load_default=0, minimum=0, maximum=2**53)
    limit = Number("How many at most.", required=False, load_default=50, minimum=1, maximum=MAX_LIMIT, dump_default=50)


class ListedChange(Answer):
    """A change, and its own notice: shown before the first message of its version, or of a later one."""

    version = Number("The version that it made.")
    ms = Number("When; Unix time in milliseconds.")
    actor = Text("Who did it; empty: those who run the service.")
    kind = Text("made, renamed, picture, settings, added, joined, left, removed, role or closed.")
    user = Text("Whose membership it is, where it is one's.", allow_none=True)
    value = Text('The name, the picture, the role, or the setting as "newcomers_see=history".', allow_none=True)


class ListedChanges(Answer):
    """A page of them."""

    changes = fields.List(fields.Nested(ListedChange), required=True, metadata={"description": "Oldest first."})
    version = Number("Which the group has. Above the last change's: there are more.")


# Of one's own.


@endpoint(area, "GET", "/v1/groups", query=GroupsQuery, answer=ListedGroups, guard=READER)
def list_groups(query: dict[str, Any]) -> dict[str, Any]:
    """List the groups that you are in; and those that you were in, for as long as their messages may live."""
    parts, user, limit = service(), caller().user, query["limit"]
    found = parts.bridge.call(parts.groups.store.of_user, user, query.get("after", ""), limit)
    there = [one.group for one in found if not one.left_ms]
    groups = parts.bridge.call(parts.groups.store.groups, there) if there else {}
    parts.limits.read_history(user, len(found) + sum(len(group.members) for group in groups.values() if group))
    return {
        "groups": [_listed(one, groups.get(one.group), user) for one in found],
        "next": found[-1].group if len(found) == limit else None,
    }


def _listed(one: MyGroup, group: Group | None, user: str) -> dict[str, Any]:
    # What became of a group after one has left it is nothing for who has left (G5).
    member = None if group is None else group.members.get(user)
    if group is None or member is None:
        return {
            "group": one.group,
            "version": 0,
            "name": "",
            "picture": "",
            "role": None,
            "left_ms": one.left_ms or service().groups.now_ms(),
        }
    return {
        "group": group.group,
        "version": group.version,
        "name": group.name,
        "picture": group.picture,
        "role": member.role.name.lower(),
        "left_ms": None,
    }


@endpoint(
    area,
    "POST",
    "/v1/groups",
    body=NewGroup,
    answer=KnownGroup,
    status=201,
    guard=DEVICE,
    problems=("too_many_groups", *_FILES),
)
def make_group(body: dict[str, Any]) -> dict[str, Any]:
    """Make a group. You are its owner, and alone in it. Your other devices get a hint."""
    parts, user = service(), caller().user
    parts.limits.check_group_change(user)
    if not parts.groups.has_room(user):
        raise ProblemError("too_many_groups")
    group, first = made(new_group_id(secrets.token_bytes(_RANDOM_BYTES)), user, body["name"], parts.groups.now_ms())
    values = {SETTINGS[name][0]: SETTINGS[name][1][body[name]] for name in SETTINGS if name in body}
    group = replace(group, picture=body.get("picture", ""), **values)  # type: ignore[arg-type]  # each has its type
    if group.picture:
        _show_to_members(parts, group.picture, group.group)
    parts.bridge.call(parts.groups.store.make, group, first)
    parts.counts.group("made")
    note("group_made", group.group)
    # Nobody can have asked a broker for it yet: there is nothing to wait for.
    parts.notices.add([user], Hint(kind=Hint.GROUP_CHANGED, group=group.group, version=1, user_id=user))
    return rendered_group(group, user)


# One of them.


@endpoint(
    area,
    "GET",
    "/v1/groups/<group>",
    answer=KnownGroup,
    also=NOT_MODIFIED,
    headers=(IF_NONE_MATCH,),
    parts=(GROUP_IN_PATH,),
    guard=READER,
    problems=("not_member",),
)
def look_at_group(group: str) -> Response:
    """Look at a group that you are in."""
    parts, user, found = service(), caller().user, mine(group)
    parts.limits.read_history(user, len(found.members))
    return unstored(rendered_group(found, user))


@endpoint(
    area,
    "PATCH",
    "/v1/groups/<group>",
    body=GroupEdit,
    answer=KnownGroup,
    parts=(GROUP_IN_PATH,),
    guard=DEVICE,
    problems=(*OF_CHANGES, *_FILES),
)
def change_group(body: dict[str, Any], group: str) -> dict[str, Any]:
    """Change a group's name, picture or settings, as an admin or owner; what is absent stays.

    Each field that changes is a change of its own. The answer takes about two seconds: until every broker knows. May be
    repeated.
    """
    parts, user = service(), caller().user
    before = mine(group)
    parts.limits.check_group_change(user)
    check_admin(before)
    if body.get("picture"):
        _show_to_members(parts, body["picture"], group)
    outcomes = [Outcome(before, before, False)]
    try:
        for name in ("name", "picture", *SETTINGS):
            if name in body:
                one = change(group, partial(_step, name, body[name]), limited=True)
                outcomes.append(one)
    finally:
        _tell_all(outcomes)
    if any(one.changed for one in outcomes):
        note("group_changed", group, fields=",".join(sorted(body)))
    hold_answer(parts)
    return rendered_group(outcomes[-1].group, user)


def _tell_all(outcomes: list[Outcome]) -> None:
    """Of several changes of a group, as of one."""
    parts, before, group = service(), outcomes[0].before, outcomes[-1].group
    if before.picture not in ("", group.picture):
        _hide_from_members(parts, before.picture, group.group)
    parts.notices.tell([Outcome(group, before, any(one.changed for one in outcomes))], caller().user)


def _step(name: str, value: str, found: Group) -> Step | None:
    check_admin(found)
    if name in SETTINGS:
        return None if set_value(found, name) == value else Step("settings", value=f"{name}={value}")
    if value == (found.name if name == "name" else found.picture):
        return None
    return Step("renamed" if name == "name" else "picture", value=value)


def _show_to_members(parts: Service, file: str, group: str) -> None:
    """Who is in the group may read this file of the caller's. Raises `ProblemError`."""
    store = parts.bridge.store
    found = parts.bridge.call(store.file, file)
    if found is None or found.owner != caller().user:
        raise ProblemError("no_such_file", field="picture")
    if not found.complete:
        raise ProblemError("incomplete_file", field="picture")
    if len(found.readers | {group}) > parts.settings.max_file_readers:
        raise ProblemError("too_many_readers", field="picture")
    try:
        parts.bridge.call(store.add_reader, file, group)
    except NotFoundError:
        raise ProblemError("no_such_file", field="picture") from None


def _hide_from_members(parts: Service, file: str, group: str) -> None:
    try:
        parts.bridge.call(parts.bridge.store.remove_reader, file, group)
    except NotFoundError:
        return  # it is gone


@endpoint(
    area,
    "DELETE",
    "/v1/groups/<group>",
    status=204,
    parts=(GROUP_IN_PATH,),
    guard=DEVICE,
    problems=OF_CHANGES,
)
def close_group(group: str) -> tuple[str, int]:
    """Close a group, as an owner: for all of its members and for good. May be repeated."""
    parts, user = service(), caller().user
    found = parts.groups.find(group)
    if found is not None and found.closed and parts.groups.was_in(user, group):
        parts.limits.check_group_change(user)
        told(Outcome(found, found, False))
        return "", 204
    outcome = change(group, lambda found: Step("closed"))
    note("group_closed", group)
    told(outcome)
    return "", 204


@endpoint(
    area,
    "GET",
    "/v1/groups/<group>/changes",
    query=ChangesQuery,
    answer=ListedChanges,
    parts=(GROUP_IN_PATH,),
    guard=DEVICE,
    problems=("not_member",),
)
def list_changes(query: dict[str, Any], group: str) -> dict[str, Any]:
    """List the changes of a group since a version; of a group that you came into later, from then on."""
    parts, found = service(), mine(group)
    since = max(query["since"], found.members[caller().user].since - 1)
    changes = parts.bridge.call(parts.groups.store.changes, group, since, query["limit"])
    parts.limits.read_history(caller().user, len(changes))
    return {"changes": [_change(one) for one in changes], "version": found.version}


def _change(one: GroupChange) -> dict[str, Any]:
    return {
        "version": one.version,
        "ms": one.ms,
        "actor": one.actor,
        "kind": one.kind,
        "user": one.user or None,
        "value": one.value or None,
    }
