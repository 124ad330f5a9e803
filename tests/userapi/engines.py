"""Both engines, for tests of real processes: where each keeps its data."""

from __future__ import annotations

from pathlib import Path

import pytest

from store import StoreSettings
from tests.store.conftest import shared_cassandra
from tests.userapi.running_server import sqlite


def _cassandra(folder: Path) -> StoreSettings:
    cassandra = shared_cassandra()
    cassandra.begin(folder)
    return cassandra.settings


ENGINES = {"sqlite": sqlite, "cassandra": _cassandra}
each_engine = pytest.mark.parametrize("engine", list(ENGINES))


def kept(engine: str, folder: Path, conversations: bool = True) -> StoreSettings:
    """The settings of an empty store; without `conversations` there may be some of earlier tests."""
    if engine == "cassandra" and conversations:
        shared_cassandra().keeps = True
    return ENGINES[engine](folder)
