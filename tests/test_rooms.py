"""What the rooms may import (docs/design.md, "Rooms"), what the cores may not touch, and how long a module may be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVERS = {"protocol", "fabric", "connector", "broker", "store", "userapi"}
ROOMS: dict[str, set[str]] = {
    "protocol": set(),
    "fabric": {"protocol"},
    "store": {"protocol", "fabric"},
    "connector": {"protocol", "fabric"},
    "broker": {"protocol", "fabric", "store"},
    "userapi": {
        "protocol",
        "fabric",
        "store",
        "userapi/endpoints",
        "userapi/http",
        "userapi/identity",
        "userapi/process",
    },
    "userapi/endpoints": {"protocol", "fabric", "store", "userapi", "userapi/http", "userapi/identity"},
    "userapi/http": {"protocol", "fabric", "userapi.settings"},
    "userapi/identity": {"protocol", "store", "userapi", "userapi/http"},
    "userapi/process": {"protocol", "fabric", "userapi.settings", "userapi/http"},
    "client": {"protocol"},
    "sparrow": {*SERVERS, "userapi.http.counts", "client", "load", "sparrow/chat", "sparrow/config", "sparrow/ops"},
    "sparrow/chat": {"protocol", "client"},
    "sparrow/config": {*SERVERS, "userapi/endpoints", "userapi/identity", "userapi/process"},
    "sparrow/ops": {
        *(*SERVERS, "client", "sparrow", "sparrow/chat", "sparrow/config"),
        *("userapi/endpoints", "userapi.http.counts"),
    },
    "sparrow/operator_page": {
        *("protocol", "fabric", "sparrow", "sparrow/config", "sparrow/ops"),
        *("userapi.settings", "userapi.endpoints.admin", "userapi/http", "userapi/process"),
    },
    "load": {"protocol", "store", "userapi", "client", "sparrow/config"},
}
"""Room → rooms, and single modules, that it may import. A module is in the innermost room that its folder is in."""

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
    """All modules of some folders, but generated ones."""
    found = {path for room in rooms for path in (ROOT / room).rglob("*.py") if not path.name.endswith("_pb2.py")}
    return sorted(found)


def dotted(path: Path) -> str:
    """A module's name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str | None:
    """The innermost room of a module, by its dotted name; None: it is not ours."""
    parts = module.split(".")
    folders = ("/".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((folder for folder in folders if folder in ROOMS), None)


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
            found.update(_of(node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("__import__", "importlib.import_module"):
            raise AssertionError("an import that cannot be seen")
    return found


def _of(package: str, name: str) -> str:
    """What `from package import name` imports: a module of ours by that name, or else what stands in the package."""
    path = ROOT / package.replace(".", "/") / name
    return f"{package}.{name}" if path.with_suffix(".py").exists() or path.is_dir() else package


def client_core() -> list[Path]:
    """The client's core, and every module beside it that it is made of."""
    package, own = ROOT / "client", "client."
    found, new = set[Path](), [package / "core.py"]
    while new:
        found.add(path := new.pop())
        names = [each for each in imported(path.read_text()) if each.startswith(own)]
        new += sorted({package / f"{each.removeprefix(own)}.py" for each in names} - found)
    return sorted(found)


def tops(source: str) -> set[str]:
    """Top-level packages of everything that is imported."""
    return {module.partition(".")[0] for module in imported(source)}


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
    assert packages == {room for room in ROOMS if "/" not in room}
    assert all((ROOT / room / "__init__.py").exists() for room in ROOMS)
    assert len(modules(*ROOMS)) > 50
    assert len(CORES) > 20


@pytest.mark.parametrize("path", modules(*ROOMS), ids=name)
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    room = room_of(dotted(path))
    assert room is not None
    for module in imported(path.read_text()):
        assert module.partition(".")[0] != "tests"
        other = room_of(module)
        assert other in (None, room) or {other, module} & ROOMS[room], f"{module} is not for {room}"


def test_nothing_goes_round_in_circles() -> None:
    modules_of = {dotted(path): path for path in modules(*ROOMS)}
    sorter = TopologicalSorter({module: imported(path.read_text()) - {module} for module, path in modules_of.items()})
    sorter.prepare()  # raises CycleError, which names them


@pytest.mark.parametrize("path", CORES, ids=name)
def test_a_core_touches_nothing_and_waits_for_nothing(path: Path) -> None:
    source = path.read_text()
    assert not tops(source) & OUTSIDE
    assert not list(waits(source))


@pytest.mark.parametrize("core", ["connector/core", "broker/core"])
def test_a_core_imports_no_shell(core: str) -> None:
    room = core.partition("/")[0]
    for path in modules(core):
        own = {module for module in imported(path.read_text()) if module.partition(".")[0] == room}
        allowed = {f"{room}.settings"}
        assert all(module.startswith(f"{room}.core") or module in allowed for module in own), (path, own)


def test_the_client_core_is_known_whole() -> None:
    assert {path.stem for path in client_core()} == {
        *("acks", "ages", "core", "erasures", "holding", "receiving", "state", "streams", "syncs")
    }
    assert not any("client" in imported(path.read_text()) for path in client_core()), "hides a module"


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


def test_programs_import_what_there_is() -> None:
    scripts = [path for path in (ROOT / "scripts").iterdir() if path.is_file()]
    programs = [path for path in scripts if b"python" in path.read_bytes()[:40]]
    programs += (ROOT / "examples").glob("*.py")
    assert ROOT / "scripts" / "cluster" in programs
    for program in programs:
        for module in imported(program.read_text()):
            path = ROOT / module.replace(".", "/")
            ours = room_of(module) is not None
            assert not ours or path.with_suffix(".py").exists() or path.is_dir(), f"{program}: {module}"


def _drawn(module: str) -> str | None:
    """The room of a module, as the picture has them."""
    room = room_of(module)
    return room if room in (None, "sparrow/config") else room.partition("/")[0]


def test_the_picture_of_rooms_is_true() -> None:
    """Its arrows are imports that there are, and lead from every import to what is imported."""
    (drawing,) = re.findall(r"```mermaid\ngraph TD\n(.*?)```", (ROOT / "docs" / "design.md").read_text(), re.DOTALL)
    shown = dict(re.findall(r"(\w+)\[(\S+)\]", drawing))
    lines = re.sub(r"\[\S+\]", "", drawing).split("\n")
    arrows = {tuple(shown.get(room, room) for room in line.split(" --> ")) for line in map(str.strip, lines) if line}
    imports = {
        (high, low)
        for path in modules(*ROOMS)
        for module in imported(path.read_text())
        if (high := _drawn(dotted(path))) != (low := _drawn(module)) and high and low
    }
    assert arrows <= imports
    below: dict[str, set[str]] = {}
    for room in TopologicalSorter(
        {top: {low for high, low in arrows if high == top} for top, _ in arrows}
    ).static_order():
        direct = {low for high, low in arrows if high == room}
        below[room] = direct.union(*(below[low] for low in direct))
    assert all(other in below[top] for top, other in imports)
