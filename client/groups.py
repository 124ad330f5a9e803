"""Groups as a program sees them: which there are, who is in them, and who may do what.

Owns the calls. What may become of a group, the server decides; messages go through `Client.send` as ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from client import arguments
from client.api.groups import (
    MAX_CHANGES,
    Group,
    GroupChange,
    GroupsApi,
    Invitation,
    Link,
    LinkedGroup,
    Member,
    MyGroup,
    ReadBy,
)
from client.engine import Engine
from client.keeper import Keeper
from client.messages import Message, Sending
from protocol.errors import InvalidIdError, MisuseError
from protocol.ids import check_user_id, is_group_id

Role = Literal["member", "admin", "owner"]
Who = Literal["all", "admins"]


class Groups:
    """Groups of one user. A group's id is what `Client.send` takes, and what `Message.group` and `dest` say.

    The answer to a change takes about two seconds: from then on every message comes behind it. Changes may be repeated,
    but for `make` and `add_link`. All that name a group raise `InvalidIdError` for what is no group's id, and
    `NotFoundError` for one that we are not in, or that there is not.

    Beside its own errors, each method raises those of every call: `ClosedError`, `SessionEndedError`,
    `UnavailableError` and `PeerError` (`docs/library/userapi.md`, "Errors of every call"); and `GroupsNotOfferedError`
    where the service is an older one that knows no groups. What is sent to a group waits there until it does.
    """

    def __init__(self, engine: Engine, api: GroupsApi, keeper: Keeper) -> None:
        self._engine = engine
        self._api = api
        self._conversations = keeper.api
        self._journal = keeper.journal

    # Which there are.

    async def list(self) -> Sequence[MyGroup]:
        """Return all groups that we are in, or were in lately, by id."""
        found = await self._api.everything()
        self._called({each.group: each.name for each in found})
        return found

    @property
    def names(self) -> dict[str, str]:
        """What people call groups, by id, as far as it was heard here. Nothing is asked; what was left stays."""
        return self._journal.called()

    def _called(self, names: Mapping[str, str]) -> None:
        known = self._journal.called()
        for group, name in names.items():
            if name and known.get(group) != name:
                self._journal.put_called(group, name)
                self._engine.changed()

    def _seen(self, group: Group) -> Group:
        self._called({group.group: group.name})
        return group

    async def of(self, group: str) -> Group:
        """Return a group with its members.

        Args:
            group: Its id.

        Raises:
            NotFoundError: We are not in it.
        """
        return self._seen(await self._api.one(group))

    async def make(
        self,
        name: str,
        *,
        who_may_write: Who = "all",
        who_may_add: Who = "all",
        newcomers_see: Literal["nothing", "history"] = "nothing",
    ) -> Group:
        """Make a group that we own, and that nobody else is in yet.

        Args:
            name: What people call it.
            who_may_write: "all", or "admins" alone.
            who_may_add: "all", or "admins" alone.
            newcomers_see: "nothing" of what was said before, or the "history".

        Raises:
            NotAllowedHereError: We are in as many groups as one may be.
            MisuseError: The name is too long, or a setting is none of these.
        """
        arguments.text("the name", name)
        settings = {"who_may_write": who_may_write, "who_may_add": who_may_add, "newcomers_see": newcomers_see}
        return self._seen(await self._api.make(name, **settings))

    async def change(
        self,
        group: str,
        *,
        name: str | None = None,
        picture: str | None = None,
        who_may_write: Who | None = None,
        who_may_add: Who | None = None,
        newcomers_see: Literal["nothing", "history"] | None = None,
    ) -> Group:
        """Change what is not None.

        Args:
            group: Its id.
            name: What people call it.
            picture: The id of a file of ours; "" takes it away.
            who_may_write: "all", or "admins" alone.
            who_may_add: "all", or "admins" alone.
            newcomers_see: "nothing" of what was said before, or the "history".

        Raises:
            NotAllowedHereError: We are no admin there.
        """
        settings = {"who_may_write": who_may_write, "who_may_add": who_may_add, "newcomers_see": newcomers_see}
        given = {name: value for name, value in settings.items() if value is not None}
        return self._seen(await self._api.change(group, name=name, picture=picture, **given))

    async def close(self, group: str) -> None:
        """End a group for all of its members.

        Args:
            group: Its id.

        Raises:
            NotAllowedHereError: We do not own it.
        """
        await self._api.close(group)

    async def changes(self, group: str, since: int = 0, limit: int = MAX_CHANGES) -> Sequence[GroupChange]:
        """Return what has become of a group, oldest first, from our own joining on.

        New ones are told by the event `GroupChanged`, without asking.

        Args:
            group: Its id.
            since: Only changes above this version.
            limit: How many at most, up to 100.
        """
        return (await self._api.changes(group, since, limit)).changes

    # Members.

    async def add(self, group: str, user: str) -> Member | None:
        """Add a friend who allows it; all others are asked whether they want to be in the group.

        Args:
            group: Its id.
            user: Who is to be in it.

        Returns:
            The member; None: they are asked, and become one by their own yes.

        Raises:
            InvalidIdError: `user` is no user id.
            NotAllowedHereError: Not everybody may add there, or the group is full.
        """
        return (await self._api.add(group, check_user_id(user))).member

    async def remove(self, group: str, user: str) -> None:
        """Remove a member. They keep what they have, and get nothing more.

        Args:
            group: Its id.
            user: Who is to be in it no more.

        Raises:
            InvalidIdError: `user` is no user id.
            NotAllowedHereError: Admins remove members; owners admins, too.
        """
        await self._api.remove(group, check_user_id(user))

    async def leave(self, group: str) -> None:
        """Leave a group. The last owner hands it to the oldest admin, or else member.

        Args:
            group: Its id.
        """
        await self._api.remove(group, self._engine.user)

    async def set_role(self, group: str, user: str, role: Role) -> Member:
        """Give a member a role.

        Args:
            group: Its id.
            user: The member.
            role: "member", "admin" or "owner".

        Raises:
            InvalidIdError: `user` is no user id.
            NotAllowedHereError: We do not own the group, or they are an owner.
        """
        return await self._api.set_role(group, check_user_id(user), role)

    # Invitations and links.

    async def invitations(self) -> Sequence[Invitation]:
        """Return groups that we are asked to be in, oldest first."""
        return await self._api.invitations()

    async def join(self, group: str) -> Group:
        """Say yes to an invitation.

        Args:
            group: The group's id.

        Raises:
            NotFoundError: There is no such invitation (any more).
        """
        return self._seen(await self._api.accept(group))

    async def decline(self, group: str) -> None:
        """Say no to an invitation.

        Args:
            group: The group's id.
        """
        await self._api.decline(group)

    async def add_link(self, group: str, hours: int = 24, uses: int = 1) -> Link:
        """Make a link: whoever has its secret may join. The secret is told once.

        Args:
            group: Its id.
            hours: How long it works.
            uses: How many may join by it.

        Raises:
            NotAllowedHereError: We are no admin there, or there are as many links as may be.
        """
        return await self._api.add_link(group, hours, uses)

    async def links(self, group: str) -> Sequence[Link]:
        """Return the links of a group that have not ended.

        Args:
            group: Its id.

        Raises:
            NotAllowedHereError: We are no admin there.
        """
        return await self._api.links(group)

    async def drop_link(self, group: str, link: str) -> None:
        """End a link.

        Args:
            group: Its id.
            link: The link's id.

        Raises:
            NotAllowedHereError: We are no admin there.
        """
        await self._api.drop_link(group, link)

    async def look(self, secret: str) -> LinkedGroup:
        """Return the name of a link's group, and how many are in it. Nobody joins by that.

        Args:
            secret: The link's.

        Raises:
            NotFoundError: It has ended, or there is none.
        """
        return await self._api.look(arguments.text("the secret", secret))

    async def join_by_link(self, secret: str) -> Group:
        """Join by a link.

        Args:
            secret: The link's.

        Raises:
            NotFoundError: It has ended, or there is none.
            NotAllowedHereError: We left that group or were removed, and need a new invitation; or it is full.
        """
        return self._seen(await self._api.join(arguments.text("the secret", secret)))

    # Messages.

    async def mark_read(self, group: str, stamp: int) -> None:
        """Say that all is read that was written in a group up to a stamp. It is told within a second or so.

        Args:
            group: Its id.
            stamp: The server's, that of a message (`Message.wire`).
        """
        await self._engine.read_group(_group(group), stamp)

    async def read_by(self, message: Message | Sending) -> ReadBy:
        """Return who has read a message of ours, of those who show it; in groups of up to 50.

        Args:
            message: Ours, in a group.

        Raises:
            MisuseError: It is not ours, not in a group, or not sent yet.
            NotAllowedHereError: There are too many in the group.
        """
        if isinstance(message, Message):
            author, device, stream, number = message.name
        else:
            author, device = self._engine.user, self._engine.credentials.device
            stream, number = message.stream, message.id
        if author != self._engine.user or not stream or not is_group_id(message.dest):
            raise MisuseError("ask about a message of your own that was sent to a group")
        return await self._api.read_by(message.dest, device, stream, number)

    async def take_down(self, message: Message) -> None:
        """Erase somebody else's message in a group that we own; all see that we did.

        Args:
            message: Theirs. One's own is erased by `Message.erase`.

        Raises:
            MisuseError: It is in no group.
            NotAllowedHereError: We do not own the group.
            NotFoundError: It is not there any more.
        """
        if not message.group:
            raise MisuseError("only in a group")
        await self._conversations.take_down(message.group, message.name)


def _group(group: str) -> str:
    if not is_group_id(group):
        raise InvalidIdError(f"group id {group[:80]!r}: use the id that the user API gave")
    return group
