"""A booted machine, this tree as it was when the tests began, and a newer one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bare_metal.machine import ROOT, Machine, wheels

NEWER = "99.1.0"
TREE = (
    *("protocol", "connector", "broker", "store", "userapi", "sparrow"),
    *("scripts/systemd", "scripts/install.d", "scripts/install"),
    *("setup.cfg", "pyproject.toml", "constraints.txt", "LICENSE"),
)
"""What a release is made of."""


def copy_tree(source: Path, tree: Path) -> Path:
    """Another tree like `source`."""
    for name in TREE:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source / name, tree / name)
    return tree


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Debian, booted, with this tree, a newer one and wheels below /srv."""
    folder = tmp_path_factory.mktemp("machine")
    # Copies: somebody may be at work here.
    this, newer = copy_tree(ROOT, folder / "this"), copy_tree(ROOT, folder / "newer")
    setup = newer / "setup.cfg"
    setup.write_text(re.sub(r"^version = .*$", f"version = {NEWER}", setup.read_text(), flags=re.MULTILINE))
    made = Machine(folder, {"/srv/sparrow": this, "/srv/newer": newer, "/srv/wheels": wheels()})
    try:
        made.boot()
        yield made
    finally:
        made.stop()
        shutil.rmtree(made.root)  # pytest would keep three
