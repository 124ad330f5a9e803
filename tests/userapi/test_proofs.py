"""Proofs that a client has a key: what is taken for one, and what is not."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm

from protocol.errors import TokenError
from tests.userapi.proving import LOGIN_URL, TOKEN_URL, Key
from userapi.proofs import APART_S, MAX_PROOF, NONCE_S, Nonces, verify_key, verify_renewal

KEY, OTHER = Key(), Key()
NOW = 1_800_000_000.0
LOGIN = ("POST", "/v1/login")


def thumbprint(jwk: dict[str, str]) -> str:
    """As RFC 7638 has it: the members that matter, in the order of their names."""
    text = json.dumps({name: jwk[name] for name in sorted(jwk)}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def test_a_proof_is_by_the_key_that_it_holds() -> None:
    found, claims = verify_key(KEY.proof(), *LOGIN)
    assert found == thumbprint(KEY.jwk) == verify_key(KEY.proof(jti="another", iat=0), *LOGIN)[0]
    assert claims["htu"] == LOGIN_URL
    assert found != verify_key(OTHER.proof(), *LOGIN)[0]


def test_the_example_of_rfc_9449() -> None:
    """Section 4.1, with the thumbprint of section 6.1."""
    proof = (
        "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0Rs"
        "cEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2"
        "In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2Vu"
        "IiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZ"
        "T3Lg"
    )
    found, claims = verify_key(proof, "POST", "/token")
    assert found == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
    assert claims["jti"] == "-BwC3ESc6acc2lTc"


def test_it_is_for_one_request() -> None:
    for address in (LOGIN_URL, "https://chat.example.net/prefix/v1/login", f"{LOGIN_URL}?x#y"):
        assert verify_key(KEY.proof(htu=address), *LOGIN)
    for wrong in (
        {"htm": "GET"},
        {"htm": "post"},
        {"htu": TOKEN_URL},
        {"htu": "/v1/login"},
        {"htu": "ftp://localhost/v1/login"},
        {"htu": "http:///v1/login"},
        {"htu": "http://[/v1/login"},
        {"htu": f"{TOKEN_URL}?/v1/login"},
        {"htu": 5},
        {"htu": ["x"]},
        {"htu": None},
        {"htm": None},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"jti": "j" * 65},
        {"iat": None},
    ):
        with pytest.raises(TokenError):
            verify_key(KEY.proof(**wrong), *LOGIN)


def test_clocks_do_not_matter() -> None:
    for iat in (0, NOW + 31_536_000, NOW - 31_536_000, 2**60, -1):
        assert verify_key(KEY.proof(iat=iat, exp=1, nbf=2**40), *LOGIN)


HEADERS: list[dict[str, Any]] = [
    {"typ": "JWT"},
    {"typ": "DPOP+JWT"},
    {"kid": "1"},
    {"crit": ["exp"]},
    {"jwk": None},
    {"jwk": "x"},
    {"jwk": OTHER.jwk},
    {"jwk": {}},
    {"jwk": {**KEY.jwk, "crv": "P-384"}},
    {"jwk": {**KEY.jwk, "kty": "RSA"}},
    {"jwk": {**KEY.jwk, "alg": "ES256"}},
    {"jwk": {**KEY.jwk, "x": KEY.jwk["y"]}},  # no point of the curve
    {"jwk": {**KEY.jwk, "x": "A" * 43, "y": "A" * 43}},
    {"jwk": {**KEY.jwk, "x": KEY.jwk["x"] + "="}},
    {"jwk": {**KEY.jwk, "x": 5}},
    {"jwk": ECAlgorithm.to_jwk(KEY.private, as_dict=True)},
    {"jwk": {"kty": "oct", "k": "AAAA"}},
    {"alg": "HS256"},
    {"alg": "none"},
    {"alg": "EdDSA"},
    {"alg": "ES384"},
]


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_other_headers(header: dict[str, Any]) -> None:
    keys: dict[str, Any] = {
        "HS256": b"s" * 32,
        "none": "",
        "EdDSA": Ed25519PrivateKey.generate(),
        "ES384": ec.generate_private_key(ec.SECP384R1()),
    }
    proof = KEY.proof(header=header, key=keys.get(str(header.get("alg"))))
    with pytest.raises(TokenError):
        verify_key(proof, *LOGIN)


def test_it_is_signed_and_whole() -> None:
    head, body, signature = KEY.proof().split(".")
    _, otherwise, others = OTHER.proof(jti="another").split(".")
    for wrong in (
        f"{head}.{otherwise}.{signature}",
        f"{head}.{body}.{others}",
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}.{body}.{signature}.{signature}",
        f"{head}.{body}.{signature},{head}.{body}.{signature}",
        f" {head}.{body}.{signature}",
        f"{head}.{body}.{signature}\n",
        "",
        "é.é.é",
        "a" * (MAX_PROOF + 1),
    ):
        with pytest.raises(TokenError):
            verify_key(wrong, *LOGIN)
    with pytest.raises(TokenError):
        verify_key(KEY.proof(filler="x" * MAX_PROOF), *LOGIN)


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
members = st.dictionaries(st.sampled_from(["typ", "alg", "jwk", "kty", "crv", "x", "y", "d", "htm", "htu"]), anything)
heads = members | st.fixed_dictionaries(
    {"typ": st.just("dpop+jwt"), "alg": st.just("ES256"), "jwk": members | anything}
)
parts = st.binary(max_size=200) | heads.map(lambda value: json.dumps(value).encode()) | st.just(b"[" * 700)


@given(
    st.text(max_size=300) | st.tuples(parts, parts, st.binary(max_size=80)).map(lambda all: ".".join(map(part, all)))
)
def test_whatever_a_stranger_sends_is_refused_by_the_same_error(proof: str) -> None:
    with pytest.raises(TokenError):
        verify_key(proof, *LOGIN)


@given(st.integers(0, 10_000), st.sampled_from("abcXYZ019-_."))
def test_a_proof_that_is_changed_anywhere_is_by_nobody(at: int, char: str) -> None:
    proof = KEY.proof()
    at %= len(proof)
    changed = proof[:at] + char + proof[at + 1 :]
    try:
        found, claims = verify_key(changed, *LOGIN)
    except TokenError:
        return
    # The last characters of a part have bits that say nothing.
    assert (found, claims["jti"]) == (thumbprint(KEY.jwk), "j" * 16)


def test_a_renewal_names_its_token_and_a_nonce() -> None:
    nonces = Nonces(b"s" * 32)
    nonce = nonces.give(NOW)
    assert verify_renewal(KEY.renewal("token", nonce), "/v1/token", "token") == (thumbprint(KEY.jwk), nonce)
    assert verify_renewal(KEY.renewal("token", None), "/v1/token", "token") == (thumbprint(KEY.jwk), None)
    for wrong in (KEY.renewal("another", nonce), KEY.renewal("token", nonce, ath=None), KEY.proof(htu=TOKEN_URL)):
        with pytest.raises(TokenError, match="another token"):
            verify_renewal(wrong, "/v1/token", "token")


def test_nonces() -> None:
    nonces, same, others = Nonces(b"s" * 32), Nonces(b"s" * 32), Nonces(b"t" * 32)
    nonce = nonces.give(NOW)
    for now in (NOW, NOW + NONCE_S, NOW - APART_S):
        assert same.takes(nonce, now)
        assert not others.takes(nonce, now)
    for now in (NOW + NONCE_S + 1, NOW - APART_S - 1, 0.0):
        assert not nonces.takes(nonce, now)
    at, _, seal = nonce.partition(".")
    for wrong in (
        None,
        "",
        5,
        [nonce],
        nonce[:-1],
        nonce + "x",
        f"{int(at) + 60}.{seal}",
        f"٣.{seal}",
        f"{at}.{'é' * 22}",
    ):
        assert not nonces.takes(wrong, NOW)
