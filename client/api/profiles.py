"""Profiles: one's own, others', and the search for users.

Owns what a program sees of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from client.api.signed import SignedApi, in_path

FOUND = 50
"""Users that a search gives, unless it asks for more."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What everybody sees of a user."""

    user: str
    """The user's id."""
    display_name: str
    """What people call them; may be empty. Their own word: clean it before it is shown."""


@dataclass(frozen=True, slots=True)
class OwnProfile(Profile):
    """What a user sees of themselves."""

    hides_presence: bool
    """Friends see neither that we are online nor when we were."""
    created_ms: int
    """When the account was made, in milliseconds of Unix time."""
    friends_may_add_me: bool = False
    """Friends may make us a member of a group without asking."""


class Profiles:
    """Profiles, and the search for users, as one user sees them.

    Beside its own errors, each method raises those of every call: `ClosedError`, `SessionEndedError`,
    `UnavailableError` and `PeerError` (`docs/library/userapi.md`, "Errors of every call").
    """

    def __init__(self, api: SignedApi) -> None:
        self._api = api

    async def own(self) -> OwnProfile:
        """Return one's own profile."""
        return await self._api.one(OwnProfile, "GET", "/v1/me")

    async def change(
        self,
        *,
        display_name: str | None = None,
        hides_presence: bool | None = None,
        friends_may_add_me: bool | None = None,
    ) -> OwnProfile:
        """Change one's own profile, and return it.

        Args:
            display_name: What people are to call us; None leaves it as it is.
            hides_presence: Whether friends see neither that we are online nor when we were; None leaves it as it is.
            friends_may_add_me: Whether friends may make us a member of a group without asking; None leaves it as it is.

        Raises:
            MisuseError: The service takes no such name; the text says why.
        """
        change = {
            "display_name": display_name,
            "hides_presence": hides_presence,
            "friends_may_add_me": friends_may_add_me,
        }
        body = {name: value for name, value in change.items() if value is not None}
        return await self._api.one(OwnProfile, "PATCH", "/v1/me", json=body)

    async def of(self, user: str) -> Profile:
        """Return somebody's profile.

        Args:
            user: Their id.

        Raises:
            InvalidIdError: `user` is no user id.
            NotFoundError: There is no such user.
        """
        return await self._api.one(Profile, "GET", f"/v1/users/{in_path(user)}")

    async def search(self, prefix: str, limit: int = FOUND) -> list[Profile]:
        """Return users whose ids begin with a text, by id.

        Args:
            prefix: What the ids begin with; two characters or more.
            limit: How many users at most.

        Raises:
            MisuseError: `prefix` is shorter, or begins no id.
        """
        return await self._api.many(Profile, "/v1/users", limit, prefix=prefix)
