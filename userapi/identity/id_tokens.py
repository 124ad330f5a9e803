"""ID tokens of an OpenID provider, and the keys that it signs them with (OpenID Connect Core 1.0, 3.1.3.7).

Owns what is taken for one. Asks nothing: keys come as the provider publishes them (RFC 7517).
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from protocol.errors import TokenError
from store.subjects import Subject

MAX_TOKEN: Final = 64 * 1024
"""Characters."""
MAX_KEYS: Final = 100
MAX_SUBJECT: Final = 255
"""Characters (OpenID Connect Core 1.0, 2)."""
LEEWAY_S: Final = 60
"""How far the provider's clock and ours may be apart."""
_LEAST_RSA_BITS: Final = 2048
_OF_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_OF_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
ALGORITHMS: Final = _OF_RSA | set(_OF_CURVES.values()) | {"EdDSA"}
"""All that we take: a signature that only who has a private key can make."""
# Times are looked at here, by the clock that we are given.
_OPTIONS: Any = {
    "require": ["iss", "sub", "aud", "exp", "iat"],
    **dict.fromkeys(("verify_exp", "verify_iat", "verify_nbf"), False),
}


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """One of the provider's public keys."""

    id: str
    """Empty: it has none."""
    key: Any
    algorithms: frozenset[str]
    """What it may have signed with."""


def read_keys(found: Mapping[str, Any]) -> list[ProviderKey]:
    """The keys of a JWK set that can sign an ID token; what is none, or too weak, is passed over."""
    listed = found.get("keys")
    keys: list[ProviderKey] = []
    for one in listed[:MAX_KEYS] if isinstance(listed, list) else ():
        made = _key(one) if isinstance(one, dict) else None
        if made is not None:
            keys.append(made)
    return keys


def _key(found: dict[str, Any]) -> ProviderKey | None:
    # A secret that both sides have, or a private key, is none that everybody may know.
    if found.get("kty") not in ("RSA", "EC", "OKP") or "d" in found or found.get("use", "sig") != "sig":
        return None
    try:
        key = jwt.PyJWK.from_dict(found).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    algorithms = _algorithms(key)
    if isinstance(said := found.get("alg"), str):
        algorithms &= {said}
    name = found.get("kid", "")
    return ProviderKey(name, key, algorithms) if algorithms and isinstance(name, str) else None


def _algorithms(key: object) -> frozenset[str]:
    if isinstance(key, RSAPublicKey):
        return _OF_RSA if key.key_size >= _LEAST_RSA_BITS else frozenset()
    if isinstance(key, EllipticCurvePublicKey):
        return frozenset({_OF_CURVES[key.curve.name]} if key.curve.name in _OF_CURVES else ())
    return frozenset({"EdDSA"} if isinstance(key, Ed25519PublicKey) else ())


def find_key(token: str, keys: Sequence[ProviderKey], algorithms: Collection[str]) -> tuple[ProviderKey, str] | None:
    """The key that should have signed it, and by which algorithm; None: it is not among these.

    Raises `TokenError` for what no key of the provider can have signed.
    """
    if len(token) > MAX_TOKEN:
        raise TokenError("its ID token is too large")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise TokenError("its ID token is none that can be read") from None
    algorithm, name = header.get("alg"), header.get("kid", "")
    if algorithm not in ALGORITHMS or algorithm not in algorithms:
        raise TokenError(f"its ID token is signed by {str(algorithm)[:20]!r}, which is not taken")
    fitting = [one for one in keys if algorithm in one.algorithms and name in ("", one.id)]
    # Without a name there has to be but one that it can be.
    return (fitting[0], algorithm) if len(fitting) == 1 else None


def verify(
    token: str, key: ProviderKey, algorithm: str, *, issuer: str, client: str, nonce: str, now: float
) -> tuple[Subject, Mapping[str, Any]]:
    """Whom the token is about, and all that it claims. `now` is Unix time. Raises `TokenError`."""
    try:
        claims = jwt.decode(token, key.key, algorithms=[algorithm], audience=client, issuer=issuer, options=_OPTIONS)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise TokenError(f"its ID token is not good ({type(error).__name__})") from None
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
        raise TokenError("its ID token is of another login")
    audience, party = claims["aud"], claims.get("azp")
    # One for several is for the one that it names (3.1.3.7, 4 and 5).
    if (isinstance(audience, list) and len(audience) > 1 and party is None) or party not in (None, client):
        raise TokenError("its ID token is for another client")
    _check_times(claims, now)
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT or not subject.isprintable():
        raise TokenError("its ID token has no subject")
    return Subject(issuer, subject), claims


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    times = {name: claims.get(name, now) for name in ("exp", "iat", "nbf")}
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in times.values()):
        raise TokenError("its ID token has times that are none")
    if times["exp"] <= now - LEEWAY_S:
        raise TokenError("its ID token has expired: are the provider's clock and ours right?")
    if max(times["iat"], times["nbf"]) > now + LEEWAY_S:
        raise TokenError("its ID token is of the future: are the provider's clock and ours right?")
