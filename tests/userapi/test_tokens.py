"""Access tokens: verified once, and never beyond their time."""

from __future__ import annotations

from pathlib import Path

import jwt
import pytest

from fabric.tokens import ALGORITHM, AUDIENCE, ISSUER
from protocol.errors import TokenError
from userapi import tokens
from userapi.keys import ensure_key_pair
from userapi.tokens import RefreshClaims, TokenMinter


@pytest.fixture
def minter(tmp_path: Path) -> TokenMinter:
    ensure_key_pair(tmp_path / "key.pem", tmp_path / "pub.pem")
    return TokenMinter(tmp_path / "key.pem", lifetime_s=100.0)


def test_a_token_is_verified_once_and_expires_all_the_same(
    minter: TokenMinter, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = minter.verifier()
    token, expires = minter.mint("alice", "d1", 1000.0, "login")
    first = verifier.verify(token, 1001.0)
    assert (first.user, first.device, first.login) == ("alice", "d1", "login")
    monkeypatch.setattr("jwt.decode", None)  # not needed again
    assert verifier.verify(token, 1002.0) is first
    monkeypatch.undo()
    with pytest.raises(TokenError, match="expired"):
        verifier.verify(token, float(expires))


def test_what_was_refused_is_not_remembered(minter: TokenMinter) -> None:
    verifier = minter.verifier()
    token, _ = minter.mint("alice", "d1", 1000.0)
    for _ in range(2):
        with pytest.raises(TokenError):
            verifier.verify(token[:-3] + "abc", 1001.0)
    assert not verifier._known


def test_it_remembers_only_so_many(minter: TokenMinter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_REMEMBERED", 3)
    verifier = minter.verifier()
    for number in range(10):
        verifier.verify(minter.mint("alice", f"d{number}", 1000.0)[0], 1001.0)
    assert 1 <= len(verifier._known) <= 3


def test_what_a_later_release_adds_to_tokens_is_passed_over(minter: TokenMinter) -> None:
    claims = RefreshClaims("alice", "d1", "login", 3)
    assert minter.read_refresh_token(minter.refresh_token(claims)) == claims
    longer = minter._refreshing.dumps(["alice", "d1", "login", 3, {"later": True}])
    assert minter.read_refresh_token(longer) == claims
    bound = RefreshClaims("alice", "d1", "login", 3, "thumbprint")
    assert minter.read_refresh_token(minter.refresh_token(bound)) == bound
    longer = minter._refreshing.dumps(["alice", "d1", "login", 3, "thumbprint", {"later": True}])
    assert minter.read_refresh_token(longer) == bound
    assert minter.read_refresh_token(minter._refreshing.dumps(["alice", "d1", "login"])) is None
    content = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "dev": "d1",
        "exp": 2000,
        "later": {"a": [1]},
        "jti": "7",
    }
    token = jwt.encode(content, minter._keys[0].private, algorithm=ALGORITHM, headers={"kid": "next"})
    assert minter.verifier().verify(token, 1000.0).device == "d1"
