"""Login tokens, as a connector sees them: signed by the user API, verified with its public key.

Owns the format (docs/protocol.md, "Tokens"). Holds no private key and reads no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a token names."""

    user: str
    device: str
    expires: float
    """Unix time in seconds."""
    login: str = ""
    """Which login of the device it comes from; empty: not told."""


class TokenVerifier:
    """Checks tokens with the public key (PEM) of the user API."""

    def __init__(self, public_key_pem: bytes) -> None:
        """Raises `ConfigError` for anything but an Ed25519 public key."""
        # Read once: that takes longer than verifying.
        try:
            key = load_pem_public_key(public_key_pem)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise ConfigError("the token key is not an Ed25519 public key in PEM: copy the one that the user API made")
        self._key = key

    def verify(self, token: str, now: float) -> Identity:
        """Return whom `token` names, at Unix time `now`. Raises `TokenError`."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise TokenError("the token is not valid; log in over HTTP again")
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                options={"require": ["exp", "sub", "dev"], "verify_exp": False, "verify_iat": False},
            )
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
