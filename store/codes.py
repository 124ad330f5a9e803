"""What is kept of codes: those that set a new password, and invitations to register.

Owns the port and its types. Of a code, an engine sees the digest only. What a code is, and how it is told, is the user
API's business.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResetCode:
    """Lets somebody set a new password of an account, once."""

    digest: str
    ends_ms: int  # Unix time
    used: bool = False

    def written(self) -> str:
        """In one cell."""
        return f"{self.digest} {self.ends_ms} {'used' if self.used else 'open'}"


def read_reset_code(cell: str | None) -> ResetCode | None:
    """What `written` has written; None for nothing."""
    if not cell:
        return None
    digest, ends_ms, state = cell.split(" ")
    return ResetCode(digest, int(ends_ms), state == "used")


@dataclass(frozen=True, slots=True)
class Invitation:
    """Lets `uses` people register who know its code."""

    invitation: str
    """Its id, which is no secret."""
    digest: str
    made_ms: int  # Unix time
    ends_ms: int  # Unix time
    uses: int
    note: str = ""
    """For people: whom it is for."""
    used_by: tuple[str, ...] = ()
    """User ids, in order."""


class Codes(abc.ABC):
    """Raises `StoreError` as `Store` does; everything may be repeated."""

    # A new password.

    @abc.abstractmethod
    async def put_reset_code(self, user: str, code: ResetCode) -> None:
        """In the place of the one before. Raises `NotFoundError` without such an account.

        Another password, `set_disabled` and the end of the account end it.
        """

    @abc.abstractmethod
    async def reset_code(self, user: str) -> ResetCode | None:
        """The newest, used or ended as it may be; None if there is none, or no such user."""

    @abc.abstractmethod
    async def reset_password(self, user: str, digest: str, new_hash: str) -> bool:
        """Use the code: `new_hash` is the account's from now on, and all its logins end; no login whose password was
        checked before succeeds afterwards.

        False if that code does not stand, was used or has ended, or the account is disabled. Of many at once one is
        True. One that was interrupted may have set the password, and is to be followed by `Store.end_logins`.
        """

    # Invitations.

    @abc.abstractmethod
    async def add_invitation(self, invitation: Invitation) -> None:
        """Keep it until it ends."""

    @abc.abstractmethod
    async def invitations(self, after: str, limit: int) -> Sequence[Invitation]:
        """Up to `limit` that have not ended, used up or not, by id, from behind `after` on. Fewer only at the end."""

    @abc.abstractmethod
    async def count_invitations(self) -> int:
        """How many have not ended, about."""

    @abc.abstractmethod
    async def withdraw_invitation(self, invitation: str) -> bool:
        """Nobody registers with it any more. False if there is none (any more)."""

    @abc.abstractmethod
    async def use_invitation(self, digest: str, user: str) -> str | None:
        """`user` is about to register: that is one use, also if it is repeated. Returns the invitation's id; None if
        there is none, or it has ended or is used up."""

    @abc.abstractmethod
    async def return_use(self, digest: str, user: str) -> None:
        """`user` has not registered with it."""

    @abc.abstractmethod
    async def invitation_of(self, user: str) -> str | None:
        """With which one the account was made, also if it has ended; empty: with none. None if there never was one."""
