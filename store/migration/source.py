"""What of a SQLite database is due to be copied: everything at first, then what changes.

Owns the tables `migration` and `migration_due`, the triggers that note what changes, whichever process changes it, and
the fence, after which nobody changes anything. All of it is gone after `forget`. Knows nothing of Cassandra.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from protocol.errors import ConfigError
from store.settings import StoreSettings
from store.sqlite.backup import existing
from store.sqlite.failures import store_error
from store.sqlite.schema import (
    MOVED,
    OLDEST,
    VERSION,
    begin_immediate,
    forget_migration,
    is_migrating,
    mark_version,
    open_writer,
    version_of,
)
from store.timeline_rules import PART_IDS

LISTING, COPYING, COMPARING, READY = "listing", "copying", "comparing", "ready"
_AT_ONCE = 2_000
_FENCED = "it is being moved to Cassandra, or was: nothing changes here any more (sparrow migrate)"
_STREAM = "FROM streams AS s JOIN conversations AS c ON c.id = s.conversation WHERE s.id = {row}.stream"
_PART = f"json_array(c.name, s.user, s.device, s.stream, {{row}}.id / {PART_IDS})"

KEYS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "accounts": (("user", "json_array({row}.user)", ""),),
    "devices": (("user", "json_array({row}.user)", ""),),
    "seen": (("user", "json_array({row}.user)", ""),),
    "mutes": (("user", "json_array({row}.user)", ""),),
    "group_invitations": (("user", "json_array({row}.user)", ""),),
    "oidc_subjects": (("subject", "json_array({row}.issuer, {row}.subject)", ""),),
    "members": (("list", "json_array({row}.user, {row}.other)", ""),),
    "contacts": (("pair", "json_array({row}.low, {row}.high)", ""),),
    "inbox": (("queue", "json_array({row}.user, {row}.device)", ""),),
    "files": (("file", "json_array({row}.file)", ""), ("upload", "json_array({row}.owner, {row}.file)", "")),
    "file_readers": (("file", "json_array({row}.file)", ""),),
    "pieces": (("file", "json_array({row}.file)", ""), ("piece", "json_array({row}.file, {row}.position)", "")),
    "kept_files": (("file", "json_array({row}.file)", ""),),
    "messages": (("part", _PART, _STREAM),),
    "edits": (("part", _PART, _STREAM),),
    "attempts": (
        (
            "part",
            _PART.replace("{row}", "m"),
            "FROM messages AS m JOIN streams AS s ON s.id = m.stream JOIN conversations AS c ON c.id = s.conversation "
            "WHERE m.position = {row}.position",
        ),
    ),
    "group_states": (("group", "json_array({row}.group_id)", ""),),
    "group_members": (("group", "json_array({row}.group_id)", ""),),
    "group_changes": (("group", "json_array({row}.group_id)", ""),),
    "group_intervals": (("group", "json_array({row}.group_id)", ""),),
    "group_links": (("group", "json_array({row}.group_id)", ""),),
    "invitations": (("invitation", "json_array({row}.invitation, {row}.digest)", ""),),
    "invitation_uses": (
        (
            "invitation",
            "json_array(i.invitation, i.digest)",
            "FROM invitations AS i WHERE i.invitation = {row}.invitation",
        ),
    ),
    "reports": (("report", "json_array({row}.report)", ""),),
    "usage": (("usage", "json_array({row}.user)", ""),),
}
"""Of each table: kind and key, as SQL, of the units that a row belongs to."""
NOT_COPIED = {"history", "conversations", "streams", "unindexed", "sqlite_sequence", "migration", "migration_due"}
"""Tables that are carried over otherwise, or are nothing by themselves."""

_PARTS = (
    f"SELECT json_array(c.name, s.user, s.device, s.stream, d.part) FROM (SELECT stream, id / {PART_IDS} AS part "
    f"FROM messages {{where}} UNION SELECT stream, id / {PART_IDS} FROM edits {{where_edits}}) AS d "
    "JOIN streams AS s ON s.id = d.stream JOIN conversations AS c ON c.id = s.conversation"
)
_LISTS: dict[str, str] = {
    "user": "SELECT json_array(user) FROM (SELECT user FROM accounts UNION SELECT user FROM devices "
    "UNION SELECT user FROM seen UNION SELECT user FROM mutes UNION SELECT user FROM group_invitations)",
    "subject": "SELECT json_array(issuer, subject) FROM oidc_subjects",
    "list": "SELECT json_array(user, other) FROM members",
    "pair": "SELECT json_array(low, high) FROM contacts",
    "group": "SELECT json_array(group_id) FROM (SELECT group_id FROM group_states "
    "UNION SELECT group_id FROM group_intervals UNION SELECT group_id FROM group_links)",
    "invitation": "SELECT json_array(invitation, digest) FROM invitations",
    "report": "SELECT json_array(report) FROM reports",
    "file": "SELECT json_array(file) FROM files UNION SELECT json_array(file) FROM kept_files",
    "upload": "SELECT json_array(owner, file) FROM files",
    "piece": "SELECT json_array(file, position) FROM pieces",
    "part": _PARTS.format(where="", where_edits=""),
    "queue": "SELECT DISTINCT json_array(user, device) FROM inbox",
    "usage": "SELECT DISTINCT json_array(user) FROM usage",
}
"""Of each kind, the keys of all its units."""
_ERASED = _PARTS.format(where="WHERE erased_by IS NOT NULL", where_edits="WHERE false")


class Move(NamedTuple):
    """One migration, as its database tells of it."""

    id: str
    phase: str
    keep_days: int
    """As conversations were kept when it began: all that is copied lives as long."""
    clock_us: int
    """The latest write time that was used."""
    begun_ms: int


class Due(NamedTuple):
    """A unit that is to be copied."""

    kind: str
    key: tuple[Any, ...]
    changes: int
    """How often it was changed since it became due; 0: it is due because everything is."""
    text: str
    """The key, as it is kept."""


class Source:
    """A database that is being copied; a context manager. Used from one thread at a time."""

    def __init__(self, settings: StoreSettings) -> None:
        self._path = settings.path
        self._busy_s = settings.busy_timeout_s
        path = existing(Path(settings.path))
        self.connection = _connect(path)
        try:
            self.moved = version_of(self.connection) == MOVED
            if not self.moved:
                # Another release's tables are brought to ours, or refused, in the one place that does so.
                open_writer(settings).close()
        except BaseException:
            self.connection.close()
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *exc: object) -> None:
        self.connection.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            begin_immediate(self.connection, self._busy_s)
            yield
            self.connection.execute("COMMIT")
        except BaseException as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise store_error(self._path, error) from error
            raise

    # The migration.

    def move(self) -> Move | None:
        """The one that is under way."""
        if not is_migrating(self.connection):
            return None
        row = self.connection.execute("SELECT id, phase, keep_days, clock_us, begun_ms FROM migration").fetchone()
        return Move(*row)

    def begin(self) -> Move:
        """The one that is under way, or a new one: from now on, what changes becomes due. Raises `ConfigError` where
        conversations are kept otherwise than when it began."""
        with self._writing():
            (keep_days,) = self.connection.execute("SELECT keep_days FROM history").fetchone()
            if not is_migrating(self.connection):
                self._make_tables(keep_days)
        move = self.move()
        assert move is not None
        if move.keep_days != keep_days:
            raise ConfigError(
                f"conversations were kept for {move.keep_days} days when this began and are for {keep_days} now: what "
                "was copied would end too early or too late. Begin anew: sparrow migrate --abort, drop the keyspace"
            )
        return move

    def _make_tables(self, keep_days: int) -> None:
        self.connection.execute(
            "CREATE TABLE migration (id TEXT NOT NULL, phase TEXT NOT NULL, keep_days INTEGER NOT NULL, "
            "clock_us INTEGER NOT NULL, begun_ms INTEGER NOT NULL)"
        )
        made = (secrets.token_hex(8), LISTING, keep_days, int(time.time() * 1000))
        self.connection.execute("INSERT INTO migration VALUES (?, ?, ?, 0, ?)", made)
        self.connection.execute(
            "CREATE TABLE migration_due (kind TEXT NOT NULL, key TEXT NOT NULL, changes INTEGER NOT NULL, "
            "PRIMARY KEY (kind, key)) WITHOUT ROWID"
        )
        for table, units in KEYS.items():
            for event, row in (("INSERT", "new"), ("UPDATE", "new"), ("DELETE", "old")):
                notes = " ".join([_note(kind, key, of).format(row=row) for kind, key, of in units])
                self.connection.execute(
                    f"CREATE TRIGGER migration_{event.lower()}_{table} AFTER {event} ON {table} BEGIN {notes} END"
                )

    def set_phase(self, phase: str) -> None:
        """Where it is."""
        with self._writing():
            self.connection.execute("UPDATE migration SET phase = ?", (phase,))

    def next_clock(self, now_us: int) -> int:
        """The write time of a pass, in µs: later than that of every pass before."""
        with self._writing():
            self.connection.execute("UPDATE migration SET clock_us = max(clock_us + 1, ?)", (now_us,))
            (clock_us,) = self.connection.execute("SELECT clock_us FROM migration").fetchone()
        return int(clock_us)

    def terms(self) -> tuple[int, int, int]:
        """For how long conversations are kept, since when (Unix ms), and the floor."""
        row = self.connection.execute("SELECT keep_days, since_ms, floor FROM history").fetchone()
        return int(row[0]), int(row[1]), int(row[2])

    # What is due.

    def list_all(self, erased_alone: bool = False) -> int:
        """Everything is due, or all that has markers of what was erased; returns how much that is."""
        lists = {"part": _ERASED} if erased_alone else _LISTS
        listed = 0
        reading = _connect(Path(self._path))
        try:
            for kind, query in lists.items():
                keys = reading.execute(query)
                # Some at a time, so that nobody waits for long who writes.
                while some := keys.fetchmany(_AT_ONCE):
                    with self._writing():
                        self.connection.executemany(
                            "INSERT INTO migration_due VALUES (?, ?, 0) ON CONFLICT DO NOTHING",
                            [(kind, key) for (key,) in some],
                        )
                    listed += len(some)
        except sqlite3.Error as error:
            raise store_error(self._path, error) from error
        finally:
            reading.close()
        return listed

    def count(self) -> int:
        """How much is due."""
        (count,) = self.connection.execute("SELECT count(*) FROM migration_due").fetchone()
        return int(count)

    def due(self, after: tuple[str, str], most: int) -> list[Due]:
        """Some that are due, all of one kind, from behind a (kind, key) on."""
        rows = self.connection.execute(
            "SELECT kind, key, changes FROM migration_due WHERE (kind, key) > (?, ?) ORDER BY kind, key LIMIT ?",
            (*after, most),
        ).fetchall()
        return [Due(kind, tuple(json.loads(key)), changes, key) for kind, key, changes in rows if kind == rows[0][0]]

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """The connection, with what it reads as it is at one moment."""
        self.connection.execute("BEGIN")
        try:
            yield self.connection
        except sqlite3.Error as error:
            raise store_error(self._path, error) from error
        finally:
            self.connection.execute("COMMIT")

    def settle(self, copied: Sequence[Due]) -> None:
        """These were copied, as they were when they were said to be due: what has changed since is due still."""
        with self._writing():
            self.connection.executemany(
                "DELETE FROM migration_due WHERE kind = ? AND key = ? AND changes = ?",
                [(due.kind, due.text, due.changes) for due in copied],
            )

    # The end.

    def fence(self) -> None:
        """From now on nobody changes what is copied, whatever they have open. May be repeated."""
        with self._writing():
            for table in (*KEYS, "history", "conversations", "streams"):
                for event in ("INSERT", "UPDATE", "DELETE"):
                    self.connection.execute(
                        f"CREATE TRIGGER IF NOT EXISTS migration_fence_{event.lower()}_{table} BEFORE {event} "
                        f"ON {table} BEGIN SELECT RAISE(ABORT, '{_FENCED}'); END"
                    )

    @property
    def is_fenced(self) -> bool:
        """Whether it is."""
        query = "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name GLOB 'migration_fence_*' LIMIT 1"
        return self.connection.execute(query).fetchone() is not None

    def leave(self) -> None:
        """No release opens the database any more."""
        with self._writing():
            mark_version(self.connection, MOVED, MOVED)
        self.moved = True

    def forget(self) -> None:
        """As if there had never been a migration."""
        with self._writing():
            forget_migration(self.connection)
            if self.moved:
                mark_version(self.connection, VERSION, OLDEST)
        self.moved = False


def _note(kind: str, key: str, of: str) -> str:
    return (
        f"INSERT INTO migration_due SELECT '{kind}', {key}, 1 {of or 'WHERE true'} "
        "ON CONFLICT DO UPDATE SET changes = changes + 1;"
    )


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=30.0, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    return connection
