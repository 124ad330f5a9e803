"""Invitations into groups, and links.

Owns the tables `group_invitations`, `group_links` and `group_secrets`. Invitations of a user are added by
compare-and-set over all of them, so that there are never too many; a link is used likewise, and each use leaves its
trace: one that nobody answered is found by a serial read, and taken once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from cassandra.query import BatchStatement, BatchType

from protocol.errors import StoreError
from store.cassandra.connecting import Connection
from store.cassandra.requests import Requests
from store.groups import MAX_INVITATIONS, Invitation, Link

_INVITE = "INSERT INTO group_invitations (user, group_id, invited_by, ms) VALUES (?, ?, ?, ?)"
_CHANGED = "UPDATE group_invitations SET change = ? WHERE user = ? IF change = ?"
_INVITATIONS = "SELECT change, group_id, user, invited_by, ms FROM group_invitations WHERE user = ?"
_DROP_INVITATION = "DELETE FROM group_invitations WHERE user = ? AND group_id = ? IF EXISTS"
_ADD_LINK = (
    "INSERT INTO group_links (group_id, link, digest, ends_ms, uses_left, made_by) VALUES (?, ?, ?, ?, ?, ?) "
    "IF NOT EXISTS USING TTL ?"
)
_ADD_SECRET = "INSERT INTO group_secrets (digest, group_id, link) VALUES (?, ?, ?) USING TTL ?"
_COLUMNS = "SELECT group_id, link, digest, ends_ms, uses_left, made_by FROM group_links"
_LINKS = f"{_COLUMNS} WHERE group_id = ?"
_LINK = f"{_COLUMNS} WHERE group_id = ? AND link = ?"
_SECRET = "SELECT group_id, link FROM group_secrets WHERE digest = ?"
_USES = "SELECT uses FROM group_links WHERE group_id = ? AND link = ?"
_USE = (
    "UPDATE group_links USING TTL ? SET uses_left = ?, uses = uses + ? WHERE group_id = ? AND link = ? IF uses_left = ?"
)
_TRIES = 20
LINK_SPARE_S = 7 * 86_400
_DROP_LINK = "DELETE FROM group_links WHERE group_id = ? AND link = ? IF EXISTS"
_DROP_SECRET = "DELETE FROM group_secrets WHERE digest = ?"


class GroupEntrance:
    """The operations on these tables. `now_ms` is Unix time."""

    def __init__(self, connection: Connection, requests: Requests, now_ms: Callable[[], int]) -> None:
        self._requests = requests
        self._now_ms = now_ms
        self._invite = connection.prepare(_INVITE)
        self._changed = connection.prepare(_CHANGED)
        self._invitations = connection.prepare(_INVITATIONS)
        self._drop_invitation = connection.prepare(_DROP_INVITATION)
        self._add_link = connection.prepare(_ADD_LINK)
        self._add_secret = connection.prepare(_ADD_SECRET)
        self._links = connection.prepare(_LINKS)
        self._link = connection.prepare(_LINK)
        self._secret = connection.prepare(_SECRET)
        self._uses = connection.prepare(_USES)
        self._use = connection.prepare(_USE)
        self._drop_link = connection.prepare(_DROP_LINK)
        self._drop_secret = connection.prepare(_DROP_SECRET)

    async def invite(self, invitation: Invitation) -> bool:
        """Keep it, if there is room."""
        user = invitation.user
        for _ in range(_TRIES):
            change, there = await self._read(user, serially=True)
            # It may be ours, of a try whose answer was lost.
            if invitation.group in {one.group for one in there}:
                return True
            if len(there) >= MAX_INVITATIONS:
                return False
            batch = BatchStatement(BatchType.UNLOGGED)
            batch.add(self._changed.bind((secrets.token_hex(8), user, change)))
            batch.add(self._invite.bind((user, invitation.group, invitation.by, invitation.ms)))
            if (await self._requests.conditional(batch))["[applied]"]:
                return True
        raise StoreError(f'the invitations of "{user}" change too often to follow')

    async def _read(self, user: str, *, serially: bool = False) -> tuple[str | None, list[Invitation]]:
        (rows,) = await self._requests.run([self._invitations.bind((user or " ",))], serially=serially)
        return rows[0][0] if rows else None, [Invitation(*row[1:]) for row in rows if row[4] is not None]

    async def invitations(self, user: str) -> list[Invitation]:
        """All of a user, oldest first."""
        _, found = await self._read(user)
        return sorted(found, key=lambda one: (one.ms, one.group))

    async def drop_invitation(self, user: str, group: str) -> bool:
        """Whether it was there."""
        if group not in {one.group for one in (await self._read(user, serially=True))[1]}:
            return False
        try:
            await self._requests.conditional(self._drop_invitation.bind((user, group)))
        except StoreError:
            if group in {one.group for one in (await self._read(user, serially=True))[1]}:
                raise
        return True

    async def forget_user(self, user: str) -> None:
        """An account ends."""
        for one in await self.invitations(user):
            await self.drop_invitation(user, one.group)

    async def add_link(self, link: Link) -> None:
        """Keep it; once more it is a repeat, which gives no uses back."""
        ttl_s = self._ttl_s(link)
        await self._requests.conditional(self._add_link.bind((*link, ttl_s)))
        await self._requests.run([self._add_secret.bind((link.digest, link.group, link.link, ttl_s))])

    def _ttl_s(self, link: Link) -> int:
        """It is shown for a while after it has ended."""
        return LINK_SPARE_S + max(0, link.ends_ms - self._now_ms()) // 1000

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
        trace = secrets.token_hex(8)
        for _ in range(_TRIES):
            found = await self._one(group, link)
            if found is None or found.uses_left <= 0 or found.ends_ms <= now_ms:
                return await self._is_used(group, link, trace)
            # Uses only fall, so of several tries of one caller one can be done.
            use = self._use.bind((self._ttl_s(found), found.uses_left - 1, {trace}, group, link, found.uses_left))
            try:
                if (await self._requests.conditional(use))["[applied]"]:
                    return True
            except StoreError:
                if not await self._is_used(group, link, trace):
                    raise
            if await self._is_used(group, link, trace):
                return True
        raise StoreError("a link is used too often to follow")

    async def _is_used(self, group: str, link: str, trace: str) -> bool:
        (rows,) = await self._requests.run([self._uses.bind((group or " ", link))], serially=True)
        return bool(rows) and trace in (rows[0][0] or ())

    async def drop_link(self, group: str, link: str) -> None:
        """It ends."""
        found = await self._one(group, link)
        if found is not None:
            await self._requests.conditional(self._drop_link.bind((group, link)))
            await self._requests.run([self._drop_secret.bind((found.digest,))])

    async def drop_links(self, group: str) -> None:
        """All of a group end."""
        for link in await self.links(group):
            await self.drop_link(group, link.link)
