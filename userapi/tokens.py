"""Login tokens, as they are made. What they hold is `protocol.tokens`' business, which verifies them.

Owns the use of the private key. Reads no clock.
"""

from __future__ import annotations

from pathlib import Path

import jwt

from protocol.tokens import ALGORITHM, AUDIENCE, ISSUER
from userapi.keys import load_private_key


class TokenMinter:
    """Signs tokens that name a user and a device."""

    def __init__(self, private_key_file: Path, lifetime_s: float) -> None:
        """Raises `ConfigError` for a file that holds no key."""
        self._key = load_private_key(private_key_file)
        self._lifetime_s = lifetime_s

    def mint(self, user: str, device: str, now: float) -> tuple[str, int]:
        """A token, and when it expires (Unix time in whole seconds). `now` is Unix time."""
        expires = int(now + self._lifetime_s)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user,
            "dev": device,
            "iat": int(now),
            "exp": expires,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM), expires
