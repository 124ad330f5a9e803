"""Proofs that a client has a key: JWTs of RFC 9449 (DPoP), as far as logins need them.

Owns what is taken for one, and the nonces that make one good for minutes alone. A client signs the nonce that we gave,
so neither its clock matters, nor what somebody has let it sign before. Keeps nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from jwt.algorithms import ECAlgorithm

from protocol.errors import TokenError

MAX_PROOF: Final = 2048
"""Characters."""
MAX_ID: Final = 64
NONCE_S: Final = 120
"""A proof is good for so long after its nonce was given."""
APART_S: Final = 60
"""How far the clocks of two user APIs may be apart."""
_FORM: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_COORDINATE: Final = re.compile(r"[\w-]{43}", re.ASCII)
_NONCE: Final = re.compile(r"([0-9]{1,12})\.([\w-]{22})", re.ASCII)
_ALGORITHM: Final = "ES256"
_CLAIMS: Final = ("htm", "htu", "jti", "iat")
# Times are the client's, and worth nothing.
_OPTIONS: Any = {"require": list(_CLAIMS), **dict.fromkeys(("verify_exp", "verify_iat", "verify_nbf"), False)}


class Nonces:
    """Nonces for proofs: a time, and that it was us who said it. All processes with the same secret take them.

    Given with the first, taken with any: they change.
    """

    def __init__(self, *secrets: bytes) -> None:
        self._secrets = secrets

    def give(self, now: float) -> str:
        """A new one. `now` is Unix time."""
        at = str(int(now))
        return f"{at}.{self._seal(self._secrets[0], at)}"

    def takes(self, nonce: object, now: float) -> bool:
        """Whether it was given in the last `NONCE_S`."""
        found = _NONCE.fullmatch(nonce) if isinstance(nonce, str) else None
        if found is None:
            return False
        seals = [self._seal(secret, found[1]) for secret in self._secrets]
        if not any(hmac.compare_digest(found[2], seal) for seal in seals):
            return False
        return -APART_S <= now - int(found[1]) <= NONCE_S

    def _seal(self, secret: bytes, at: str) -> str:
        return _text(hmac.digest(secret, at.encode(), "sha256")[:16])


def digest_of(token: str) -> str:
    """What a proof says in `ath` of the token that it comes with."""
    return _text(hashlib.sha256(token.encode()).digest())


def verify_key(proof: str, method: str, path: str) -> tuple[str, Mapping[str, Any]]:
    """The thumbprint (RFC 7638) of the key that has signed this proof for such a request, and what it claims.

    `path`: that of the address in the proof ends so; what a proxy has made of the rest is not known here. Raises
    `TokenError` for everything that is no proof.
    """
    if len(proof) > MAX_PROOF or not _FORM.fullmatch(proof):
        raise TokenError("it is no JWT of a proof's size")
    try:
        key, thumbprint = _key(jwt.get_unverified_header(proof))
        claims = jwt.decode(proof, key, algorithms=[_ALGORITHM], options=_OPTIONS)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise TokenError(f"it is no proof that can be read ({type(error).__name__})") from None
    address, name = claims["htu"], claims["jti"]
    if claims["htm"] != method or not isinstance(address, str) or not _leads_to(address, path):
        raise TokenError("it was made for another request")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_ID:
        raise TokenError(f'its "jti" is to have 1 to {MAX_ID} characters')
    return thumbprint, claims


def verify_renewal(proof: str, path: str, token: str) -> tuple[str, object]:
    """The thumbprint of the key that has signed this proof for the renewal of a token, and the nonce that it names.

    Raises `TokenError`.
    """
    thumbprint, claims = verify_key(proof, "POST", path)
    if claims.get("ath") != digest_of(token):
        raise TokenError("it was made for another token")
    return thumbprint, claims.get("nonce")


def _key(header: Mapping[str, Any]) -> tuple[EllipticCurvePublicKey, str]:
    if header.keys() != {"typ", "alg", "jwk"} or (header["typ"], header["alg"]) != ("dpop+jwt", _ALGORITHM):
        raise ValueError("header")
    jwk = header["jwk"]
    # A private key is none of our business.
    if not isinstance(jwk, dict) or jwk.keys() != {"kty", "crv", "x", "y"}:
        raise ValueError("jwk")
    if (jwk["kty"], jwk["crv"]) != ("EC", "P-256"):
        raise ValueError("kind of key")
    if not all(isinstance(jwk[name], str) and _COORDINATE.fullmatch(jwk[name]) for name in "xy"):
        raise ValueError("coordinates")
    key = ECAlgorithm(ECAlgorithm.SHA256).from_jwk(jwk)  # checks that the point lies on the curve
    if not isinstance(key, EllipticCurvePublicKey):
        raise ValueError("private key")
    numbers = key.public_numbers()
    x, y = (_text(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    canonical = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'
    return key, _text(hashlib.sha256(canonical.encode()).digest())


def _leads_to(address: str, path: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and parts.path.endswith(path)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
