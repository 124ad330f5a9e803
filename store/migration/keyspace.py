"""The keyspace, while it is filled: no broker and no user API of any release goes in.

Owns the column `migration` of `schema_version`, and what it is to be empty.
"""

from __future__ import annotations

import json

from protocol.errors import ConfigError
from store.cassandra.addresses import where
from store.cassandra.connecting import Connection
from store.cassandra.schema import CLOSED, LEFT, OLDEST, VERSION, apply
from store.settings import StoreSettings

_PUT = "INSERT INTO schema_version (id, version, oldest, migration) VALUES (0, %s, %s, %s)"
_TABLES = (
    "users",
    "inbox",
    "pairs",
    "bodies",
    "timeline",
    "group_states",
    "files",
    "invitations",
    "reports",
    "oidc_subjects",
)


class Keyspace:
    """The one that `settings` name, entered by `connection`."""

    def __init__(self, settings: StoreSettings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self._name = f"the keyspace {settings.cassandra_keyspace} at {where(settings)}"
        self._drop = f"cqlsh -e 'DROP KEYSPACE {settings.cassandra_keyspace}'"

    def close_for(self, move: str) -> None:
        """Keep everybody out but the migration of this id. Raises `ConfigError` if somebody else has filled it."""
        holder = self.holder()
        if holder == move:
            return
        if holder is not None:
            raise ConfigError(
                f"{self._name} has the begin of another migration: drop it ({self._drop}) and run this again"
            )
        for table in _TABLES:
            if self._connection.execute(f"SELECT * FROM {table} LIMIT 1"):
                raise ConfigError(
                    f"{self._name} is not empty ({table}): name another one in store.cassandra_keyspace, or drop it: "
                    f"{self._drop}"
                )
        self._connection.execute(_PUT, (CLOSED, CLOSED, move))

    def leave(self) -> None:
        """No release goes in any more: its contents went to SQLite."""
        self._connection.execute("ALTER TABLE schema_version ADD IF NOT EXISTS migration text")
        self._connection.execute(_PUT, (CLOSED, CLOSED, LEFT))

    def set_terms(self, keep_days: int, since_ms: int, floor: int) -> None:
        """For how long conversations are kept there, as it was before."""
        terms = "INSERT INTO history (id, keep_days, since_ms, floor) VALUES (0, %s, %s, %s)"
        self._connection.execute(terms, (keep_days, since_ms, floor))

    def open(self) -> None:
        """Whoever wants may go in."""
        self._connection.execute(_PUT, (VERSION, OLDEST, None))

    def holder(self) -> str | None:
        """The id of the migration that it is closed for."""
        rows = self._connection.execute("SELECT JSON * FROM schema_version WHERE id = 0")
        row = json.loads(rows[0][0]) if rows else {}
        holder: str | None = row.get("migration")
        return holder


def prepare(settings: StoreSettings, connection: Connection) -> Keyspace:
    """Make what is missing of it, and go in. Raises `ConfigError`."""
    keyspace = settings.cassandra_keyspace
    if connection.replication(keyspace) is None or not _is_closed(settings, connection):
        apply(settings)
    connection.enter(keyspace)
    connection.execute("ALTER TABLE schema_version ADD IF NOT EXISTS migration text")
    return Keyspace(settings, connection)


def _is_closed(settings: StoreSettings, connection: Connection) -> bool:
    query = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s AND table_name = 'schema_version'"
    if not connection.execute(query, (settings.cassandra_keyspace,)):
        return False
    rows = connection.execute(f"SELECT version FROM {settings.cassandra_keyspace}.schema_version WHERE id = 0")
    return bool(rows) and rows[0][0] == CLOSED
