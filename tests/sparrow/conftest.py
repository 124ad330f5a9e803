"""One node for all tests of a module that need no more than that; a stage for those who need one of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sparrow.serving import Node
from tests.sparrow.stage import Stage


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A running node; use users of your own."""
    made = Node(tmp_path_factory.mktemp("node")).start()
    yield made
    assert made.stop() == 0, made.log
    assert "Traceback" not in made.log


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A server that is not started yet, and no terminals."""
    made = Stage(tmp_path)
    yield made
    made.close()
