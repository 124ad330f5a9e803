"""What the rooms may import (docs/design.md, "Rooms"), what the cores may not touch, and how long a module may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS: dict[str, set[str]] = {
    "protocol": set(),
    "connector": {"protocol"},
    "broker": {"protocol", "store"},
    "store": {"protocol"},
    "userapi": {"protocol", "store"},
    "sparrow": {"protocol", "connector", "broker", "store", "userapi"},
}
"""Room → other rooms that it may import."""

OUTSIDE = {
    "asyncio",
    "concurrent",
    "multiprocessing",
    "os",
    "random",
    "secrets",
    "select",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "threading",
    "time",
    "uuid",
    "uvloop",
    "zmq",
}
"""Clocks, chance, and everything that waits or opens something: not for cores."""

MAX_LINES = 420


def modules(*rooms: str) -> list[Path]:
    """All modules of some rooms, but generated ones."""
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py") if not path.name.endswith("_pb2.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(source: str) -> set[str]:
    """Dotted names of everything that is imported, wherever the statement stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            found.add(node.module or "")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("__import__", "importlib.import_module"):
            raise AssertionError("an import that cannot be seen")
    return found


def client_core() -> list[Path]:
    """The client's core, and every module beside it that it is made of."""
    package, dotted = ROOT / "sparrow" / "client", "sparrow.client."
    found, new = set[Path](), [package / "core.py"]
    while new:
        found.add(path := new.pop())
        names = [each for each in imported(path.read_text()) if each.startswith(dotted)]
        new += sorted({package / f"{each.removeprefix(dotted)}.py" for each in names} - found)
    return sorted(found)


def tops(source: str) -> set[str]:
    """Top-level packages of everything that is imported."""
    return {dotted.partition(".")[0] for dotted in imported(source)}


CORES = [
    *modules("connector/core", "broker/core"),
    *(path for path in modules("protocol") if path.parent.name == "protocol"),
    *client_core(),
]


def waits(source: str) -> Iterator[str]:
    """Everything that is asynchronous."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith | ast.AsyncFunctionDef):
            yield f"line {node.lineno}: {type(node).__name__}"


def test_the_helpers_see_what_they_should() -> None:
    source = """
import time as clock
from store.sqlite import engine
def f():
    if True:
        import zmq.asyncio
async def g():
    async with x: await y
"""
    assert tops(source) == {"time", "store", "zmq"}
    assert len(list(waits(source))) == 3
    with pytest.raises(AssertionError, match="cannot be seen"):
        imported("importlib.import_module('store')")
    with pytest.raises(AssertionError, match="relative"):
        imported("from . import engine")


def test_every_room_is_looked_at() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages == set(ROOMS)
    assert len(modules(*ROOMS)) > 50
    assert len(CORES) > 20


@pytest.mark.parametrize("path", modules(*ROOMS), ids=name)
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    foreign = tops(path.read_text()) & set(ROOMS) - {room}
    assert foreign <= ROOMS[room]
    assert "tests" not in tops(path.read_text())


@pytest.mark.parametrize("path", CORES, ids=name)
def test_a_core_touches_nothing_and_waits_for_nothing(path: Path) -> None:
    source = path.read_text()
    assert not tops(source) & OUTSIDE
    assert not list(waits(source))


@pytest.mark.parametrize("core", ["connector/core", "broker/core"])
def test_a_core_imports_no_shell(core: str) -> None:
    room = core.partition("/")[0]
    for path in modules(core):
        own = {dotted for dotted in imported(path.read_text()) if dotted.partition(".")[0] == room}
        allowed = {f"{room}.settings"}
        assert all(dotted.startswith(f"{room}.core") or dotted in allowed for dotted in own), (path, own)


def test_the_client_core_is_known_whole() -> None:
    assert {path.stem for path in client_core()} == {"core", "state", "streams"}
    assert not any("sparrow.client" in imported(path.read_text()) for path in client_core()), "hides a module"


@pytest.mark.parametrize("path", modules(*ROOMS), ids=name)
def test_a_module_says_what_it_is_for_and_is_short(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= MAX_LINES
    assert ast.get_docstring(ast.parse(source))


def test_every_test_module_says_what_it_covers() -> None:
    silent = [
        name(path)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent
