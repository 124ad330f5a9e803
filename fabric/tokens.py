"""Login tokens, as a connector sees them: signed by the user API, verified with its public key.

Owns the format (docs/protocol.md, "Tokens"). Holds no private key and reads no clock.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from protocol.errors import ConfigError, InvalidIdError, TokenError
from protocol.ids import check_device_id, check_user_id

ALGORITHM = "EdDSA"
ISSUER = "sparrow-userapi"
AUDIENCE = "sparrow-connector"
MAX_TOKEN_LENGTH = 4096
MAX_LOGIN_LENGTH = 64
MAX_KEYS = 8
"""In one file, while keys change: one that signs, one that will, one that did."""
_BLOCK = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


_DECODING: Any = {
    "algorithms": [ALGORITHM],
    "issuer": ISSUER,
    "audience": AUDIENCE,
    "options": {"require": ["exp", "sub", "dev"], "verify_exp": False, "verify_iat": False},
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a token names."""

    user: str
    device: str
    expires: float
    """Unix time in seconds."""
    login: str = ""
    """Which login of the device it comes from; empty: not told."""


def key_id(key: Ed25519PublicKey) -> str:
    """What tokens call the key that has signed them, `kid`: its thumbprint (RFC 7638)."""
    canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{_text(key.public_bytes_raw())}"}}'
    return _text(hashlib.sha256(canonical.encode()).digest())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenVerifier:
    """Checks tokens with the public keys (PEM) of the user API: one, or several while they change."""

    def __init__(self, public_keys_pem: bytes) -> None:
        """Raises `ConfigError` for anything but Ed25519 public keys."""
        # Read once: that takes longer than verifying.
        found: list[Ed25519PublicKey] = []
        for block in _BLOCK.findall(public_keys_pem):
            try:
                key = load_pem_public_key(block)
            except (ValueError, UnsupportedAlgorithm):
                key = None
            if not isinstance(key, Ed25519PublicKey):
                found = []
                break
            found.append(key)
        if not found:
            raise ConfigError("the token key is not an Ed25519 public key in PEM: copy the one that the user API made")
        if len(found) > MAX_KEYS:
            raise ConfigError(f"there are {len(found)} token keys: at most {MAX_KEYS}; retire the old ones")
        self._keys = {key_id(key): key for key in found}

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Of the keys that are believed."""
        return tuple(self._keys)

    def _claims(self, token: str) -> Any:
        """Raises what PyJWT raises."""
        named = self._keys.get(str(jwt.get_unverified_header(token).get("kid")))
        # Before 0.2 tokens named no key; and a later release may call keys otherwise.
        keys = [named] if named is not None else list(self._keys.values())
        for last, key in enumerate(keys, 1 - len(keys)):
            try:
                return jwt.decode(token, key, **_DECODING)
            except jwt.InvalidSignatureError:
                if not last:
                    raise
        raise AssertionError("there is at least one key")

    def verify(self, token: str, now: float) -> Identity:
        """Return whom `token` names, at Unix time `now`. Raises `TokenError`."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise TokenError("the token is not valid; log in over HTTP again")
        try:
            claims = self._claims(token)
            identity = Identity(
                check_user_id(str(claims["sub"])),
                check_device_id(str(claims["dev"])),
                float(claims["exp"]),
                str(claims.get("sid", "")),
            )
        except (jwt.PyJWTError, InvalidIdError, TypeError, ValueError, RecursionError) as error:
            raise TokenError("the token is not valid; log in over HTTP again") from error
        if len(identity.login) > MAX_LOGIN_LENGTH or not identity.login.isascii():
            raise TokenError("the token is not valid; log in over HTTP again")
        if identity.expires <= now:
            raise TokenError("the token has expired; log in over HTTP again")
        return identity
