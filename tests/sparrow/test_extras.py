"""What is installed by which extra: the client library needs the base alone, and who lacks an extra is told."""

from __future__ import annotations

import configparser
import re
import subprocess
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sparrow.extras import EXTRAS, what_to_install

ROOT = Path(__file__).parents[2]
SERVERS = ("serve", "connector", "broker", "userapi", "check", "keys token x")


def requirements(text: str) -> set[str]:
    """The distributions that these lines ask for on this Python."""
    asked = [Requirement(line) for line in text.split("\n") if line]
    return {one.name for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})}


def closure(names: set[str]) -> set[str]:
    """With all that they need."""
    found: set[str] = set()
    while names:
        found.add(name := names.pop())
        names |= requirements("\n".join(metadata.requires(name) or ())) - found
    return found


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    made = configparser.ConfigParser()
    made.read(ROOT / "setup.cfg")
    return made


@pytest.fixture(scope="module")
def base(setup: configparser.ConfigParser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a virtual environment that has this tree, what the base of it needs, and nothing else."""
    folder = tmp_path_factory.mktemp("base")
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in closure(requirements(setup["options"]["install_requires"])):
        for file in metadata.files(name) or ():
            # The first folder of a path, or a module of its own: whole, as a link.
            top, link = Path(str(file.locate())).parents[len(file.parts) - 1] / file.parts[0], packages / file.parts[0]
            if ".." not in file.parts and top.exists() and not link.exists():
                link.symlink_to(top)
    (packages / "sparrow.pth").write_text(f"{ROOT}\n")
    return folder / "bin" / "python"


def run(python: Path, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, "-I", *arguments], capture_output=True, text=True, timeout=60, check=False, cwd=cwd)


def test_the_client_library_needs_the_base_alone(base: Path) -> None:
    program = """
import pkgutil, client, sparrow.client
from importlib import import_module
for module in pkgutil.walk_packages(client.__path__, "client."):
    import_module(module.name)
assert sparrow.client.Client is client.Client
try:
    import zmq
except ImportError:
    print("all of it")
"""
    answer = run(base, "-c", program)
    assert (answer.stdout, answer.stderr) == ("all of it\n", "")


@pytest.mark.parametrize("command", [*SERVERS, "load", "status", "backup x", "export alice"])
def test_who_lacks_an_extra_is_told(base: Path, tmp_path: Path, command: str) -> None:
    answer = run(base, "-m", "sparrow.cli", *command.split(), cwd=tmp_path)
    assert answer.returncode == 2
    assert re.fullmatch(r"sparrow: .+ comes with the extra \[\w+\]: pip install 'sparrow-im\[\w+\]'\n", answer.stderr)


def test_the_table_is_setup_cfgs(setup: configparser.ConfigParser) -> None:
    assert {*EXTRAS, "test"} == set(setup["options.extras_require"])
    tops = metadata.packages_distributions()
    for extra, modules in EXTRAS.items():
        named = requirements(setup["options.extras_require"][extra]) - {"sparrow-im"}
        assert {canonicalize_name(tops[module][0]) for module in modules} == {canonicalize_name(name) for name in named}
    assert what_to_install(ModuleNotFoundError("no", name="nonsense")) is None
    chat = what_to_install(ModuleNotFoundError("no", name="prompt_toolkit.application"))
    assert chat is not None
    assert chat.endswith("the extra [chat]: pip install 'sparrow-im[chat]'")
