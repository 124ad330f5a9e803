"""The store is away while two people are online: nobody is told SENT, what is delivered is told at once, and all of it
is SENT when it is back (docs/design/history.md, H1)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.pages import compare, page_all
from tests.cluster.people import People
from tests.cluster.processes import Deployment
from tests.cluster.story import start

pytestmark = pytest.mark.slow

NAMES = ("alice/a1", "bob/b1")
WINDOW = 256
"""Unsettled messages of a stream, at most."""
MORE = 50
QUIET_S = 1.0
"""What was on its way has come by then."""


@pytest.fixture
def deployed() -> dict[str, object]:
    return {"store__busy_timeout_s": 0.3}


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process writes to the database, and does not come to an end."""
    connection = sqlite3.connect(database, timeout=30, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


async def test_the_database_is_locked(deployment: Deployment, tmp_path: Path) -> None:
    node = deployment.node()
    await start(node)
    people = People(await deployment.tokens(NAMES), [node.address])
    alice, bob = people.devices.values()
    ledger = people.ledger
    try:
        await people.all_online()
        for _ in range(10):
            alice.write("bob")
            bob.write("alice")
        await ledger.until(lambda: ledger.settled_all, "SENT of all")
        with locked(tmp_path / "sparrow.db"):
            before = ledger.sent
            for _ in range(WINDOW + MORE):
                alice.write("bob")
            bob.write("alice")
            await ledger.until(lambda: len(ledger.early) == WINDOW + 1, "DELIVERED before SENT")
            await asyncio.sleep(QUIET_S)
            assert ledger.sent == before
            # A conversation stops at so many that are unsettled; the other way it goes on.
            assert len(ledger.early) == WINDOW + 1
            assert len(ledger.shown["bob/b1"]) == 10 + WINDOW
            assert (alice.core.unsettled, bob.core.unsettled) == (WINDOW + MORE, 1)
        await people.finish()
        assert len(ledger.shown["bob/b1"]) == 10 + WINDOW + MORE
        compared = compare(ledger, await page_all(deployment.api, await deployment.new_devices(("alice", "bob"))))
        assert not compared.wrong
        assert compared.paged == 2 * len(ledger.written)
    finally:
        print(people.account())
        await people.close()
    assert (ledger.twice, ledger.out_of_order, ledger.refused, ledger.broken) == (0, 0, [], [])
