"""Clusters for rows: one of `scripts/cluster` for as many rows as possible, and a far broker where a row wants one.

Owns their coming and going. Used by the tests and by `scripts/faults`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.cluster.faults.far import FarBroker
from tests.cluster.faults.story import Result, Row, Size, Times, tell
from tests.cluster.whole import Whole


@asynccontextmanager
async def running(folder: Path, cassandra: int) -> AsyncIterator[Whole]:
    """A cluster with so many nodes of Cassandra; nothing of it is left behind."""
    cluster = Whole(folder)
    try:
        await cluster.run("start", "--cassandra", str(cassandra))
        yield cluster
    finally:
        cluster.call("clean")


async def play(cluster: Whole, row: Row, times: Times, size: Size) -> Result:
    """One row. Leaves the cluster whole."""
    if not row.far:
        return await tell(cluster, row, times, size)
    far = FarBroker(cluster)
    try:
        await far.up([cluster.folder / f"connector-{n}.log" for n in (1, 2, 3)])
        result = await tell(cluster, row, times, size, far)
    finally:
        far.close()
    assert "Traceback" not in far.log, far.log
    return result
