"""Stores of before groups: brought up to date, and used by releases that know no groups at the same time."""

from __future__ import annotations

from dataclasses import replace

from store import HistorySettings
from store.cassandra import CassandraStore, apply
from store.cassandra.connecting import Connection, connect
from store.cassandra.schema import STEPS, VERSION
from store.cassandra.timeline_keys import message_time, pack_value, tie_of
from store.timeline_rules import day_of, stored
from tests.store.conftest import shared_cassandra
from tests.store.group_helpers import G, circle, scanned
from tests.store.timeline_helpers import AB, bodies_of, entry, keep


async def test_history_of_before_groups_is_read_and_neighbours_go_on() -> None:
    """A keyspace of history's schema, and what a broker of that release goes on writing there."""
    settings = shared_cassandra().settings
    history, other = 10, replace(settings, cassandra_keyspace=settings.cassandra_keyspace + "_history")
    with connect(other) as connection:
        try:
            connection.execute(
                f"CREATE KEYSPACE {other.cassandra_keyspace} "
                "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
            )
            connection.execute(f"USE {other.cassandra_keyspace}")
            connection.execute("CREATE TABLE schema_version (id int PRIMARY KEY, version int, oldest int)")
            for step in STEPS[:history]:
                for change in step:
                    if isinstance(change, str):
                        connection.execute(change)
            connection.execute(f"INSERT INTO schema_version (id, version, oldest) VALUES (0, {history}, 6)")
            connection.execute("INSERT INTO history (id, keep_days, since_ms, floor) VALUES (0, 365, 1, 0)")
            _as_of_history(connection, 1)
            apply(other, lambda _: None)
            ((version, oldest),) = connection.execute("SELECT version, oldest FROM schema_version")
            assert (version, oldest) == (VERSION, 6)
            _as_of_history(connection, 2)
            async with CassandraStore(other, history=HistorySettings(ledger="")) as store:
                assert await bodies_of(store) == [b"2", b"1"]
                assert await store.timelines.unread("bob", [AB]) == {AB: 2}
                there = await circle(store, "bob")
                await keep(store, entry(3), there.text(4))
                assert await scanned(store, "bob") == [4]
                assert [one.other for one in await store.timelines.conversations("bob", "", 9)] == ["alice", G]
        finally:
            connection.execute(f"DROP KEYSPACE IF EXISTS {other.cassandra_keyspace}")


def _as_of_history(connection: Connection, number: int) -> None:
    """A message of alice's, with the statements of that release."""
    one = entry(number)
    at, day = one.stamp, day_of(one.stamp)
    name = (*one.name[:2], stored(one.name.stream))
    connection.execute(
        "INSERT INTO timeline (conversation, viewers, span, stamp, tie, author, device, stream, id, kind, size) "
        "VALUES (%s, 0, %s, %s, %s, %s, %s, %s, %s, 1, 1) USING TTL 9999",
        (AB, day, at, tie_of(one.name), *name, number),
    )
    connection.execute("INSERT INTO spans (conversation, viewers, span) VALUES (%s, 0, %s)", (AB, day))
    for user, other in (("alice", "bob"), ("bob", "alice")):
        connection.execute(
            f"UPDATE members USING TIMESTAMP {day + 1} SET span = %s WHERE user = %s AND other = %s", (day, user, other)
        )
    connection.execute(
        "INSERT INTO bodies (conversation, author, device, stream, part, id, editor, audience, edit_stream, kind, "
        "stamp, value, both_stamp) VALUES (%s, %s, %s, %s, 0, %s, '', 0, 0, 1, %s, %s, %s) "
        f"USING TIMESTAMP {message_time(at)} AND TTL 9999",
        (AB, *name, number, at, pack_value(one.body, b"", ""), at),
    )
