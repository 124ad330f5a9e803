"""A booted machine, this tree as it was when the tests began, and a newer one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest

from tests.bare_metal.machine import NEWER, ROOT, Machine, copy_tree, wheels


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
