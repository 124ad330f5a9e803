"""The tables, and how they come to be: versioned steps that may be repeated.

Owns `CREATE` and the version. Knows no operation on the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cassandra import InvalidRequest

from protocol.errors import ConfigError
from store.cassandra.addresses import parse_replication, where
from store.cassandra.connecting import Connection, connect
from store.settings import StoreSettings

# Its rows are removed one by one soon after they were written. A removal that is forgotten after three hours (as long
# as Cassandra keeps hints for a node that is down) can at worst show a row once more, which devices recognize.
_INBOX_OPTIONS = "gc_grace_seconds = 10800 AND compaction = {'class': 'LeveledCompactionStrategy'}"

STEPS: tuple[tuple[str, ...], ...] = (
    (
        # A user's account in the partition's static columns, and a row for each device that ever was.
        """CREATE TABLE IF NOT EXISTS users (
            user text,
            device text,
            password_hash text STATIC,
            created_us bigint STATIC,
            label text,
            added_us bigint,
            removed_us bigint,
            session bigint,
            previous_session bigint,
            PRIMARY KEY (user, device)
        )""",
        f"""CREATE TABLE IF NOT EXISTS inbox (
            user text,
            device text,
            position blob,
            kind tinyint,
            body blob,
            PRIMARY KEY ((user, device), position)
        ) WITH {_INBOX_OPTIONS}""",
    ),
)
"""Statements of each version, oldest first; each may be repeated."""
VERSION = len(STEPS)

_APPLY = "run: sparrow schema apply"


def apply(settings: StoreSettings, say: Callable[[str], None] = print) -> None:
    """Bring keyspace and tables to this version; `say` is told each step. May be repeated, from one place at a time.

    Raises `ConfigError` for a newer schema and for settings that are wrong, `StoreError` when Cassandra is away.
    """
    with connect(settings) as connection:
        _make_keyspace(connection, settings, say)
        connection.execute(f"USE {settings.cassandra_keyspace}")
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (id int PRIMARY KEY, version int)")
        found = _version(connection)
        _refuse_newer(settings, found)
        for number, step in enumerate(STEPS[found:], found + 1):
            for statement in step:
                connection.execute(statement)
            connection.execute("INSERT INTO schema_version (id, version) VALUES (0, %s)", (number,))
            say(f"keyspace {settings.cassandra_keyspace}: schema {number} is there")
        if found == VERSION:
            say(f"keyspace {settings.cassandra_keyspace}: schema {VERSION} was there already, nothing to do")


def enter_keyspace(connection: Connection, settings: StoreSettings) -> None:
    """Use our keyspace. Raises `ConfigError` if it, or its tables, are not those of this version."""
    try:
        connection.execute(f"USE {settings.cassandra_keyspace}")
        found = _version(connection)
    except InvalidRequest:
        keyspace = f'the keyspace "{settings.cassandra_keyspace}"'
        raise ConfigError(f"store {where(settings)}: {keyspace} is not there, or not ours: {_APPLY}") from None
    _refuse_newer(settings, found)
    if found < VERSION:
        raise ConfigError(
            f"store {where(settings)}: the tables are of schema {found}, this Sparrow needs {VERSION}: {_APPLY}"
        )


def _make_keyspace(connection: Connection, settings: StoreSettings, say: Callable[[str], None]) -> None:
    keyspace = settings.cassandra_keyspace
    wanted = parse_replication(settings)
    there: dict[str, Any] | None = connection.replication(keyspace)
    if there is None:
        connection.execute(f"CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {wanted}")
        say(f"keyspace {keyspace} is there, with replication {settings.cassandra_replication}")
    elif {name: str(value).rpartition(".")[2] for name, value in there.items()} != {
        name: str(value) for name, value in wanted.items()
    }:
        say(
            f"keyspace {keyspace} has replication {there}, not store.cassandra_replication; it stays as it is. "
            "To change it: ALTER KEYSPACE, then nodetool repair --full on each node"
        )


def _version(connection: Connection) -> int:
    rows = connection.execute("SELECT version FROM schema_version WHERE id = 0")
    return rows[0][0] if rows else 0


def _refuse_newer(settings: StoreSettings, found: int) -> None:
    if found > VERSION:
        raise ConfigError(
            f"store {where(settings)}: the tables were made by a newer Sparrow (schema {found}, this one knows "
            f"{VERSION}): run that one, or name another keyspace in store.cassandra_keyspace"
        )
