"""The engines under test. Each must pass every test of `test_contract`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from store import Store, StoreSettings, open_store

OpenEngine = Callable[..., Store]


def _open_sqlite(folder: Path, **changes: object) -> Store:
    values = {"path": str(folder / "sparrow.db"), "purge_interval_s": 0.0, "chunk_rows": 7, **changes}
    return open_store(StoreSettings(engine="sqlite", **values))  # type: ignore[arg-type]


ENGINES: dict[str, OpenEngine] = {"sqlite": _open_sqlite}


@pytest.fixture(params=list(ENGINES))
def open_engine(request: pytest.FixtureRequest, tmp_path: Path) -> OpenEngine:
    """Opens the same database at each call; keyword arguments change its settings."""
    return lambda **changes: ENGINES[request.param](tmp_path, **changes)
