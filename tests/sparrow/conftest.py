"""One node for all tests of a module that need no more than that."""

from collections.abc import Iterator

import pytest

from tests.sparrow.serving import Node


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A running node; use users of your own."""
    made = Node(tmp_path_factory.mktemp("node")).start()
    yield made
    assert made.stop() == 0, made.log
    assert "Traceback" not in made.log
