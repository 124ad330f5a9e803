"""Tokens, as they are made. What an access token holds is `fabric.tokens`' business, which verifies it.

Owns the use of the private key. Reads no clock, keeps nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from itsdangerous import BadData, URLSafeSerializer

from fabric.tokens import ALGORITHM, AUDIENCE, ISSUER, Identity, TokenVerifier
from userapi.keys import load_keys, public_pem
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

    def __init__(self, public_keys_pem: bytes) -> None:
        super().__init__(public_keys_pem)
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
    """Signs access tokens, which name a user, a device and its login; and makes refresh tokens. Believes what was made
    with any of the keys in the file."""

    def __init__(self, private_key_file: Path, lifetime_s: float) -> None:
        """`lifetime_s` is that of access tokens. Raises `ConfigError` for a file that holds no key."""
        self._keys = load_keys(private_key_file)
        self._lifetime_s = lifetime_s
        # Made of the private keys: whoever has one can log in as anybody anyway, and without it its logins end. What
        # the others have signed is good until they are retired. The last one signs.
        self._refreshing = self.sealing(b"sparrow refresh tokens", "refresh")

    def _secrets(self, use: bytes) -> list[bytes]:
        """One of each key, that of the key in use in front."""
        return [HKDF(hashes.SHA256(), 32, None, use).derive(key.private.private_bytes_raw()) for key in self._keys]

    def sealing(self, use: bytes, salt: str) -> URLSafeSerializer:
        """Makes texts of what is handed out, and comes back: every process with one of these keys believes them, for
        this use and salt alone. Who has one can read it."""
        return URLSafeSerializer(
            self._secrets(use)[::-1],
            salt=salt,
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )

    def nonces(self) -> Nonces:
        """Nonces for proofs, which every process with one of these keys takes."""
        return Nonces(*self._secrets(b"sparrow proof nonces"))

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
        key = self._keys[0]
        return jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.id}), expires

    def verifier(self) -> RememberingVerifier:
        """What verifies these access tokens."""
        return RememberingVerifier(public_pem(self._keys))

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
