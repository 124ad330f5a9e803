"""Servers of a load test's own, one set for all tests of this folder; and short runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from load.spawn import Spawned
from tests.sparrow.conftest import node as node


@pytest.fixture(scope="session")
def spawned() -> Iterator[Spawned]:
    """One process."""
    with Spawned("one") as made:
        yield made
        assert "Traceback" not in made.log()
