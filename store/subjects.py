"""What is kept of people whom an OpenID provider knows: whose account a subject's is.

Owns the port and its type. An issuer gives a subject to one person, for good; nothing else that it says of somebody
leads to an account.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import NamedTuple


class Subject(NamedTuple):
    """Somebody, as an issuer knows them (OpenID Connect Core 1.0, 2: `iss` and `sub`)."""

    issuer: str
    subject: str


class Subjects(abc.ABC):
    """Raises `StoreError` as `Store` does; everything may be repeated."""

    @abc.abstractmethod
    async def user_of(self, subject: Subject) -> str | None:
        """Whose account it is, which may have ended; None: nobody's."""

    @abc.abstractmethod
    async def link(self, subject: Subject, user: str) -> str:
        """It is `user`'s from now on, unless it is that of an account that stands; of two at once one wins.

        Returns whose it is then. Raises `NotFoundError` without such an account.
        """

    @abc.abstractmethod
    async def unlink(self, subject: Subject, user: str) -> bool:
        """It is not `user`'s any more. False if it was not. The end of the account does so, too."""

    @abc.abstractmethod
    async def of(self, user: str) -> Sequence[Subject]:
        """All that lead to this account, in order."""
