"""Invitations into groups, and links.

Owns the tables `group_invitations`, `group_links` and `group_secrets`. A use of a link is taken by compare-and-set.
"""

from __future__ import annotations

from store.cassandra.connecting import Connection
from store.cassandra.requests import Requests
from store.groups import MAX_INVITATIONS, Invitation, Link

_INVITE = "INSERT INTO group_invitations (user, group_id, invited_by, ms) VALUES (?, ?, ?, ?) IF NOT EXISTS"
_INVITATIONS = "SELECT group_id, user, invited_by, ms FROM group_invitations WHERE user = ?"
_DROP_INVITATION = "DELETE FROM group_invitations WHERE user = ? AND group_id = ? IF EXISTS"
_ADD_LINK = (
    "INSERT INTO group_links (group_id, link, digest, ends_ms, uses_left, made_by) VALUES (?, ?, ?, ?, ?, ?) "
    "IF NOT EXISTS"
)
_ADD_SECRET = "INSERT INTO group_secrets (digest, group_id, link) VALUES (?, ?, ?)"
_COLUMNS = "SELECT group_id, link, digest, ends_ms, uses_left, made_by FROM group_links"
_LINKS = f"{_COLUMNS} WHERE group_id = ?"
_LINK = f"{_COLUMNS} WHERE group_id = ? AND link = ?"
_SECRET = "SELECT group_id, link FROM group_secrets WHERE digest = ?"
_USE = "UPDATE group_links SET uses_left = ? WHERE group_id = ? AND link = ? IF uses_left = ?"
_DROP_LINK = "DELETE FROM group_links WHERE group_id = ? AND link = ? IF EXISTS"
_DROP_SECRET = "DELETE FROM group_secrets WHERE digest = ?"


class GroupEntrance:
    """The operations on these tables."""

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self._requests = requests
        self._invite = connection.prepare(_INVITE)
        self._invitations = connection.prepare(_INVITATIONS)
        self._drop_invitation = connection.prepare(_DROP_INVITATION)
        self._add_link = connection.prepare(_ADD_LINK)
        self._add_secret = connection.prepare(_ADD_SECRET)
        self._links = connection.prepare(_LINKS)
        self._link = connection.prepare(_LINK)
        self._secret = connection.prepare(_SECRET)
        self._use = connection.prepare(_USE)
        self._drop_link = connection.prepare(_DROP_LINK)
        self._drop_secret = connection.prepare(_DROP_SECRET)

    async def invite(self, invitation: Invitation) -> bool:
        """Keep it, if there is room. Of many at once a few may be kept beyond it."""
        there = await self.invitations(invitation.user)
        if invitation.group in {one.group for one in there}:
            return True
        if len(there) >= MAX_INVITATIONS:
            return False
        values = (invitation.user, invitation.group, invitation.by, invitation.ms)
        await self._requests.conditional(self._invite.bind(values))
        return True

    async def invitations(self, user: str) -> list[Invitation]:
        """All of a user, oldest first."""
        (rows,) = await self._requests.run([self._invitations.bind((user or " ",))])
        return sorted([Invitation(*row) for row in rows], key=lambda one: (one.ms, one.group))

    async def drop_invitation(self, user: str, group: str) -> bool:
        """Whether it was there."""
        return bool((await self._requests.conditional(self._drop_invitation.bind((user, group))))["[applied]"])

    async def forget_user(self, user: str) -> None:
        """An account ends."""
        for one in await self.invitations(user):
            await self.drop_invitation(user, one.group)

    async def add_link(self, link: Link) -> None:
        """Keep it; once more it is a repeat, which gives no uses back."""
        await self._requests.conditional(self._add_link.bind(link))
        await self._requests.run([self._add_secret.bind((link.digest, link.group, link.link))])

    async def links(self, group: str) -> list[Link]:
        """All of a group."""
        (rows,) = await self._requests.run([self._links.bind((group or " ",))])
        return [Link(*row) for row in rows if row[2] is not None]

    async def find_link(self, digest: str) -> Link | None:
        """By its secret's digest."""
        (rows,) = await self._requests.run([self._secret.bind((digest or " ",))])
        return await self._one(*rows[0]) if rows else None

    async def _one(self, group: str, link: str) -> Link | None:
        (rows,) = await self._requests.run([self._link.bind((group or " ", link))])
        return Link(*rows[0]) if rows and rows[0][2] is not None else None

    async def use_link(self, group: str, link: str, now_ms: int) -> bool:
        """Take one use."""
        while True:
            found = await self._one(group, link)
            if found is None or found.uses_left <= 0 or found.ends_ms <= now_ms:
                return False
            use = self._use.bind((found.uses_left - 1, group, link, found.uses_left))
            if (await self._requests.conditional(use))["[applied]"]:
                return True

    async def drop_link(self, group: str, link: str) -> None:
        """It ends."""
        found = await self._one(group, link)
        await self._requests.conditional(self._drop_link.bind((group, link)))
        if found is not None:
            await self._requests.run([self._drop_secret.bind((found.digest,))])
