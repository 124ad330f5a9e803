"""Friends, requests to be friends, and blocks.

Owns what a program sees of them. What may become of two users, the server decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from client.api.signed import SignedApi, in_path


@dataclass(frozen=True, slots=True)
class Contact:
    """How one user stands to another."""

    user: str
    """The other."""
    friend: bool
    asked: bool
    """We have asked them to be our friend."""
    asks: bool
    """They have asked us."""
    blocked: bool
    """By us."""
    since_ms: int
    """When we became friends, or they asked; Unix time, otherwise 0."""


@dataclass(frozen=True, slots=True)
class Friend(Contact):
    """A friend, and whether they are there."""

    online: bool | None = None
    """None: they hide it, or nobody can say just now."""
    last_seen_ms: int | None = None
    """Unix time; None: unknown or hidden."""


class Contacts:
    """Of one user. Beside what is named, everything raises what `SignedApi` says.

    Changes may be repeated: what is so already stays so. Each raises `InvalidIdError`, and `MisuseError` for oneself.
    """

    def __init__(self, api: SignedApi) -> None:
        self._api = api

    async def friends(self) -> list[Friend]:
        """All friends, by name."""
        return await self._api.many(Friend, "/v1/friends")

    async def requests(self) -> list[Contact]:
        """Whom we have asked to be our friend, and who has asked us."""
        return await self._api.many(Contact, "/v1/requests")

    async def blocks(self) -> list[Contact]:
        """Whom we have blocked."""
        return await self._api.many(Contact, "/v1/blocks")

    async def ask(self, user: str) -> Contact:
        """Ask to be friends; who has asked us is our friend at once.

        Raises `NotFoundError` if there is no such user, `MisuseError` if we block them.
        """
        return await self._change("PUT", "requests", user)

    async def accept(self, user: str) -> Contact:
        """Accept their request. Raises `NotFoundError` if there is none."""
        return await self._change("PUT", "friends", user)

    async def decline(self, user: str) -> Contact:
        """Decline what they asked, or take back what we asked."""
        return await self._change("DELETE", "requests", user)

    async def unfriend(self, user: str) -> Contact:
        """Be friends no more."""
        return await self._change("DELETE", "friends", user)

    async def block(self, user: str) -> Contact:
        """No message goes either way, and a friendship or a request ends. They are not told.

        Raises `NotFoundError` if there is no such user.
        """
        return await self._change("PUT", "blocks", user)

    async def unblock(self, user: str) -> Contact:
        """Block them no more."""
        return await self._change("DELETE", "blocks", user)

    async def _change(self, method: str, what: str, user: str) -> Contact:
        return await self._api.one(Contact, method, f"/v1/{what}/{in_path(user)}")
