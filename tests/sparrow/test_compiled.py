"""Which cores run: what was compiled of these very sources, or the sources."""

from __future__ import annotations

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import httpx
import pytest

from sparrow import compiled
from tests import CORES
from tests.ports import free_port
from tests.sparrow.serving import Node, run

SUFFIX = EXTENSION_SUFFIXES[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Something was compiled."""
    monkeypatch.delenv("SPARROW_CORES", raising=False)
    monkeypatch.setattr(compiled, "FOLDER", tmp_path)
    monkeypatch.setattr(compiled, "BUILT", tmp_path / "built")
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    (tmp_path / f"fabric.rates{SUFFIX}").touch()
    (tmp_path / f"0123__mypyc{SUFFIX}").touch()
    return tmp_path


def test_without_a_build_the_sources_run(folder: Path) -> None:
    before = list(sys.meta_path)
    compiled.use()
    assert sys.meta_path == before


def test_a_build_of_other_sources_is_passed_over(folder: Path) -> None:
    (folder / "built").write_text("of other sources")
    before = list(sys.meta_path)
    compiled.use()
    assert sys.meta_path == before


def test_a_build_of_these_sources_is_found_before_them(folder: Path) -> None:
    (folder / "built").write_text(compiled.digest())
    compiled.use()
    assert compiled.cores() == "compiled"
    find = sys.meta_path[0].find_spec
    for name in ("fabric.rates", "0123__mypyc"):
        spec = find(name, None)
        assert spec is not None
        assert spec.origin == str(folder / f"{name}{SUFFIX}")
    assert find("fabric.records", None) is None
    assert find("rates", None) is None


def test_the_sources_can_be_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "built").write_text(compiled.digest())
    monkeypatch.setenv("SPARROW_CORES", "python")
    before = list(sys.meta_path)
    compiled.use()
    assert sys.meta_path == before


def test_each_change_of_a_source_is_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in compiled.sources():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((compiled.ROOT / path).read_bytes())
    known = {compiled.digest()}
    monkeypatch.setattr(compiled, "ROOT", tmp_path)
    assert compiled.digest() in known
    for path in compiled.sources():
        with (tmp_path / path).open("a") as file:
            file.write("\n")
        known.add(compiled.digest())
    assert len(known) == len(compiled.sources()) + 1


def test_the_cores_are_what_is_compiled() -> None:
    found = {path.as_posix() for path in compiled.sources()}
    assert {"connector/core/core.py", "broker/core/routing.py", "protocol/server.py", "fabric/records.py"} <= found
    assert all((compiled.ROOT / path).is_file() for path in found)


@pytest.mark.skipif(CORES == "python", reason="nothing is compiled; in CI this runs behind scripts/compile")
def test_a_node_runs_them_and_says_so(tmp_path: Path) -> None:
    monitor = free_port()
    node = Node(tmp_path, monitor__listen_port=monitor).start()
    try:
        varz = httpx.get(f"http://127.0.0.1:{monitor}/varz", trust_env=False).json()
        assert varz["cores"] == "compiled"
        assert f"{varz['version']}, compiled" in run(node, "status").stdout
        load = ("load", "pairs", "--api", node.api, "--pairs", "2", "--in-flight", "4", "--seconds", "1", "--quiet")
        done = run(node, *load)
        assert done.returncode == 0, done.stdout + done.stderr
        assert node.stop() == 0
    finally:
        node.kill()
