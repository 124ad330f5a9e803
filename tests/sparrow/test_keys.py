"""`sparrow keys`: files, their modes, and what it prints."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fabric.curve import read_allowed, read_public, read_secret
from fabric.tokens import TokenVerifier
from protocol.errors import ConfigError
from sparrow.config.keys import make_broker_keys, make_link_key, make_token_keys, run


def keys(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "error", "-m", "sparrow.cli", "keys", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def test_a_cluster(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    answer = keys("broker", str(folder))
    assert (answer.returncode, answer.stdout) == (0, "")
    assert modes(folder) == {"broker.key": 0o600, "broker.pub": 0o644, "allowed.keys": 0o644}
    assert read_allowed(str(folder / "allowed.keys")) == {}
    answer = keys("connector", "connector-1", str(folder))
    assert modes(folder)["connector-1.key"] == 0o600
    with (folder / "allowed.keys").open("a") as file:
        file.write(answer.stdout)
    ((key, name),) = read_allowed(str(folder / "allowed.keys")).items()
    assert name == "connector-1"
    assert len({key, read_secret(str(folder / "connector-1.key")), read_secret(str(folder / "broker.key"))}) == 3
    assert read_public(str(folder / "broker.pub")) != key
    secrets = [(folder / file).read_text().split()[1] for file in ("broker.key", "connector-1.key")]
    assert not any(secret in answer.stdout + answer.stderr for secret in secrets)


def test_tokens(tmp_path: Path) -> None:
    assert keys("token", str(tmp_path)).returncode == 0
    assert modes(tmp_path) == {"token.key.pem": 0o600, "token.pub.pem": 0o644}
    TokenVerifier((tmp_path / "token.pub.pem").read_bytes())


@pytest.mark.parametrize("arguments", [("broker",), ("connector", "one"), ("token",)])
def test_nothing_is_written_over(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert keys(*arguments, str(tmp_path)).returncode == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    answer = keys(*arguments, str(tmp_path))
    assert answer.returncode == 2
    assert "is there already, and is not written over" in answer.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_allowed_list_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "allowed.keys").write_text("# mine\n")
    assert keys("broker", str(tmp_path)).returncode == 0
    assert (tmp_path / "allowed.keys").read_text() == "# mine\n"


@pytest.mark.parametrize("name", ["secret", "broker", "../up", ".hidden", "a b", ""])
def test_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is no name"):
        make_link_key(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = keys("broker", str(tmp_path / "file"))
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of others")
def test_keys_that_root_makes_are_the_folders_owners(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.chown(tmp_path, 1234, 5678)
    make_broker_keys(tmp_path)
    make_token_keys(tmp_path / "below")
    assert {(path.stat().st_uid, path.stat().st_gid) for path in tmp_path.rglob("*")} == {(1234, 5678)}
    # In a folder of root's that a group may look into, as scripts/install makes it, the group wants to be let in.
    os.chown(tmp_path, 0, 5678)
    assert run(argparse.Namespace(kind="certificate", names=["a.example.net"], folder=str(tmp_path / "tls"))) == 0
    assert "chgrp" not in capsys.readouterr().err
    os.chown(tmp_path / "tls", 0, 5678)
    assert run(argparse.Namespace(kind="certificate", names=[], folder=str(tmp_path / "tls"))) == 0
    assert f"chgrp --reference={tmp_path}/tls {tmp_path}/tls/server.pem" in capsys.readouterr().err
