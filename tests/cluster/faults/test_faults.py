"""The fault table, row by row, at 200 messages a second: whatever breaks, nothing is lost, repeated or out of order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.faults.crowd import Account
from tests.cluster.faults.rows import ROWS
from tests.cluster.faults.running import play
from tests.cluster.faults.story import SHORT, Result, Row, size
from tests.cluster.faults.wire import usable
from tests.cluster.whole import Whole

pytestmark = pytest.mark.slow

RATE = 200.0
LONGER = {"nothing", "rolling-restart", "pause-cassandra", "stop-everything", "slow-link", "cut-etcd"}
"""Rows for `scripts/test full`, like those for which a cluster has to grow. In CI `tests/cluster/test_stops.py` and
`tests/releases/test_mixed.py` stop each process in its turn, `tests/store/test_cassandra_node.py` kills a Cassandra,
`tests/cluster/test_store_away.py` has a store that stands still, `tests/cluster/test_whole.py` stops everything, the
row stop-etcd takes etcd from all brokers, and in the simulation links are slow, and one broker's watch of etcd."""
BY_CLUSTER = [
    pytest.param(row, id=row.name, marks=[pytest.mark.full] if row.cassandra > 1 or row.name in LONGER else [])
    for row in sorted(ROWS.values(), key=lambda row: row.cassandra)
]
"""Rows that share a cluster stand together."""


@pytest.fixture(scope="module")
def cluster_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Whole]]:
    """The running cluster with so many Cassandra nodes; one at a time."""
    running: dict[int, Whole] = {}

    def of(nodes: int) -> Whole:
        if nodes not in running:
            clean()
            running[nodes] = Whole(tmp_path_factory.mktemp(f"cluster-{nodes}"))
            done = running[nodes].call("start", "--cassandra", str(nodes))
            assert done.returncode == 0, done.stdout + done.stderr
        return running[nodes]

    def clean() -> None:
        while running:
            running.popitem()[1].call("clean")

    try:
        yield of
    finally:
        clean()


def needs_wires() -> None:
    """Skip where there are none, but not under CI."""
    if why := usable():
        assert not os.environ.get("CI"), why
        pytest.skip(why)


@pytest.mark.parametrize("row", BY_CLUSTER)
async def test_the_promise_is_kept(row: Row, cluster_of: Callable[[int], Whole]) -> None:
    if row.far:
        needs_wires()
    result = await play(cluster_of(row.cassandra), row, SHORT, size(RATE))
    print(result.line)
    result.check()


def good(**changes: object) -> Result:
    """As if a row had gone well, but for these."""
    values = {"written": 4, "sent": 4, "delivered": 3, "texts": 3, "read": 3, "grouped": 1, "paged": 6, **changes}
    return Result("a row", Account(**values), [])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"lost": 1},
        {"twice": 1},
        {"out_of_order": 1},
        {"sent": 3},
        {"delivered": 2},
        {"read": 2},
        {"written": 0, "sent": 0},
        {"waiting": ["something"]},
        {"refused": ["no such user"]},
        {"broken": ["a frame"]},
        {"goodbyes": {"MALFORMED": 1}},
        {"grouped": 0},
        {"paged": 5},
        {"differing": ["something"]},
    ],
    ids=str,
)
def test_what_is_amiss_is_seen(changes: dict[str, object]) -> None:
    good().check()
    with pytest.raises(AssertionError):
        good(**changes).check()


def test_accounts_of_crowds_add_up() -> None:
    one = Account(written=2, sent=2, gap_s=1.0, gap_touched_s=5.0, rate=100, goodbyes={"MOVE": 1}, waiting=["a"])
    two = Account(written=3, sent=1, gap_s=2.0, gap_touched_s=4.0, rate=50, goodbyes={"MOVE": 2, "TRY_AGAIN": 1})
    both = one + two
    assert (both.written, both.sent, both.rate, both.waiting) == (5, 3, 150, ["a"])
    assert (both.gap_s, both.gap_touched_s) == (2.0, 5.0)
    assert both.goodbyes == {"MOVE": 3, "TRY_AGAIN": 1}
