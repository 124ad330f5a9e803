"""Login tokens: what the user API signs is what a connector believes, and nothing else."""

import base64
import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from fabric.tokens import ALGORITHM, AUDIENCE, ISSUER, Identity, TokenVerifier
from protocol.errors import ConfigError, TokenError
from userapi.keys import ensure_key_pair
from userapi.tokens import TokenMinter

NOW = 1_800_000_000.25
KEY = Ed25519PrivateKey.generate()
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
VERIFIER = TokenVerifier(PEM)
CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "dev": "abc", "exp": int(NOW) + 10}


def sign(key: object = KEY, algorithm: str = ALGORITHM, **changes: object) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm)  # type: ignore[arg-type]


def test_minted_tokens_verify(tmp_path: Path) -> None:
    ensure_key_pair(tmp_path / "key", tmp_path / "pub")
    token, expires = TokenMinter(tmp_path / "key", 3600).mint("alice", "abc", NOW)
    verifier = TokenVerifier((tmp_path / "pub").read_bytes())
    assert verifier.verify(token, NOW) == Identity("alice", "abc", expires)
    assert expires == int(NOW + 3600)


def test_time_is_the_callers() -> None:
    token = sign()
    assert VERIFIER.verify(token, 0).user == "alice"
    VERIFIER.verify(token, CLAIMS["exp"] - 0.01)  # type: ignore[operator]
    with pytest.raises(TokenError, match="expired"):
        VERIFIER.verify(token, float(CLAIMS["exp"]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "someone"},
        {"iss": None},
        {"aud": "someone"},
        {"aud": None},
        {"exp": None},
        {"exp": "soon"},
        {"sub": None},
        {"sub": "Alice!"},
        {"dev": None},
        {"dev": "a/b"},
        {"dev": ""},
        {"dev": ["abc"]},
        {"nbf": "x"},
    ],
)
def test_wrong_claims(changes: dict[str, object]) -> None:
    with pytest.raises(TokenError):
        VERIFIER.verify(sign(**changes), NOW)


def test_wrong_signatures() -> None:
    good = sign()
    head, body, signature = good.split(".")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).decode().rstrip("=")
    forged = [
        sign(Ed25519PrivateKey.generate()),
        sign(PEM.hex(), "HS256"),
        f"{none}.{body}.",
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}",
        sign(sub="mallory").rsplit(".", 1)[0] + "." + signature,
    ]
    for token in forged:
        with pytest.raises(TokenError):
            VERIFIER.verify(token, NOW)


def test_nonsense_is_refused_in_one_way() -> None:
    deep = base64.urlsafe_b64encode(b"[" * 2800).decode()
    for token in ("", ".", "..", "\ud800", "a" * 5000, "\0", deep + ".e30.e30", sign() + "x" * 5000):
        with pytest.raises(TokenError, match="log in over HTTP"):
            VERIFIER.verify(token, NOW)


@given(
    st.text(max_size=300)
    | st.builds(lambda a, b: a + b, st.just(sign()[:40]), st.text(alphabet="eyJ.-_09", max_size=200))
)
def test_any_text_is_refused(token: str) -> None:
    with pytest.raises(TokenError):
        VERIFIER.verify(token, NOW)


def test_a_wrong_public_key_is_a_wrong_configuration() -> None:
    other = generate_private_key(SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for pem in (b"", b"nonsense", other):
        with pytest.raises(ConfigError, match="Ed25519"):
            TokenVerifier(pem)
