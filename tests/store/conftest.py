"""The engines under test. Each must pass every test of `test_contract`."""

import atexit
import dataclasses
import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from protocol.errors import StoreError
from store import HistorySettings, Store, StoreSettings, open_store
from tests.services.cassandra import shared

OpenEngine = Callable[..., Store]


def _history(folder: Path, changes: dict[str, object]) -> HistorySettings:
    history = changes.pop("history", HistorySettings())
    return dataclasses.replace(history, ledger=str(folder / "erased.log"))  # type: ignore[type-var]


def _open_sqlite(folder: Path, **changes: object) -> Store:
    history = _history(folder, changes)
    values = {"path": str(folder / "sparrow.db"), "purge_interval_s": 0.0, "chunk_rows": 7, **changes}
    return open_store(StoreSettings(engine="sqlite", **values), history=history)  # type: ignore[arg-type]


_PLAIN = {"bodies", "timeline", "spans", "kept_files", "reports", "group_states", "group_newest", "group_ends"}
_PLAIN |= {"group_invitations", "group_links", "group_secrets", "mutes", "invitations", "oidc_subjects_of"}


class SharedCassandra:
    """One keyspace of this process on the node that all tests share."""

    def __init__(self) -> None:
        from store.cassandra import apply
        from store.cassandra.connecting import connect

        point, self._use = shared()
        name = hashlib.sha256(f"{os.getpid()} {self._use.fileno()}".encode()).hexdigest()[:10]
        self.settings = StoreSettings(
            engine="cassandra",
            chunk_rows=7,
            cassandra_contact_points=(point,),
            cassandra_keyspace=f"test_{name}",
            # The shared node has two cores with everybody else on them.
            cassandra_request_timeout_s=25.0,
        )
        with connect(self.settings) as connection:
            connection.execute(f"DROP KEYSPACE IF EXISTS {self.settings.cassandra_keyspace}")
        apply(self.settings, lambda _: None)
        self.connection = connect(self.settings)
        atexit.register(self.connection.close)
        self._folder: Path | None = None
        self.keeps = True
        """Whether something may be kept of conversations."""

    def begin(self, folder: Path) -> None:
        """Empty the tables, once for each folder."""
        if folder != self._folder:
            self._folder = folder
            tables = [
                "users",
                "names",
                "inbox",
                "pairs",
                "contacts",
                "seen",
                "files",
                "pieces",
                "piece_data",
                "owners",
                "uploads",
                "mutes",
                "invitations",
                "invitation_list",
                "oidc_subjects",
                "oidc_subjects_of",
            ]
            # Emptying one takes a tenth of a second, even if nothing is in it.
            if self.keeps:
                self.keeps = False
                tables += ["bodies", "timeline", "spans", "members", "kept_files", "usage", "reports", "history"]
                tables += ["group_states", "group_lists", "group_newest", "group_ends"]
                tables += ["group_invitations", "group_links", "group_secrets"]
            keyspace = self.settings.cassandra_keyspace
            for table in tables:
                # Of others, removals of later times may stand that nobody sees.
                if table not in _PLAIN or self._has_rows(f"{keyspace}.{table}"):
                    self.connection.execute(f"TRUNCATE {keyspace}.{table}")
            keep = f"INSERT INTO {keyspace}.history (id, keep_days, since_ms, floor) "
            self.connection.execute(keep + "VALUES (0, 365, 1, 0)")

    def _has_rows(self, table: str) -> bool:
        try:
            return bool(self.connection.execute(f"SELECT * FROM {table} LIMIT 1"))
        except StoreError:
            return True  # so many were removed that they cannot be passed over


shared_cassandra = cache(SharedCassandra)


def _open_cassandra(folder: Path, **changes: object) -> Store:
    cassandra = shared_cassandra()
    cassandra.begin(folder)
    history = _history(folder, changes)
    return open_store(dataclasses.replace(cassandra.settings, **changes), history=history)  # type: ignore[arg-type]


ENGINES: dict[str, OpenEngine] = {"sqlite": _open_sqlite, "cassandra": _open_cassandra}


@pytest.fixture(params=list(ENGINES))
def open_engine(request: pytest.FixtureRequest, tmp_path: Path) -> OpenEngine:
    """Opens the same database at each call; keyword arguments change its settings."""
    if request.param == "cassandra" and any(word in request.module.__name__ for word in ("timelines", "groups")):
        shared_cassandra().keeps = True
    return lambda **changes: ENGINES[request.param](tmp_path, **changes)
