"""A client's key, and proofs by it, right and wrong."""

from __future__ import annotations

from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from userapi.proofs import digest_of

TOKEN_URL = "http://localhost/v1/token"
LOGIN_URL = "http://localhost/v1/login"


class Key:
    """Of one client."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        found = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        self.jwk: dict[str, Any] = {name: found[name] for name in ("kty", "crv", "x", "y")}

    def proof(self, *, header: dict[str, Any] | None = None, key: Any = None, **changes: Any) -> str:
        """With these claims other than a login's; None: without it. `header`: the same of the header."""
        claims = {"htm": "POST", "htu": LOGIN_URL, "jti": "j" * 16, "iat": 1_800_000_000, **changes}
        claims = {name: value for name, value in claims.items() if value is not None}
        headers = {"typ": "dpop+jwt", "jwk": self.jwk, **(header or {})}
        algorithm = headers.pop("alg", "ES256")
        return jwt.encode(claims, self.private if key is None else key, algorithm=algorithm, headers=headers)

    def renewal(self, token: str, nonce: str | None, **changes: Any) -> str:
        """For the renewal of this refresh token."""
        return self.proof(**{"htu": TOKEN_URL, "ath": digest_of(token), "nonce": nonce, **changes})
