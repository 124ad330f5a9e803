"""The port that somebody else's user system is behind.

Owns what such a system has to be able to do. Knows none.
"""

from __future__ import annotations

from typing import Protocol


class Identity(Protocol):
    """A user system that keeps the passwords. One object in each worker process, called from several threads."""

    def check(self, user: str, password: str) -> bool:
        """Whether `password` is that of `user`, a valid user id; False for a user that does not exist.

        It may block, for `userapi.identity_timeout_s` at most. The password is not empty, and as it was typed. Raises
        `protocol.errors.UnavailableError` when it cannot tell; the client is then asked to try again.
        """

    def close(self) -> None:
        """The process ends."""
