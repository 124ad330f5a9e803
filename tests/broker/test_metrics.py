"""What a broker tells of itself: each number moves with what it counts."""

from __future__ import annotations

from broker.metrics import metrics
from broker.timings import Timings
from fabric.records import ONLINE, PAGE, REMOVE, pack_keys, record
from store.interface import Page, Row
from store.sessions import NoSession
from tests.broker.bench import A, Bench, route
from tests.metrics import nonzero

USERS = {"alice": ["a1"], "bob": ["b1"]}


def values(bench: Bench) -> dict[str, float]:
    return nonzero(metrics(bench.core, online=7, members=2), "sparrow_broker_")


def test_messages() -> None:
    bench = Bench(USERS)
    assert (values(bench)["online"], values(bench)["members"]) == (7, 2)
    bench.receives(route(1), route(2, to="nobody"))
    assert values(bench)["waiting_routes"] == 2
    while bench.asked("devices"):
        bench.read_devices()
    found = values(bench)
    assert (found["routed_total"], found["refused_total NO_SUCH_USER"], found["storing_rows"]) == (1, 1, 1)
    assert found["storing_bytes"] > 0
    bench.store_everything()
    found = values(bench)
    assert found["stored_total"] == 1
    assert "storing_rows" not in found
    bench.receives(route(3))
    bench.away("append")
    assert values(bench)["store_failed_total"] == 1
    assert values(bench)["records_total"] >= values(bench)["batches_total"] > 0


def test_logins_and_inboxes() -> None:
    bench = Bench(USERS)
    bench.receives(
        record(ONLINE, to=b"alice/a1", session=5, attempt=50), record(PAGE, to=b"bob/b1", session=6, count=9)
    )
    bench.answer("begin_sessions", [NoSession.NO_DEVICE])
    bench.answer("page", [Page((Row(b"k", 1, b"x"), Row(b"l", 1, b"y")), b"", end=True)])
    bench.receives(record(REMOVE, to=b"bob/b1", body=pack_keys([b"k", b"l", b"m"])), connector=A)
    found = values(bench)
    assert (found["logins_total NO_DEVICE"], found["rows_total"], found["removed_total"]) == (1, 2, 3)


def test_notifications_that_nobody_has_confirmed() -> None:
    bench = Bench(USERS)
    bench.receives(route(1))
    while not bench.asked("append"):
        bench.read_devices()
    bench.goes_online("bob/b1")
    bench.store_everything(hear=False)
    assert values(bench)["notifications"] == 1


def test_timings() -> None:
    timings = Timings("store", "calls of the store")
    timings.took("append", 0.003)
    timings.took("append", 7.0)
    timings.failed("page")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in timings.metrics()
        for sample in metric.samples
    }
    assert found["sparrow_broker_store_seconds_count", "append"] == 2
    assert found["sparrow_broker_store_seconds_bucket", "append", "0.005"] == 1
    assert found["sparrow_broker_store_failures_total", "page"] == 1
