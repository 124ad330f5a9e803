"""The tiers of `scripts/test`: what the fast one runs, and what each folder needs on the machine."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "test"

OUTSIDE = {"asyncio", "socket", "subprocess", "threading", "zmq", "uvloop"}
"""Whatever waits for something. Its tests are not for the fast tier, or only where somebody has put them there."""


def shell(script: str, *arguments: str) -> list[str]:
    done = subprocess.run(["bash", "-c", script, "bash", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def part(pattern: str) -> str:
    """A piece of scripts/test."""
    found = re.search(pattern, SCRIPT.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found[0]


def fast() -> list[str]:
    return shell(part(r"^fast=\(.*?^\)") + "\nprintf '%s\\n' \"${fast[@]}\"")


def needs(folder: str) -> list[str]:
    return shell(part(r"^needs\(\) \{.*?^\}") + '\nneeds "$1"', folder)


def imported(path: Path) -> set[str]:
    """Modules, dotted."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def reached(path: Path, seen: set[Path]) -> set[str]:
    """What a test imports, and what the helpers in tests/ that it imports do."""
    seen.add(path)
    found = imported(path)
    for dotted in sorted(found):
        helper = ROOT / (dotted.replace(".", "/") + ".py")
        if dotted.startswith("tests.") and helper.is_file() and helper not in seen:
            found |= reached(helper, seen)
    return found


def needs_nothing(path: Path) -> bool:
    found = reached(path, set())
    return not {dotted.partition(".")[0] for dotted in found} & OUTSIDE and "tests.services" not in " ".join(found)


def test_the_fast_tier_names_what_is_there() -> None:
    assert all((ROOT / name).exists() for name in fast())
    assert len(fast()) == len(set(fast()))


@pytest.mark.parametrize("folder", ["connector", "broker", "protocol"])
def test_what_needs_nothing_is_in_the_fast_tier(folder: str) -> None:
    chosen = {
        path for name in fast() for path in ((ROOT / name).glob("test_*.py") if "." not in name else [ROOT / name])
    }
    for path in sorted((ROOT / "tests" / folder).glob("test_*.py")):
        assert path in chosen or not needs_nothing(path), f"{path.name}: add it to fast=(...) in scripts/test"


def test_every_installer_is_there_and_everything_needs_all() -> None:
    folders = [path.name for path in (ROOT / "tests").iterdir() if any(path.glob("**/test_*.py"))]
    assert len(folders) > 8
    for folder in [*folders, "everything"]:
        for line in needs(folder):
            assert os.access(ROOT / "scripts" / line.split()[0], os.X_OK)
            assert line in needs("everything") or needs(folder) == ["install-cassandra"]
    assert needs("protocol") == needs("connector") == needs("simulation") == []


def test_contributing_tells_of_every_folder_and_of_all_that_is_installed() -> None:
    told = (ROOT / "CONTRIBUTING.md").read_text()
    folders = [path.name for path in (ROOT / "tests").iterdir() if any(path.glob("**/test_*.py"))]
    assert [folder for folder in folders if f"`{folder}`" not in told] == []
    packages = {line.split()[-1] for folder in folders for line in needs(folder) if line.startswith("install-package")}
    assert [package for package in sorted(packages) if package not in told] == []


def test_help_tells_all_tiers() -> None:
    said = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=True).stdout
    assert all(f"scripts/test {tier}" in said for tier in ("fast", "full", "FOLDER"))
    assert "set -e" not in said
