"""Tokens, as they are made. What an access token holds is `fabric.tokens`' business, which verifies it.

Owns the use of the private key. Reads no clock, keeps nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from itsdangerous import BadData, URLSafeSerializer

from fabric.tokens import ALGORITHM, AUDIENCE, ISSUER, Identity, TokenVerifier
from userapi.keys import load_private_key
from userapi.proofs import Nonces

MAX_REMEMBERED = 10_000
"""Verified tokens; half a kilobyte each."""


@dataclass(frozen=True, slots=True)
class RefreshClaims:
    """What a refresh token stands for (`store.logins`)."""

    user: str
    device: str
    login: str
    generation: int
    key: str = ""
    """The thumbprint of the key that the login is bound to (`userapi.proofs`); empty: none."""


class RememberingVerifier(TokenVerifier):
    """Verifies each token once: a signature costs a quarter of a request, and a client uses its token for an hour.

    What it remembers is what the token says, never whether its login stands. Threads may share it.
    """

    def __init__(self, public_key_pem: bytes) -> None:
        super().__init__(public_key_pem)
        self._known: dict[str, Identity] = {}

    def verify(self, token: str, now: float) -> Identity:
        """See `TokenVerifier`."""
        found = self._known.get(token)
        if found is None or found.expires <= now:
            found = super().verify(token, now)
            if len(self._known) >= MAX_REMEMBERED:
                self._known = {}
            self._known[token] = found
        return found


class TokenMinter:
    """Signs access tokens, which name a user, a device and its login; and makes refresh tokens."""

    def __init__(self, private_key_file: Path, lifetime_s: float) -> None:
        """`lifetime_s` is that of access tokens. Raises `ConfigError` for a file that holds no key."""
        self._key = load_private_key(private_key_file)
        self._lifetime_s = lifetime_s
        # Made of the private key: whoever has that can log in as anybody anyway, and with a new one all logins end.
        secret = self._secret(b"sparrow refresh tokens")
        self._refreshing = URLSafeSerializer(
            secret, salt="refresh", signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"}
        )

    def _secret(self, use: bytes) -> bytes:
        return HKDF(hashes.SHA256(), 32, None, use).derive(self._key.private_bytes_raw())

    def nonces(self) -> Nonces:
        """Nonces for proofs, which every process with this key takes."""
        return Nonces(self._secret(b"sparrow proof nonces"))

    def mint(self, user: str, device: str, now: float, login: str = "") -> tuple[str, int]:
        """An access token, and when it expires (Unix time in whole seconds). `now` is Unix time."""
        expires = int(now + self._lifetime_s)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user,
            "dev": device,
            "sid": login,
            "iat": int(now),
            "exp": expires,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM), expires

    def verifier(self) -> RememberingVerifier:
        """What verifies these access tokens."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return RememberingVerifier(self._key.public_key().public_bytes(serialization.Encoding.PEM, form))

    def refresh_token(self, claims: RefreshClaims) -> str:
        """The same token each time: so a repeated refresh gets the successor that was lost, and none is kept."""
        told = [claims.user, claims.device, claims.login, claims.generation]
        made: str = self._refreshing.dumps([*told, claims.key] if claims.key else told)
        return made

    def read_refresh_token(self, token: str) -> RefreshClaims | None:
        """What it stands for; None for what we have not made."""
        try:
            # What follows is a later release's.
            user, device, login, generation, *more = self._refreshing.loads(token)
        except (BadData, ValueError, TypeError):
            return None
        return RefreshClaims(user, device, login, generation, more[0] if more and isinstance(more[0], str) else "")
