"""Groups at the user API: their paths, and its answers as plain data.

Owns the form of both. What a program sees of groups is `client.groups`' business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from client.api.signed import SignedApi, in_path
from client.api.web import code_of
from protocol.errors import GroupsNotOfferedError, InvalidIdError
from protocol.ids import is_group_id

if TYPE_CHECKING:
    import httpx

MAX_CHANGES: Final = 100
"""Changes on one page."""
_PATH: Final = "/v1/groups"
_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who is in a group."""

    user: str
    """The user's id."""
    role: str
    """The role: member, admin or owner."""
    since: int
    """The version of the group that made them a member."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group, as one of its members sees it."""

    group: str
    """Its id; a message's `dest_id`."""
    version: int
    """How many changes there were."""
    name: str
    """What people call it; may be empty. Its members' word: clean it before it is shown."""
    picture: str
    """A file's id, which members may fetch; "": none."""
    who_may_write: str
    """Who: `all`, or `admins`."""
    who_may_add: str
    """Who: `all`, or `admins`."""
    newcomers_see: str
    """What was said before they came: `nothing`, or the `history`."""
    created_ms: int
    """When it was made, in milliseconds of Unix time."""
    role: str
    """One's own: member, admin or owner."""
    members: tuple[Member, ...]
    """All of them, oneself among them, by id."""


@dataclass(frozen=True, slots=True)
class MyGroup:
    """An entry in one's list of groups."""

    group: str
    """Its id."""
    version: int
    """How many changes there were; 0 of one that was left."""
    name: str
    """What people call it; "" of one that was left."""
    picture: str
    """A file's id; "": none, or it was left."""
    role: str | None
    """One's own: member, admin or owner; None of one that was left."""
    left_ms: int | None
    """When we left, or were removed, in milliseconds of Unix time; None: we are in it."""


@dataclass(frozen=True, slots=True)
class GroupChange:
    """One change of a group, and its own notice."""

    version: int
    """The version that it made."""
    ms: int
    """When, in milliseconds of Unix time."""
    actor: str
    """Who did it; "": those who run the service."""
    kind: str
    """What: made, renamed, picture, settings, added, joined, left, removed, role, closed; or one of a later release."""
    user: str | None
    """Of added, joined, left, removed, role: whose membership it is."""
    value: str | None
    """The name, the picture's file, the role, or the setting as "newcomers_see=history"."""


@dataclass(frozen=True, slots=True)
class Changes:
    """A page of changes, oldest first."""

    changes: tuple[GroupChange, ...]
    version: int
    """Which the group has; above the last change's: there are more."""


