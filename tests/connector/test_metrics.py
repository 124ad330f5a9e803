"""What a connector tells of itself: each number moves with what it counts."""

from __future__ import annotations

from connector.metrics import metrics
from fabric.group_records import GroupCopy, GroupRows, pack_group_rows
from fabric.records import DELIVERED, KNOWS_GROUPS, KNOWS_SIGNALS, SAFE, UNAVAILABLE
from fabric.signal_records import SignalDown
from protocol.sparrow_pb2 import Frame, Signal
from tests.connector.bench import B1, Bench, copy, kept_message
from tests.metrics import nonzero


def values(bench: Bench) -> dict[str, float]:
    return nonzero(metrics(bench.core), "sparrow_connector_")


def test_what_authors_are_told() -> None:
    bench = Bench()
    alice = bench.live("alice/a1")
    for number in (1, 2, 3):
        alice.writes(number)
    alice.writes(2)
    before = values(bench)
    assert (before["messages_total"], before["attempts"], before["repeats_total"]) == (4, 4, 1)
    first = bench.core.attempts._first
    bench.outcome(first + 1, DELIVERED)
    bench.outcome(first + 2, SAFE)
    bench.outcome(first + 3, UNAVAILABLE)
    after = values(bench)
    assert (after["sent_total"], after["delivered_total"], after["failed_total UNAVAILABLE"]) == (2, 1, 1)
    assert after["attempts"] == 1
    alice.hangs_up()
    assert values(bench)["repeats_total"] == 1


def test_what_devices_get() -> None:
    bench = Bench(max_unacked=4)
    bob = bench.settling()
    assert values(bench)["sessions_behind"] == 1
    bench.page(bob, [(b"key", 1, kept_message(1))])
    bob.acks(1)
    assert "sessions_behind" not in values(bench)
    bench.receives(copy(bob, 1), copy(bob, 2))
    found = values(bench)
    assert (found["rows_total"], found["copies_total"]) == (1, 2)
    assert found["buffered_bytes"] > 0
    bob.hangs_up()
    found = values(bench)
    assert found["requeued_total"] == 2
    assert "buffered_bytes" not in found


def test_what_devices_get_of_groups() -> None:
    bench = Bench(max_unacked=8)
    bench.heartbeat(B1, flags=KNOWS_GROUPS)
    bob = bench.live(understands=("groups",))
    assert values(bench)["group_sessions_behind"] == 1  # nobody has answered what it has to catch up with
    reading = bob.session.groups
    assert reading is not None
    row = pack_group_rows((), [kept_message(1)])
    bench.receives(GroupRows(bob.session.number, reading.request, 5, end=True, body=row).encode())
    found = values(bench)
    assert found["group_rows_total"] == 1
    assert "group_sessions_behind" not in found
    copied = GroupCopy(b"~" + b"a" * 24, b"alice/a1", 1, 7, [bob.session.number, 99], kept_message(2))
    bench.receives(copied.encode())
    assert values(bench)["group_copies_total"] == 1


def test_signals() -> None:
    bench = Bench()
    bench.heartbeat(B1, flags=KNOWS_SIGNALS)
    alice, bob = bench.live("alice/a1"), bench.live("bob/b1", understands=("signals",))
    typing = Frame(signal=Signal(kind=Signal.TYPING, dest_id="bob"))
    alice.says(typing, Frame(signal=Signal(kind=3, dest_id="bob")), typing)
    bench.receives(SignalDown(b"alice/a1", [bob.session.number, alice.session.number, 9], b"").encode())
    found = values(bench)
    assert (found["signals_total"], found["signals_dropped_total"]) == (2, 1)
    assert (found["signal_copies_total"], found["signal_copies_dropped_total"]) == (1, 2)


def test_who_comes_and_goes() -> None:
    bench = Bench()
    bench.connect()
    alice = bench.live("alice/a1")
    found = values(bench)
    assert (found["connections"], found["sessions"], found["logins_total"]) == (2, 1, 1)
    assert found["broker_up tcp://broker-1"] == 1
    assert found["records_total"] >= found["batches_total"] == len(bench.ports.batches) > 1
    alice.logout()
    assert values(bench)["goodbyes_total LOGGED_OUT"] == 1
    bench.live("bob/b1")
    found = values(bench)
    assert (found["connections"], found["sessions"], found["logins_total"]) == (3, 1, 2)
