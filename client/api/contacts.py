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
    """The other user's id."""
    friend: bool
    """They are our friend."""
    asked: bool
    """We have asked them to be our friend."""
    asks: bool
    """They have asked us."""
    blocked: bool
    """We have blocked them."""
    since_ms: int
    """When we became friends, or they asked, in milliseconds of Unix time; otherwise 0."""


@dataclass(frozen=True, slots=True)
class Friend(Contact):
    """A friend, and whether they are there."""

    online: bool | None = None
    """Whether they are online; None: they hide it, or nobody can say just now."""
    last_seen_ms: int | None = None
    """When they were online last, in milliseconds of Unix time; None: unknown or hidden."""


class Contacts:
    """Friends, requests and blocks of one user.

    Changes may be repeated: what is so already stays so.

    Beside its own errors, each method raises those of every call: `ClosedError`, `SessionEndedError`,
    `UnavailableError` and `PeerError` (`docs/library/userapi.md`, "Errors of every call").
    """

    def __init__(self, api: SignedApi) -> None:
        self._api = api

    async def friends(self) -> list[Friend]:
        """Return all friends, by name."""
        return await self._api.many(Friend, "/v1/friends")

    async def requests(self) -> list[Contact]:
        """Return whom we have asked to be our friend, and who has asked us."""
        return await self._api.many(Contact, "/v1/requests")

    async def blocks(self) -> list[Contact]:
        """Return whom we have blocked."""
        return await self._api.many(Contact, "/v1/blocks")

    async def ask(self, user: str) -> Contact:
        """Ask a user to be our friend; who has asked us is our friend at once.

        Args:
            user: The other user's id.

        Raises:
            InvalidIdError: `user` is no user id.
            NotFoundError: There is no such user.
            MisuseError: We block them, or it is ourselves.
        """
        return await self._change("PUT", "requests", user)

    async def accept(self, user: str) -> Contact:
        """Accept a user's request to be our friend.

        Args:
            user: The other user's id.

        Raises:
            InvalidIdError: `user` is no user id.
            NotFoundError: They have not asked.
            MisuseError: It is ourselves.
        """
        return await self._change("PUT", "friends", user)

    async def decline(self, user: str) -> Contact:
        """Decline what a user has asked, or take back what we have asked them.

        Args:
            user: The other user's id.

        Raises:
            InvalidIdError: `user` is no user id.
            MisuseError: It is ourselves.
        """
        return await self._change("DELETE", "requests", user)

    async def unfriend(self, user: str) -> Contact:
        """Be friends with a user no more.

        Args:
            user: The other user's id.

        Raises:
            InvalidIdError: `user` is no user id.
            MisuseError: It is ourselves.
        """
        return await self._change("DELETE", "friends", user)

    async def block(self, user: str) -> Contact:
        """Block a user: no message goes either way, and a friendship or a request ends. They are not told.

        Args:
            user: The other user's id.

        Raises:
            InvalidIdError: `user` is no user id.
            NotFoundError: There is no such user.
            MisuseError: It is ourselves.
        """
        return await self._change("PUT", "blocks", user)

    async def unblock(self, user: str) -> Contact:
        """Block a user no more.

        Args:
            user: The other user's id.

        Raises:
            InvalidIdError: `user` is no user id.
            MisuseError: It is ourselves.
        """
        return await self._change("DELETE", "blocks", user)

    async def _change(self, method: str, what: str, user: str) -> Contact:
        return await self._api.one(Contact, method, f"/v1/{what}/{in_path(user)}")
