"""Key files of the fabric: what is read, and what is refused with which words."""

import secrets
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from fabric import curve
from protocol.errors import ConfigError

KEY = bytes(range(32))


def written(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "a.key"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@given(st.binary(min_size=32, max_size=32))
def test_z85_is_zeromqs(key: bytes) -> None:
    assert curve.encode(key) == z85.encode(key).decode()
    assert curve.decode(curve.encode(key)) == key


@pytest.mark.parametrize("text", ["", "a" * 39, "a" * 41, "a" * 39 + "~", "ä" * 40, "#" * 40])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"Z85"):
        curve.decode(text)


def test_a_real_pair(tmp_path: Path) -> None:
    public, secret = zmq.curve_keypair()
    path = written(tmp_path, f"# mine\n\nsecret {secret.decode()}\n")
    assert curve.encode(curve.read_secret(path)).encode() == secret
    public_path = tmp_path / "a.pub"
    public_path.write_text(curve.line("broker", z85.decode(public)))
    assert curve.read_link_keys(path, str(public_path)) == curve.LinkKeys(z85.decode(secret), (z85.decode(public),))
    assert curve.read_link_keys("", "") is None


def test_one_file_alone(tmp_path: Path) -> None:
    path = written(tmp_path, curve.line("secret", KEY))
    for files in ((path, ""), ("", path)):
        with pytest.raises(ConfigError, match="both files, or none"):
            curve.read_link_keys(*files)


def test_an_allowed_list(tmp_path: Path) -> None:
    # A key may hold a # anywhere.
    odd = next(key for key in (secrets.token_bytes(32) for _ in range(100_000)) if "#" in curve.encode(key)[1:])
    path = written(tmp_path, f"# all of them\n{curve.line('a', KEY).strip()} # in the cellar\n  {curve.line('b', odd)}")
    assert curve.read_allowed(path) == {KEY: "a", odd: "b"}
    assert curve.read_allowed(written(tmp_path, "# nobody\n")) == {}


GOOD = curve.encode(KEY)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a", r"line 1: expected a name, a key"),
        (f"\na {GOOD} b", r"line 2: expected a name, a key"),
        (f"a {GOOD}#b", r"line 1: the key of a: a key has 40 characters"),
        (f"a {GOOD}\nb {GOOD}", r"a and b have the same key"),
        (f"secret {GOOD}", r"a secret key does not belong here"),
    ],
)
def test_what_a_list_may_not_hold(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        curve.read_allowed(written(tmp_path, text))


def test_what_is_no_secret_key(tmp_path: Path) -> None:
    for text in ("", f"a {GOOD}", f"secret {GOOD}\nsecret {GOOD}"):
        with pytest.raises(ConfigError, match="no secret key"):
            curve.read_secret(written(tmp_path, text))
    for mode in (0o640, 0o604, 0o660):
        with pytest.raises(ConfigError, match="read by others: chmod 600"):
            curve.read_secret(written(tmp_path, f"secret {GOOD}", mode))


def test_what_is_no_public_key(tmp_path: Path) -> None:
    others = "".join(curve.line("a", bytes([number]) * 32) for number in range(4))
    for text in ("", f"a {GOOD}\n{others}"):
        with pytest.raises(ConfigError, match="brokers' public key in one line"):
            curve.read_public(written(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        curve.read_secret(str(tmp_path / "nothing"))
    (tmp_path / "bytes").write_bytes(b"\xff\xff")
    with pytest.raises(ConfigError, match="not text"):
        curve.read_public(str(tmp_path / "bytes"))


@pytest.mark.parametrize("name", ["", "a b", "#a", "a\n", "a\tb", "a" * 65])
def test_names_that_would_not_be_read_back(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name"):
        curve.line(name, KEY)
