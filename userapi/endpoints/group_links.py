"""Links into a group, and who has read a message there.

Owns the secret of a link: 128 bits, shown once, in no path and no log; only its digest is kept. To look at one is not
to join, and nobody comes back by one who was in the group before.
"""

from __future__ import annotations

import hashlib
import secrets
from functools import partial
from typing import Any

from marshmallow import fields

from store.groups import MAX_MEMBERS, Group, Link
from userapi.callers import DEVICE, caller
from userapi.endpoints.group_forms import GROUP_IN_PATH, KnownGroup, check_admin, mine, note, rendered_group
from userapi.endpoints.group_members import enter, was_member
from userapi.endpoints.messages import NAME_IN_PATH, name_of
from userapi.http.endpoint import Area, PathText, endpoint
from userapi.http.fields import Answer, Number, Strict, Text
from userapi.http.problems import ProblemError
from userapi.service import Service, service

area = Area("links", "Links into groups, and who has read what")

MAX_LINKS = 20
"""Of one group, that have not ended."""
MAX_SHOWN = 50
"""Members of a group in which one is told who has read."""
_SECRET_BYTES = 16
_HOUR_MS = 3_600_000
_LINK = "[0-9a-f]{16}"
_LINK_IN_PATH = PathText("link", "The link's id.", _LINK, "0" * 16)


class NewLink(Strict):
    """What `POST /v1/groups/{group}/links` takes."""

    hours = Number("It ends after so many.", required=False, load_default=168, minimum=1, maximum=8760)
    uses = Number("So many may join by it.", required=False, load_default=100, minimum=1, maximum=1000)


class KnownLink(Answer):
    """A link, as admins see it."""

    link = Text("Its id, which is no secret.")
    ends_ms = Number("When it ends; Unix time in milliseconds.")
    uses_left = Number("How many may still join by it.")


class MadeLink(KnownLink):
    """A link that was just made."""

    secret = Text("What lets somebody join. It is told this once.")


class Links(Answer):
    """All of a group that have not ended."""

    links = fields.List(fields.Nested(KnownLink), required=True, metadata={"description": "By when they end."})


class Secret(Strict):
    """What somebody has got."""

    secret = Text("The link's.", max_length=100, example="dGhpcyBpcyBubyBzZWNyZXQ")


class LinkedGroup(Answer):
    """What a link leads to."""

    name = Text("What people call it.")
    members = Number("How many are in it.")


class ReadBy(Answer):
    """Who has read a message."""

    read_by = fields.List(fields.String(), required=True, metadata={"description": "Their ids."})
    of = Number("Of so many who may see it, and show what they have read.")


@endpoint(
    area,
    "POST",
    "/v1/groups/<group>/links",
    body=NewLink,
    answer=MadeLink,
    status=201,
    parts=(GROUP_IN_PATH,),
    guard=DEVICE,
    problems=("not_member", "not_allowed_here", "too_many_links"),
)
def make_link(body: dict[str, Any], group: str) -> dict[str, Any]:
    """Make a link into a group, as an admin or owner: whoever has its secret may join. Hand it to people, not to pages.

    It ends when you are no admin there any more by another's doing.
    """
    parts, user = service(), caller().user
    check_admin(mine(group))
    parts.limits.check_group_change(user)
    if len(_standing(parts, group)) >= MAX_LINKS:
        raise ProblemError("too_many_links")
    secret, ends_ms = secrets.token_urlsafe(_SECRET_BYTES), parts.groups.now_ms() + body["hours"] * _HOUR_MS
    link = Link(group, secrets.token_hex(8), _digest(secret), ends_ms, body["uses"], user)
    parts.bridge.call(parts.groups.store.add_link, link)
    note("group_link_made", group, link=link.link)
    return {**_rendered(link), "secret": secret}


@endpoint(
    area,
    "GET",
    "/v1/groups/<group>/links",
    answer=Links,
    parts=(GROUP_IN_PATH,),
    guard=DEVICE,
    problems=("not_member", "not_allowed_here"),
)
def list_links(group: str) -> dict[str, Any]:
    """List the links into a group, as an admin or owner; not their secrets, which nobody has kept."""
    check_admin(mine(group))
    return {"links": [_rendered(link) for link in _standing(service(), group)]}


@endpoint(
    area,
    "DELETE",
    "/v1/groups/<group>/links/<link>",
    status=204,
    parts=(GROUP_IN_PATH, _LINK_IN_PATH),
    guard=DEVICE,
    problems=("not_member", "not_allowed_here"),
)
def end_link(group: str, link: str) -> tuple[str, int]:
    """End a link, as an admin or owner. Once more is no error."""
    parts = service()
    check_admin(mine(group))
    parts.bridge.call(parts.groups.store.drop_link, group, link)
    note("group_link_ended", group, link=link[:16])
    return "", 204


