"""`sparrow keys publish|use|retire`: which step is when, what is in the files after it, and who believes whom."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

import jwt
import pytest

from fabric.curve import decode, read_allowed, read_public, read_secret
from fabric.tokens import TokenVerifier
from protocol.errors import TokenError
from sparrow.config.keys import make_broker_keys, make_link_key, make_token_keys
from sparrow.config.rotation import ALLOWED, BROKER_KEY, BROKER_PUBLIC, TOKEN_KEY, TOKEN_PUBLIC, _public_of
from tests.sparrow.test_keys import keys, modes
from userapi.keys import ensure_key_pair, load_keys
from userapi.tokens import RefreshClaims, TokenMinter

NOW = 1_800_000_000.0
CLAIMS = RefreshClaims("alice", "d", "login", 3)


def step(*arguments: str | Path) -> str:
    """One that is taken; what it prints."""
    done = keys(*map(str, arguments))
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(*arguments: str | Path) -> str:
    done = keys(*map(str, arguments))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    return str(done.stderr)


def test_token_keys(tmp_path: Path) -> None:
    """Whoever has the files of one step believes whoever has those of the step before, or behind it."""
    make_token_keys(tmp_path)
    private, public = tmp_path / TOKEN_KEY, tmp_path / TOKEN_PUBLIC
    assert "comes before" in refused("use", "token", tmp_path)
    assert "nothing to retire" in refused("retire", "token", tmp_path)
    stages = []
    for name in ("", "publish", "use", "retire"):
        if name:
            step(name, "token", tmp_path)
        stages.append((TokenMinter(private, 60), TokenVerifier(public.read_bytes())))
        before = public.read_bytes()
        ensure_key_pair(private, public)
        assert public.read_bytes() == before, "a user API that starts leaves it alone"
        if name == "publish":
            assert "has a next key already" in refused("publish", "token", tmp_path)
        if name == "use":
            assert "has an old key still" in refused("publish", "token", tmp_path)
            assert "no next key" in refused("use", "token", tmp_path)
    for (one, knows), (other, knows_too) in itertools.pairwise(stages):
        for minter, verifiers in ((one, (knows, knows_too)), (other, (knows, knows_too))):
            token, _ = minter.mint("alice", "d", NOW)
            assert all(verifier.verify(token, NOW).user == "alice" for verifier in verifiers)
        for minter, reader in ((one, other), (other, one)):
            assert reader.read_refresh_token(minter.refresh_token(CLAIMS)) == CLAIMS
            assert reader.nonces().takes(minter.nonces().give(NOW), NOW)
    first, last = stages[0], stages[-1]
    with pytest.raises(TokenError):
        last[1].verify(first[0].mint("alice", "d", NOW)[0], NOW)
    assert last[0].read_refresh_token(first[0].refresh_token(CLAIMS)) is None
    assert modes(tmp_path) == {TOKEN_KEY: 0o600, TOKEN_PUBLIC: 0o644}
    assert public.read_bytes().startswith(b"-----BEGIN"), "as it was before there was any rotation"
    step("publish", "token", tmp_path)
    assert [key.use for key in load_keys(private)] == ["in use", "next"]


def test_tokens_name_their_key(tmp_path: Path) -> None:
    """And one without a name, as 0.1 made them, or with one that we do not know, is tried with each."""
    make_token_keys(tmp_path)
    step("publish", "token", tmp_path)
    first, second = load_keys(tmp_path / TOKEN_KEY)
    verifier = TokenVerifier((tmp_path / TOKEN_PUBLIC).read_bytes())
    token, _ = TokenMinter(tmp_path / TOKEN_KEY, 60).mint("alice", "d", NOW)
    assert jwt.get_unverified_header(token)["kid"] == first.id == verifier.key_ids[0]
    claims = jwt.decode(token, options={"verify_signature": False})
    for headers in (None, {"kid": second.id}, {"kid": "x" * 500}, {"kid": 7}):
        try:
            other = jwt.encode(claims, second.private, "EdDSA", headers=headers)
        except jwt.PyJWTError:
            continue
        if headers != {"kid": 7}:
            assert verifier.verify(other, NOW).user == "alice"
    forged = jwt.encode(claims, second.private, "EdDSA", headers={"kid": first.id})
    with pytest.raises(TokenError):
        verifier.verify(forged, NOW)
    stranger = load_keys_of_another(tmp_path / "other")
    for headers in (None, {"kid": first.id}, {"kid": "x"}):
        with pytest.raises(TokenError):
            verifier.verify(jwt.encode(claims, stranger, "EdDSA", headers=headers), NOW)


def load_keys_of_another(folder: Path) -> object:
    make_token_keys(folder)
    return load_keys(folder / TOKEN_KEY)[0].private


def test_the_brokers_key(tmp_path: Path) -> None:
    make_broker_keys(tmp_path)
    public = str(tmp_path / BROKER_PUBLIC)
    (old,) = read_public(public)
    assert "comes before" in refused("use", "broker", tmp_path)
    assert "nothing to retire" in refused("retire", "broker", tmp_path)
    step("publish", "broker", tmp_path)
    assert read_public(public)[0] == old, "the one in use is tried first"
    assert "comes before" in refused("publish", "broker", tmp_path)
    assert "nothing to retire" in refused("retire", "broker", tmp_path), "the next is not the old"
    step("use", "broker", tmp_path)
    new = _public_of(read_secret(str(tmp_path / BROKER_KEY)))
    assert read_public(public) == (new, old)
    step("retire", "broker", tmp_path)
    assert read_public(public) == (new,)
    assert modes(tmp_path) == {BROKER_KEY: 0o600, BROKER_PUBLIC: 0o644, ALLOWED: 0o644}


def test_a_connectors_key(tmp_path: Path) -> None:
    allowed = tmp_path / ALLOWED
    allowed.write_text("# ours\n" + make_link_key("one", tmp_path) + make_link_key("two", tmp_path))
    before = read_allowed(str(allowed))
    assert "comes before" in refused("use", "connector", "one", tmp_path)
    printed = step("publish", "connector", "one", tmp_path)
    with allowed.open("a") as file:
        file.write(printed)
    assert len(read_allowed(str(allowed))) == 3
    done = keys("use", "connector", "one", str(tmp_path))
    (old,) = re.findall(r"^   one (\S+)$", done.stderr, re.MULTILINE)
    assert before[decode(old)] == "one"
    step("retire", "connector", "one", tmp_path)
    after = read_allowed(str(allowed))
    assert sorted(after.values()) == ["one", "two"]
    assert after[_public_of(read_secret(str(tmp_path / "one.key")))] == "one"
    assert allowed.read_text().startswith("# ours\n")
    assert "nothing to retire" in refused("retire", "connector", "one", tmp_path)
    # On a machine that has only the list.
    (tmp_path / "two.key").unlink()
    new = step("userapi", "two", tmp_path / "there")
    with allowed.open("a") as file:
        file.write(new)
    step("retire", "connector", "two", tmp_path)
    assert set(after) - set(read_allowed(str(allowed))) == {key for key, name in before.items() if name == "two"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_works_for_the_servers_user(tmp_path: Path) -> None:
    make_token_keys(tmp_path)
    make_broker_keys(tmp_path)
    for name in (TOKEN_KEY, TOKEN_PUBLIC, BROKER_PUBLIC):
        os.chown(tmp_path / name, 4711, 4712)
        (tmp_path / name).chmod(0o640 if name != TOKEN_KEY else 0o600)
    step("publish", "token", tmp_path)
    step("publish", "broker", tmp_path)
    for name in (TOKEN_KEY, TOKEN_PUBLIC, BROKER_PUBLIC):
        found = (tmp_path / name).stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (
            4711,
            4712,
            0o600 if name == TOKEN_KEY else 0o640,
        )
