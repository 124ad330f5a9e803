"""What is kept: accounts, devices, inboxes, files, conversations; one interface, two engines (SQLite, Cassandra).

Owns the choice of the engine. May import `protocol` and `fabric`.
"""

from __future__ import annotations

from protocol.errors import ConfigError
from store.interface import Store
from store.ownership import Ownership
from store.settings import NOT_KEPT, HistorySettings, StoreSettings


def open_store(
    settings: StoreSettings, ownership: Ownership = Ownership.NONE, history: HistorySettings = NOT_KEPT
) -> Store:
    """The engine that `settings` names; opened by entering it, which raises `ConfigError` for data that others own.

    `history` bounds what is kept of conversations; for how long is taken from it only by a database that is new.

    Raises `ConfigError` for an engine that is not known.
    """
    if settings.engine == "sqlite":
        from store.sqlite import SqliteStore

        return SqliteStore(settings, ownership=ownership, history=history)
    if settings.engine == "cassandra":
        from store.cassandra import CassandraStore

        return CassandraStore(settings, ownership=ownership, history=history)
    raise ConfigError(f'store.engine is "{settings.engine}", but the engines are "sqlite" and "cassandra"')


__all__ = ["HistorySettings", "Ownership", "Store", "StoreSettings", "open_store"]
