"""The built page that is committed: of these sources, small, and made by tools that find nothing."""

from __future__ import annotations

import gzip
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT = [ROOT / "userapi" / "page", ROOT / "sparrow" / "operator_page" / "page", ROOT / "load" / "page"]
FIRST_VIEW_BYTES = 150 * 1024


def _run(bin: Path, *command: str) -> None:
    """`npm` keeps logs and a cache in HOME."""
    environment = {"PATH": f"{bin}:/usr/local/bin:/usr/bin:/bin", "HOME": str(ROOT / "var")}
    done = subprocess.run(
        command,
        cwd=ROOT / "web",
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_committed_pages_are_what_their_sources_make(bin: Path, tmp_path: Path) -> None:
    """After a change in web/ or clients/typescript: `npm run build` in web/, and commit what it has written."""
    _run(bin, "npm", "run", "build", "--", str(tmp_path))
    for folder in BUILT:
        assert _files(tmp_path / folder.relative_to(ROOT)) == _files(folder)


@pytest.mark.parametrize("folder", BUILT, ids=lambda folder: str(folder.parent.name))
def test_the_first_view_is_small(folder: Path) -> None:
    files = _files(folder)
    assert sum(len(gzip.compress(content, 9)) for content in files.values()) <= FIRST_VIEW_BYTES


def test_the_lock_names_no_registry() -> None:
    packages = json.loads((ROOT / "web" / "package-lock.json").read_text())["packages"]
    assert all("integrity" in each for name, each in packages.items() if name)
    assert not any("resolved" in each for each in packages.values())


def test_linters_types_and_units(bin: Path) -> None:
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(_run, bin, "npm", "run", task) for task in ("lint", "types", "test")]:
            done.result()