def _standing(parts: Service, group: str) -> list[Link]:
    """Those that have not ended; of those that have, nothing is kept."""
    found, now_ms = parts.bridge.call(parts.groups.store.links, group), parts.groups.now_ms()
    standing = [link for link in found if link.ends_ms > now_ms and link.uses_left > 0]
    for link in found:
        if link not in standing:
            parts.bridge.call(parts.groups.store.drop_link, group, link.link)
    return sorted(standing, key=lambda link: (link.ends_ms, link.link))


def _rendered(link: Link) -> dict[str, Any]:
    return {"link": link.link, "ends_ms": link.ends_ms, "uses_left": link.uses_left}


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _link(parts: Service, secret: str) -> Link:
    link = parts.bridge.call(parts.groups.store.find_link, _digest(secret))
    if link is None or link.ends_ms <= parts.groups.now_ms():
        raise ProblemError("no_such_link")
    return link


@endpoint(area, "POST", "/v1/links/look", body=Secret, answer=LinkedGroup, guard=DEVICE, problems=("no_such_link",))
def look_at_link(body: dict[str, Any]) -> dict[str, Any]:
    """Look where a link leads. Nobody joins by that: show it to people before they do."""
    parts = service()
    link = _link(parts, body["secret"])
    found = parts.groups.find(link.group)
    if found is None or found.closed or link.uses_left <= 0:
        raise ProblemError("no_such_link")
    return {"name": found.name, "members": len(found.members)}


@endpoint(
    area,
    "POST",
    "/v1/links/join",
    body=Secret,
    answer=KnownGroup,
    guard=DEVICE,
    problems=("no_such_link", "not_allowed_here", "changed_meanwhile", "too_many_groups"),
)
def join_by_link(body: dict[str, Any]) -> dict[str, Any]:
    """Join a group by a link. May be repeated. Who was in it before needs an invitation.

    The answer takes about two seconds: until every broker knows.
    """
    parts, user = service(), caller().user
    parts.limits.check_group_change(user)
    link = _link(parts, body["secret"])
    store, used = parts.groups.store, False

    def check(now: Group) -> None:
        nonlocal used
        if was_member(link.group, user):
            raise ProblemError("not_allowed_here", "you were in this group before: have somebody invite you")
        if len(now.members) >= MAX_MEMBERS:
            raise ProblemError("not_allowed_here", f"a group has at most {MAX_MEMBERS} members")
        # Last, so that nobody wears a link out who may not come in; and before the change, so that of many who come at
        # once not one more does.
        used = used or parts.bridge.call(store.use_link, link.group, link.link, parts.groups.now_ms())
        if not used:
            raise ProblemError("no_such_link")

    outcome = enter(link.group, check, "no_such_link")
    parts.bridge.call(store.drop_invitation, user, link.group)
    return rendered_group(outcome.group, user)


# Marks.


@endpoint(
    area,
    "GET",
    "/v1/groups/<group>/marks/<device>/<stream>/<n>",
    answer=ReadBy,
    parts=(GROUP_IN_PATH, *NAME_IN_PATH),
    guard=DEVICE,
    problems=("not_member", "not_allowed_here", "no_such_message"),
)
def who_has_read(group: str, device: str, stream: str, n: str) -> dict[str, Any]:
    """Tell who has read a message of yours, in a group of up to 50 members.

    Who hides their presence, and whom you have blocked, is neither named nor counted.
    """
    parts, user, found = service(), caller().user, mine(group)
    if len(found.members) > MAX_SHOWN:
        raise ProblemError("not_allowed_here", f"who has read is told in groups of up to {MAX_SHOWN} members")
    timelines, store = parts.bridge.store.timelines, parts.bridge.store
    name = name_of(user, device, stream, n)
    parts.limits.check_history(user)
    message = parts.bridge.call(timelines.message, group, name, user)
    if message is None or message.erased_by:
        raise ProblemError("no_such_message")
    others = sorted(set(found.members) - {user})
    profiles = parts.bridge.call(store.profiles, others)
    relations = parts.bridge.together(*(partial(store.contact, user, other) for other in others))
    shown = [
        other
        for other, relation in zip(others, relations, strict=True)
        if other in profiles and not profiles[other].hides_presence and not relation.blocks
    ]
    # A mark may stand above what came before its owner did.
    seen = parts.bridge.together(*(partial(timelines.message, group, name, other) for other in shown))
    parts.limits.read_history(user, 1 + len(shown))
    readers = [other for other, one in zip(shown, seen, strict=True) if one is not None]
    marks = parts.bridge.call(parts.groups.store.marks, group)
    read_by = [one for one in readers if one in marks and marks[one].public >= message.stamp]
    return {"read_by": read_by, "of": len(readers)}
