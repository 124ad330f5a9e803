"""Scripts of the operator's: what they say of themselves, and that they leave alone what is somebody's."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SHELL = [
    path
    for path in sorted((ROOT / "scripts").iterdir())
    if path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env bash") and path.name != "nodetool"
]
HANDED_ON = {"serve", "load", "faults", "peers", "simulate"}
"""Their arguments are a program's."""


@pytest.mark.parametrize("path", [path for path in SHELL if path.name not in HANDED_ON], ids=lambda path: path.name)
def test_a_script_says_what_it_does_and_does_nothing(path: Path) -> None:
    done = subprocess.run([path, "--help"], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    first = path.read_text().splitlines()[1].removeprefix("# ")
    assert done.stdout.startswith(first)


def install(*arguments: str) -> str:
    """What it says last, where nothing is done."""
    done = subprocess.run([ROOT / "scripts" / "install", *arguments], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.splitlines()[-1]


def test_what_install_takes_together() -> None:
    assert install("--purge") == "install: --purge goes with --uninstall"
    assert install("--rollback", "--purge") == "install: --purge goes with --uninstall"
    assert install("--uninstall", "--rollback") == "install: --rollback and --uninstall do not go together"


def test_the_last_user_takes_the_group_along() -> None:
    """userdel complains of a group of the same name that somebody else is in."""
    (users,) = re.findall(r"(?m)^USERS=\((.*?)\)", (ROOT / "scripts" / "install").read_text())
    assert users.split()[-1] == "sparrow"


# scripts/cluster.


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, for a folder of its own."""
    monkeypatch.setenv("SPARROW_CLUSTER_DIR", str(tmp_path))
    monkeypatch.delenv("SPARROW_CLUSTER_PORTS", raising=False)
    loader = SourceFileLoader("scripts_cluster", str(ROOT / "scripts" / "cluster"))
    spec = spec_from_loader("scripts_cluster", loader)
    assert spec is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "scripts_cluster", module)
    loader.exec_module(module)
    return module


def test_settings_that_somebody_has_changed_stay(
    cluster: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.write_configuration(cluster.parts())
    changed, other = tmp_path / "broker-1.toml", tmp_path / "broker-2.toml"
    first = other.read_text()
    changed.write_text(changed.read_text() + "lease_s = 7\n")
    (tmp_path / "cassandra-nodes").write_text("3")  # so that what is ours has to be written anew
    cluster.write_configuration(cluster.parts())
    assert changed.read_text().endswith("lease_s = 7\n")
    assert "SimpleStrategy:3" in other.read_text() != first
    said = capsys.readouterr().err
    assert said == f"cluster: {changed} was changed, and stays; remove it to have it made anew\n"
    changed.unlink()
    cluster.write_configuration(cluster.parts())
    assert "SimpleStrategy:3" in changed.read_text()
    assert capsys.readouterr().err == ""


def test_settings_of_before_that_nothing_is_known_of_stay(
    cluster: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "userapi.toml").write_text("[userapi]\n")
    cluster.write_configuration(cluster.parts())
    assert (tmp_path / "userapi.toml").read_text() == "[userapi]\n"
    assert capsys.readouterr().err.count("\n") == 1
