"""Node of the pinned version, with the packages of clients/typescript; and a node of Sparrow."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sparrow.conftest import node as node

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "clients" / "typescript"


@pytest.fixture(scope="session")
def bin() -> Path:
    """The folder of Node's programs."""
    made = subprocess.run([ROOT / "scripts/install-node"], check=True, stdout=subprocess.PIPE, text=True, timeout=600)
    return Path(made.stdout.strip())


@pytest.fixture
def run(bin: Path) -> Callable[..., str]:
    """Runs a program in clients/typescript, with nothing but that Node on its way; returns what it says."""

    def run(*command: str | Path, **environment: str) -> str:
        path = {"PATH": f"{bin}:/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", **environment}
        done = subprocess.run(
            command, cwd=CLIENT, env=path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run
