"""Groups under `/v1/admin`: the list of them, who is in, closing one, taking a message down.

Owns these endpoints. Whoever looks who is in a group is in the audit log.
"""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from protocol.errors import MisuseError, NotFoundError
from store.groups import Group
from userapi import audit
from userapi.endpoints.admin import ADMINISTRATOR
from userapi.endpoints.group_forms import GROUP_IN_PATH, GroupMember, hold_answer, refuse, rendered_member
from userapi.endpoints.messages import NAME_IN_PATH, erase, name_of
from userapi.endpoints.reports import AUTHOR_IN_PATH, OPERATOR
from userapi.groups import Outcome, Step
from userapi.http.endpoint import Area, endpoint
from userapi.http.fields import Answer, Flag, Number, Text, items
from userapi.http.pages import PageAnswer, PageQuery, from_cursor, to_cursor
from userapi.http.problems import ProblemError
from userapi.service import service

area = Area("administration of groups", "Groups, for those who run the service")


class AdministeredGroup(Answer):
    """A group, as operators see it."""

    group = Text("Its id.")
    version = Number("How many changes there were.")
    name = Text("What people call it.")
    created_ms = Number("When it was made; Unix time in milliseconds.")
    closed = Flag("It has ended, and nobody is in it.")
    members = fields.List(fields.Nested(GroupMember), required=True, metadata={"description": "By user id."})


def _found(group: str) -> Group:
    found = service().groups.find(group)
    if found is None:
        raise ProblemError("no_such_group")
    return found


class CountedGroup(Answer):
    """One group."""

    group = Text("Its id.")
    name = Text("What people call it.")
    created_ms = Number("When it was made; Unix time in milliseconds.")
    closed = Flag("It has ended, and nobody is in it.")
    members = Number("How many are in it.")


class CountedGroups(PageAnswer):
    """A part of the list."""

    groups = items(CountedGroup, "By id with SQLite; with Cassandra in an order of its own.")


@endpoint(area, "GET", "/v1/admin/groups", query=PageQuery, answer=CountedGroups, guard=ADMINISTRATOR)
def list_all_groups(query: dict[str, Any]) -> dict[str, object]:
    """List groups. A page may have fewer than `limit`, or none, before the end."""
    bridge, limit = service().bridge, query["limit"]
    ids = list(bridge.call(bridge.store.groups.all_groups, from_cursor(query), limit))
    known = bridge.call(bridge.store.groups.groups, ids)
    groups = [
        {
            "group": group.group,
            "name": group.name,
            "created_ms": group.created_ms,
            "closed": group.closed,
            "members": len(group.members),
        }
        for one in ids
        if (group := known.get(one)) is not None
    ]
    return {"groups": groups, "next": to_cursor(ids[-1]) if len(ids) == limit else None}


@endpoint(
    area,
    "GET",
    "/v1/admin/groups/<group>",
    answer=AdministeredGroup,
    parts=(GROUP_IN_PATH,),
    guard=ADMINISTRATOR,
    problems=("no_such_group",),
)
def look_at_members(group: str) -> dict[str, Any]:
    """Look who is in a group. It is in the audit log."""
    found = _found(group)
    audit.note("group_looked_at", "-", by=audit.ADMINISTRATOR, group=group)
    return {
        "group": found.group,
        "version": found.version,
        "name": found.name,
        "created_ms": found.created_ms,
        "closed": found.closed,
        "members": [rendered_member(found.members[user]) for user in sorted(found.members)],
    }


@endpoint(
    area,
    "DELETE",
    "/v1/admin/groups/<group>",
    status=204,
    parts=(GROUP_IN_PATH,),
    guard=ADMINISTRATOR,
    problems=("no_such_group", "changed_meanwhile"),
)
def close_somebodys_group(group: str) -> tuple[str, int]:
    """Close a group: for all of its members and for good. May be repeated."""
    parts, found = service(), _found(group)
    outcome = Outcome(found, found, False)
    if not found.closed:
        try:
            outcome = parts.groups.change(group, "", lambda now: Step("closed"))
            audit.note("group_closed", "-", by=audit.ADMINISTRATOR, group=group)
        except NotFoundError:
            pass  # somebody was quicker
        except MisuseError as error:
            refuse(error)
    parts.notices.tell([outcome], "")
    hold_answer(parts)
    return "", 204


@endpoint(
    area,
    "DELETE",
    "/v1/admin/groups/<group>/messages/<author>/<device>/<stream>/<n>",
    status=204,
    parts=(GROUP_IN_PATH, AUTHOR_IN_PATH, *NAME_IN_PATH),
    guard=ADMINISTRATOR,
    problems=("no_such_group", "no_such_message", "history_full"),
)
def take_down_in_group(group: str, author: str, device: str, stream: str, n: str) -> tuple[str, int]:
    """Take a group's message down: it is erased for all, and shows that an operator did it. May be repeated."""
    _found(group)
    name = name_of(author, device, stream, n)
    if erase(group, name, group, by=OPERATOR) is not None:
        audit.note("message_taken_down", author, by=audit.ADMINISTRATOR, group=group, message="/".join(map(str, name)))
    return "", 204
