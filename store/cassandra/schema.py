"""The tables, and how they come to be: versioned steps that may be repeated.

Owns `CREATE` and the version. Knows no operation on the data.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from cassandra import InvalidRequest

from protocol.errors import ConfigError
from store.cassandra.addresses import parse_replication, where
from store.cassandra.connecting import Connection, connect
from store.cassandra.keys import bucket_of
from store.settings import StoreSettings

# Its rows are removed one by one soon after they were written. A removal that is forgotten after three hours (as long
# as Cassandra keeps hints for a node that is down) can at worst show a row once more, which devices recognize.
_INBOX_OPTIONS = "gc_grace_seconds = 10800 AND compaction = {'class': 'LeveledCompactionStrategy'}"


def _list_names(connection: Connection) -> None:
    """Put the users of before into `names`."""
    insert = connection.prepare("INSERT INTO names (bucket, user) VALUES (?, ?)")
    for row in connection.execute("SELECT DISTINCT user FROM users"):
        connection.execute(insert.bind((bucket_of(row[0]), row[0])))


STEPS: tuple[tuple[str | Callable[[Connection], None], ...], ...] = (
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
    (
        # How two users stand, by both; and for each user those with whom there is, or was, something.
        """CREATE TABLE IF NOT EXISTS pairs (
            low text,
            high text,
            bits int,
            since_us bigint,
            PRIMARY KEY ((low, high))
        )""",
        "CREATE TABLE IF NOT EXISTS contacts (user text, other text, PRIMARY KEY (user, other))",
        "CREATE TABLE IF NOT EXISTS seen (user text PRIMARY KEY, seen_ms bigint)",
    ),
    (
        """CREATE TABLE IF NOT EXISTS files (
            file text PRIMARY KEY,
            owner text,
            name text,
            media_type text,
            size bigint,
            created_ms bigint,
            expires_ms bigint,
            readers set<text>,
            sha256 text,
            complete boolean
        )""",
        # A partition for each piece, so that a large file is spread over the nodes; its pieces' places in one more.
        """CREATE TABLE IF NOT EXISTS pieces (
            file text,
            position bigint,
            length int,
            piece text,
            PRIMARY KEY (file, position)
        ) WITH CLUSTERING ORDER BY (position DESC)""",
        "CREATE TABLE IF NOT EXISTS piece_data (piece text PRIMARY KEY, data blob)",
    ),
    (
        "ALTER TABLE users ADD IF NOT EXISTS display_name text STATIC",
        "ALTER TABLE users ADD IF NOT EXISTS hides_presence boolean STATIC",
        "ALTER TABLE users ADD IF NOT EXISTS deleted_us bigint STATIC",
        "ALTER TABLE users ADD IF NOT EXISTS login text",
        "ALTER TABLE users ADD IF NOT EXISTS generation int",
        "ALTER TABLE users ADD IF NOT EXISTS refreshed_us bigint",
        # For the search by prefix: partitions by the first two characters.
        "CREATE TABLE IF NOT EXISTS names (bucket text, user text, PRIMARY KEY (bucket, user))",
        _list_names,
    ),
    # True, or nothing.
    ("ALTER TABLE users ADD IF NOT EXISTS disabled boolean STATIC",),
    ("ALTER TABLE files ADD IF NOT EXISTS upload_expires_ms bigint",),
    (
        "ALTER TABLE users ADD IF NOT EXISTS epoch bigint STATIC",
        # Of the newest session of a release that tells them.
        "ALTER TABLE users ADD IF NOT EXISTS start bigint",
        "ALTER TABLE users ADD IF NOT EXISTS tries bigint",
        "ALTER TABLE users ADD IF NOT EXISTS nonce text",
    ),
    (
        "ALTER TABLE inbox ADD IF NOT EXISTS author text",
        "ALTER TABLE inbox ADD IF NOT EXISTS size int",
        # For an owner's limits, where an index over `files` would ask every node.
        """CREATE TABLE IF NOT EXISTS uploads (
            owner text,
            file text,
            created_ms bigint,
            size bigint,
            upload_expires_ms bigint,
            complete boolean,
            PRIMARY KEY (owner, file)
        )""",
    ),
    # Which broker works on the keyspace, where only one may.
    ("CREATE TABLE IF NOT EXISTS owners (id int PRIMARY KEY, claim text, holder text)",),
    # Conversations: `store.cassandra.timeline_keys` says what the write times and the spans are.
    (
        "CREATE TABLE IF NOT EXISTS history (id int PRIMARY KEY, keep_days int, since_ms bigint, floor bigint)",
        # A message has `editor` ''; its edits are beside it.
        """CREATE TABLE IF NOT EXISTS bodies (
            conversation text,
            author text,
            device text,
            stream bigint,
            part bigint,
            id bigint,
            editor text,
            audience tinyint,
            edit_stream bigint,
            kind int,
            stamp bigint,
            both_stamp bigint,
            value blob,
            erased_by text,
            PRIMARY KEY ((conversation, author, device, stream, part), id, editor, audience, edit_stream)
        )""",
        """CREATE TABLE IF NOT EXISTS timeline (
            conversation text,
            viewers tinyint,
            span int,
            stamp bigint,
            tie blob,
            author text,
            device text,
            stream bigint,
            id bigint,
            kind int,
            size int,
            PRIMARY KEY ((conversation, viewers, span), stamp, tie)
        ) WITH CLUSTERING ORDER BY (stamp DESC, tie DESC)""",
        """CREATE TABLE IF NOT EXISTS spans (
            conversation text,
            viewers tinyint,
            span int,
            PRIMARY KEY ((conversation, viewers), span)
        ) WITH CLUSTERING ORDER BY (span DESC)""",
        """CREATE TABLE IF NOT EXISTS members (
            user text,
            other text,
            span int,
            hidden bigint,
            private bigint,
            public bigint,
            PRIMARY KEY (user, other)
        )""",
        """CREATE TABLE IF NOT EXISTS kept_files (
            file text,
            conversation text,
            author text,
            device text,
            stream bigint,
            id bigint,
            PRIMARY KEY (file, conversation, author, device, stream, id)
        )""",
        "CREATE TABLE IF NOT EXISTS usage (user text, day int, rows counter, bytes counter, PRIMARY KEY (user, day))",
        """CREATE TABLE IF NOT EXISTS reports (
            bucket int,
            report text,
            reporter text,
            told text,
            PRIMARY KEY (bucket, report)
        )""",
    ),
    ("ALTER TABLE users ADD IF NOT EXISTS friends_may_add_me boolean STATIC",),
    # Groups: `store.cassandra.group_states` says what the parts of a partition are, and which rows `group_lists` has.
    (
        "ALTER TABLE users ADD IF NOT EXISTS checkpoint bigint",
        "ALTER TABLE timeline ADD IF NOT EXISTS version bigint",
        "ALTER TABLE timeline ADD IF NOT EXISTS open boolean",
        "ALTER TABLE timeline ADD IF NOT EXISTS settled bigint",
        # Of a row beside a group's message, for each attempt.
        "ALTER TABLE bodies ADD IF NOT EXISTS version bigint",
        "ALTER TABLE bodies ADD IF NOT EXISTS open boolean",
        """CREATE TABLE IF NOT EXISTS group_states (
            group_id text,
            part tinyint,
            key text,
            version bigint STATIC,
            name text STATIC,
            picture text STATIC,
            admins_write boolean STATIC,
            admins_add boolean STATIC,
            open boolean STATIC,
            created_ms bigint STATIC,
            closed_ms bigint STATIC,
            role tinyint,
            since bigint,
            until bigint,
            left_ms bigint,
            told text,
            PRIMARY KEY (group_id, part, key)
        )""",
        """CREATE TABLE IF NOT EXISTS group_lists (
            user text,
            group_id text,
            left_ms bigint,
            PRIMARY KEY (user, group_id)
        )""",
        # Before when (Unix ms) all rows are, to the minute, so that it is rarely written.
        "CREATE TABLE IF NOT EXISTS group_newest (group_id text PRIMARY KEY, until bigint)",
        # By the day of their end, for the sweep.
        "CREATE TABLE IF NOT EXISTS group_ends (day int, group_id text, PRIMARY KEY (day, group_id))",
        """CREATE TABLE IF NOT EXISTS group_invitations (
            user text,
            group_id text,
            change text STATIC,
            invited_by text,
            ms bigint,
            PRIMARY KEY (user, group_id)
        )""",
        """CREATE TABLE IF NOT EXISTS group_links (
            group_id text,
            link text,
            digest text,
            ends_ms bigint,
            uses_left int,
            made_by text,
            uses set<text>,
            PRIMARY KEY (group_id, link)
        )""",
        "CREATE TABLE IF NOT EXISTS group_secrets (digest text PRIMARY KEY, group_id text, link text)",
    ),
    # `told`: all of a user's, as JSON.
    ("CREATE TABLE IF NOT EXISTS mutes (user text PRIMARY KEY, told text)",),
    # `reset_code`: as `store.codes.ResetCode` writes it. Invitations have a time to live, and so does the list of them.
    (
        "ALTER TABLE users ADD IF NOT EXISTS reset_code text STATIC",
        "ALTER TABLE users ADD IF NOT EXISTS invitation text STATIC",
        """CREATE TABLE IF NOT EXISTS invitations (
            digest text PRIMARY KEY,
            invitation text,
            made_ms bigint,
            ends_ms bigint,
            uses int,
            uses_left int,
            used_by set<text>,
            note text
        )""",
        """CREATE TABLE IF NOT EXISTS invitation_list (
            bucket int,
            invitation text,
            digest text,
            PRIMARY KEY (bucket, invitation)
        )""",
    ),
    # Whose account somebody's is whom an OpenID provider knows; and of each account, who leads to it.
    (
        """CREATE TABLE IF NOT EXISTS oidc_subjects (
            issuer text,
            subject text,
            user text,
            linked_ms bigint,
            PRIMARY KEY ((issuer, subject))
        )""",
        """CREATE TABLE IF NOT EXISTS oidc_subjects_of (
            user text,
            issuer text,
            subject text,
            PRIMARY KEY (user, issuer, subject)
        )""",
    ),
)
"""Statements and functions of each version, oldest first; each may be repeated."""
VERSION = len(STEPS)
OLDEST = 6
"""The lowest schema whose releases can go on with this one: a step that only adds leaves it at the release before."""

CLOSED = 1_000_000
"""The version, and the oldest one, of a keyspace that `sparrow migrate` has not filled yet, or has left: no release
goes in."""
LEFT = "left"
"""What the column `migration` then says."""

_APPLY = "run: sparrow schema apply"


def apply(settings: StoreSettings, say: Callable[[str], None] = print, keep_days: int = 0) -> None:
    """Bring keyspace and tables to this version; `say` is told each step. May be repeated, from one place at a time.
    What it makes from nothing keeps conversations for `keep_days`.

    Raises `ConfigError` for a newer schema that leaves us behind and for settings that are wrong, `StoreError` when
    Cassandra is away.
    """
    with connect(settings) as connection:
        _make_keyspace(connection, settings, say)
        connection.execute(f"USE {settings.cassandra_keyspace}")
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (id int PRIMARY KEY, version int)")
        connection.execute("ALTER TABLE schema_version ADD IF NOT EXISTS oldest int")
        found = _version(connection, settings)
        for number, step in enumerate(STEPS[found:], found + 1):
            for change in step:
                if callable(change):
                    change(connection)
                else:
                    connection.execute(change)
            keep = "INSERT INTO schema_version (id, version, oldest) VALUES (0, %s, %s)"
            connection.execute(keep, (number, min(number, OLDEST)))
            say(f"keyspace {settings.cassandra_keyspace}: schema {number} was made")
        if found == 0 and keep_days:
            terms = "INSERT INTO history (id, keep_days, since_ms, floor) VALUES (0, %s, %s, 0) IF NOT EXISTS"
            connection.execute(terms, (keep_days, int(time.time() * 1000)))
        if found >= VERSION:
            say(f"keyspace {settings.cassandra_keyspace}: schema {found} was there already, nothing to do")


def enter_keyspace(connection: Connection, settings: StoreSettings) -> None:
    """Use our keyspace. Raises `ConfigError` if it, or its tables, are not those of this version."""
    try:
        connection.enter(settings.cassandra_keyspace)
        found = _version(connection, settings)
    except InvalidRequest:
        keyspace = f'the keyspace "{settings.cassandra_keyspace}"'
        raise ConfigError(f"store {where(settings)}: {keyspace} is not there, or not ours: {_APPLY}") from None
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
        say(f"keyspace {keyspace} was made, with replication {settings.cassandra_replication}")
    elif {name: str(value).rpartition(".")[2] for name, value in there.items()} != {
        name: str(value) for name, value in wanted.items()
    }:
        say(
            f"keyspace {keyspace} has replication {there}, not store.cassandra_replication; it stays as it is. "
            "To change it: ALTER KEYSPACE, then nodetool repair --full on each node"
        )


def _version(connection: Connection, settings: StoreSettings) -> int:
    """0: none yet. Raises `ConfigError` for one that this release cannot go on with."""
    # By name: which columns there are depends on who has applied a schema here.
    rows = connection.execute("SELECT JSON * FROM schema_version WHERE id = 0")
    row = json.loads(rows[0][0]) if rows else {}
    found: int = row.get("version") or 0
    if found == CLOSED and row.get("migration") == LEFT:
        raise ConfigError(
            f'store {where(settings)}: the keyspace was moved to SQLite by sparrow migrate: set store.engine = "sqlite"'
        )
    if found == CLOSED:
        raise ConfigError(
            f"store {where(settings)}: sparrow migrate is filling the keyspace and has not finished: go on with "
            'store.engine = "sqlite" until it has (sparrow migrate --to cassandra --finish)'
        )
    if found > VERSION and (row.get("oldest") or found) > VERSION:
        raise ConfigError(
            f"store {where(settings)}: the tables were made by a newer Sparrow (schema {found}, this one knows "
            f"{VERSION}): run that one, or name another keyspace in store.cassandra_keyspace"
        )
    return found
