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
    display_name: str
    """What people call them; may be empty. Their own word: clean it before it is shown."""


@dataclass(frozen=True, slots=True)
class OwnProfile(Profile):
    """What a user sees of themselves."""

    hides_presence: bool
    """Friends see neither that we are online nor when we were."""
    created_ms: int
    """Unix time of the account's making."""


class Profiles:
    """As one user sees them. Beside what is named, everything raises what `SignedApi` says."""

    def __init__(self, api: SignedApi) -> None:
        self._api = api

    async def own(self) -> OwnProfile:
        """One's own."""
        return await self._api.one(OwnProfile, "GET", "/v1/me")

    async def change(self, *, display_name: str | None = None, hides_presence: bool | None = None) -> OwnProfile:
        """Change one's own; None stays as it is. Raises `MisuseError` for what is no name."""
        change = {"display_name": display_name, "hides_presence": hides_presence}
        body = {name: value for name, value in change.items() if value is not None}
        return await self._api.one(OwnProfile, "PATCH", "/v1/me", json=body)

    async def of(self, user: str) -> Profile:
        """Somebody's. Raises `NotFoundError`, `InvalidIdError`."""
        return await self._api.one(Profile, "GET", f"/v1/users/{in_path(user)}")

    async def search(self, prefix: str, limit: int = FOUND) -> list[Profile]:
        """Users whose ids begin so, by id, `limit` at most. Raises `MisuseError` for less than two characters."""
        return await self._api.many(Profile, "/v1/users", limit, prefix=prefix)