@dataclass(frozen=True, slots=True)
class Added:
    """What became of adding somebody."""

    member: Member | None
    """They are a member; None: they are asked, and become one by their own yes."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """Into a group, to ourselves."""

    group: str
    """Its id."""
    name: str
    """What people call it."""
    by: str
    """Who invites."""
    members: int
    """How many are in it."""
    ms: int
    """When, in milliseconds of Unix time."""


@dataclass(frozen=True, slots=True)
class Link:
    """Lets whoever has its secret join."""

    link: str
    """Its id, which is no secret."""
    ends_ms: int
    """When it ends, in milliseconds of Unix time."""
    uses_left: int
    """How many may still join by it."""
    secret: str = ""
    """Told once, when it is made."""


@dataclass(frozen=True, slots=True)
class LinkedGroup:
    """What a link shows of its group."""

    name: str
    """What people call it."""
    members: int
    """How many are in it."""


@dataclass(frozen=True, slots=True)
class ReadBy:
    """Who shows to have read a message of ours."""

    users: tuple[str, ...]
    """Their ids."""
    of: int
    """Of so many who may see it and show what they have read."""


class GroupsApi:
    """What goes over HTTP.

    Beside the errors of every call: `GroupsNotOfferedError` of a service that knows none; `NotFoundError` for a group
    that we are not in (whether there is one or not), and for an invitation, a link, a user or a message that is not
    there (any more); `NotAllowedHereError` for what our role or a limit does not allow; `InvalidIdError` for what is no
    id. Changes may be repeated, but for `make` and `add_link`. The answer to a change takes about two seconds: until
    every broker knows of it.
    """

    def __init__(self, api: SignedApi) -> None:
        self._api = api

    async def everything(self) -> list[MyGroup]:
        """All groups that we are in, or were in lately, by id."""
        found: list[MyGroup] = []
        after: str | None = ""
        while after is not None:
            asked = {"limit": str(_PAGE)} | ({"after": after} if after else {})
            answer = self._api.answer(await self._send("GET", _PATH, params=asked))
            found += [self._api.read(MyGroup, one) for one in self._objects(answer, "groups")]
            after = answer.get("next")
            if not isinstance(after, str | None):
                raise self._api.strange()
        return found

    async def make(self, name: str, *, picture: str = "", **settings: str) -> Group:
        """Make a group of ourselves alone. `settings`: who_may_write, who_may_add, newcomers_see."""
        body = {"name": name, **({"picture": picture} if picture else {}), **settings}
        return self._group(await self._object("POST", _PATH, json=body))

    async def one(self, group: str) -> Group:
        """A group that we are in."""
        return self._group(await self._object("GET", _of(group)))

    async def change(
        self, group: str, *, name: str | None = None, picture: str | None = None, **settings: str
    ) -> Group:
        """Change what is not None. `picture`: the id of a file of ours, "" takes it away; `settings` as in `make`."""
        body = {"name": name, "picture": picture, **settings}
        body = {field: value for field, value in body.items() if value is not None}
        return self._group(await self._object("PATCH", _of(group), json=body))

    async def close(self, group: str) -> None:
        """End a group for all of its members."""
        await self._send("DELETE", _of(group))

    async def changes(self, group: str, since: int, limit: int = MAX_CHANGES) -> Changes:
        """Changes above the version `since`, from our own joining on, up to `MAX_CHANGES`."""
        asked = {"since": str(since), "limit": str(limit)}
        answer = await self._object("GET", f"{_of(group)}/changes", params=asked)
        found = tuple(self._api.read(GroupChange, one) for one in self._objects(answer, "changes"))
        return Changes(found, self._number(answer, "version"))

    # Members.

    async def add(self, group: str, user: str) -> Added:
        """Add a user, or ask them whether they want to be in it. Who is in it already is returned."""
        return await self._put(group, user, {})

    async def set_role(self, group: str, user: str, role: str) -> Member:
        """Give a member a role: member, admin or owner."""
        member = (await self._put(group, user, {"role": role})).member
        if member is None:
            raise self._api.strange()
        return member

    async def remove(self, group: str, user: str) -> None:
        """Remove a member; or leave, where `user` is ourselves."""
        await self._send("DELETE", f"{_of(group)}/members/{in_path(user)}")

    async def _put(self, group: str, user: str, body: dict[str, str]) -> Added:
        answer = await self._object("PUT", f"{_of(group)}/members/{in_path(user)}", json=body)
        if answer.get("invited") is True:
            return Added(None)
        return Added(self._api.read(Member, answer.get("member")))

    # Invitations and links.

    async def invitations(self) -> list[Invitation]:
        """All open ones, oldest first."""
        answer = await self._object("GET", "/v1/invitations")
        return [self._api.read(Invitation, one) for one in self._objects(answer, "invitations")]

    async def accept(self, group: str) -> Group:
        """Say yes to an invitation."""
        return self._group(await self._object("POST", f"/v1/invitations/{_id(group)}"))

    async def decline(self, group: str) -> None:
        """Say no to an invitation."""
        await self._send("DELETE", f"/v1/invitations/{_id(group)}")

    async def add_link(self, group: str, hours: int, uses: int) -> Link:
        """Make a link that ends after so many hours, or uses."""
        body = {"hours": hours, "uses": uses}
        return self._api.read(Link, await self._object("POST", f"{_of(group)}/links", json=body))

    async def links(self, group: str) -> list[Link]:
        """All of a group that have not ended."""
        answer = await self._object("GET", f"{_of(group)}/links")
        return [self._api.read(Link, one) for one in self._objects(answer, "links")]

    async def drop_link(self, group: str, link: str) -> None:
        """End a link."""
        if not link.isalnum():
            raise InvalidIdError(f"link {link[:80]!r}: use the id that the user API gave")
        await self._send("DELETE", f"{_of(group)}/links/{link}")

    async def look(self, secret: str) -> LinkedGroup:
        """What a link leads to. Nobody joins by that."""
        return self._api.read(LinkedGroup, await self._object("POST", "/v1/links/look", json={"secret": secret}))

    async def join(self, secret: str) -> Group:
        """Join by a link."""
        return self._group(await self._object("POST", "/v1/links/join", json={"secret": secret}))

    # Marks.

    async def read_by(self, group: str, device: str, stream: int, number: int) -> ReadBy:
        """Who has read a message of ours, in a group of up to 50."""
        answer = await self._object("GET", f"{_of(group)}/marks/{device}/{stream}/{number}")
        users = answer.get("read_by")
        if not isinstance(users, list) or not all(isinstance(user, str) for user in users):
            raise self._api.strange()
        return ReadBy(tuple(users), self._number(answer, "of"))

    # Answers.

    async def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        response = await self._api.send(method, path, accept=(404,), **more)
        if code_of(response) == "not_found":
            raise GroupsNotOfferedError("this service knows no groups: it is an older release")
        return self._api.check(response)

    async def _object(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        return self._api.answer(await self._send(method, path, **more))

    def _group(self, answer: dict[str, Any]) -> Group:
        members = tuple(self._api.read(Member, one) for one in self._objects(answer, "members"))
        return self._api.read(Group, {**answer, "members": members}, unchecked=("members",))

    def _objects(self, answer: dict[str, Any], name: str) -> list[Any]:
        items = answer.get(name)
        if not isinstance(items, list):
            raise self._api.strange()
        return items

    def _number(self, answer: dict[str, Any], name: str) -> int:
        number = answer.get(name)
        if not isinstance(number, int):
            raise self._api.strange()
        return number


def _id(group: str) -> str:
    if not is_group_id(group):
        raise InvalidIdError(f"group id {group[:80]!r}: use the id that the user API gave")
    return group


def _of(group: str) -> str:
    return f"{_PATH}/{_id(group)}"
