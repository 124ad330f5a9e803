"""Passwords: hashing and checking, with argon2id.

Owns the only place where a password is seen.
"""

from __future__ import annotations

import os
import secrets
import threading
import unicodedata

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from userapi.settings import UserApiSettings

NO_PASSWORD = "!oidc"
"""What stands in the place of a hash where an OpenID provider vouches for somebody: it is that of no password."""


def keeps_password(kept: str) -> bool:
    """Whether what is kept in the place of a hash is that of a password of ours."""
    return bool(kept) and not kept.startswith(NO_PASSWORD)


class Passwords:
    """Hashes and checks. Each takes tens of milliseconds of CPU and some memory, so only a few run at once."""

    def __init__(self, settings: UserApiSettings) -> None:
        self._hasher = argon2.PasswordHasher(
            time_cost=settings.argon2_time_cost,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
        )
        self._turn = threading.BoundedSemaphore(os.cpu_count() or 1)
        self._nobodys = self._hasher.hash(secrets.token_hex(16))

    def hash(self, password: str) -> str:
        """The salted hash to keep."""
        with self._turn:
            return self._hasher.hash(normal(password).encode())

    def is_outdated(self, kept: str) -> bool:
        """Whether the hash was made with other settings than those of today."""
        try:
            return self._hasher.check_needs_rehash(kept)
        except InvalidHashError:
            return False

    def matches(self, password: str, kept: str | None) -> bool:
        """Whether `password` belongs to the hash `kept`; without one it takes as long and says no.

        Where another system keeps the passwords, the hash is empty.
        """
        with self._turn:
            try:
                self._hasher.verify(kept or self._nobodys, normal(password).encode())
            except (VerificationError, InvalidHashError):
                return False
        return bool(kept)


def normal(password: str) -> str:
    """The form that is hashed: keyboards differ in how they compose an accented letter."""
    return unicodedata.normalize("NFKC", password)
