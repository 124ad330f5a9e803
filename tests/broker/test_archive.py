"""The archive copy: what goes into a timeline, when it is safe, and that changes go to the store first."""

from __future__ import annotations

import pytest

from broker.core.archive import MARKS_S
from fabric.records import (
    BLOCKED,
    CHANGE,
    COPY,
    HISTORY_FULL,
    NO_SPACE,
    NO_SUCH_USER,
    NOT_ALLOWED,
    OUTCOMES,
    QUIET,
    RECEIPT,
    SAFE,
    TRACED,
    UNAVAILABLE,
)
from protocol.files import FileReference
from protocol.sparrow_pb2 import EDIT, ERASE, FILE, READ, TEXT, About, Message
from store.contacts import Verdict
from store.timelines import R_B_MS, Archived, Audience, Edit, Entry, Erasure, Mark, Name, Result
from tests.broker.bench import WALL_MS, B, Bench, C, outcomes, route

USERS = {"alice": ["a1"], "bob": ["b1"], "carol": []}
NOW_MS = WALL_MS + 1_000_000
"""Unix time of a bench's begin."""
KEPT = Archived(Result.KEPT)
TARGET = Name("alice", "a9", 7, 3)


def message(
    kind: int = TEXT, body: bytes = b"hello", *, stamp_ms: int = NOW_MS, dest: str = "bob", **more: object
) -> bytes:
    """A message of alice as a connector hands it on."""
    fields = {"stream": 9, "id": 4, "settled": 1, "from_id": "alice", "from_device": "a1", "dest_id": dest, **more}
    return Message(kind=kind, body=body, stamp=stamp_ms << 20, **fields).SerializeToString()  # type: ignore[arg-type]


def change(kind: int, body: bytes = b"", **more: object) -> bytes:
    """An EDIT or ERASE of `TARGET`, as an attempt."""
    about = About(from_device="a9", stream=7, ids=[3])
    return route(5, body=message(kind, body, about=about, **more), flags=QUIET | CHANGE)


def ready(keep_days: int = 365, **settings: object) -> Bench:
    """A broker that knows everybody's devices, with bob online."""
    bench = Bench(USERS, keep_days=keep_days, **settings)  # type: ignore[arg-type]
    bench.receives(route(9, flags=QUIET, body=message(READ, b"")))
    bench.read_devices()
    bench.store_everything()
    bench.goes_online("bob/b1", B, 20)
    bench.sent()
    return bench


# Messages.


def test_a_message_has_one_more_copy_which_stands_in_the_timeline() -> None:
    bench = ready()
    about = About(from_device="b1", stream=1, ids=[2])
    bench.receives(route(5, body=message(about=about)))
    (copy,) = bench.sent(COPY)
    assert (copy.index, copy.count) == (0, 2)
    name = Name("alice", "a1", 9, 4)
    entry = Entry("alice+bob", name, NOW_MS << 20, TEXT, b"hello", about.SerializeToString())
    assert bench.asked("archive") == [[entry]]
    assert not bench.core.idle
    bench.answer("archive", [KEPT])
    assert outcomes(bench.sent()) == [(5, 1, 2, SAFE)]
    assert (bench.core.archive.kept, bench.core.idle) == (1, True)


def test_where_nothing_is_kept_nothing_is_asked() -> None:
    bench = ready(keep_days=0)
    bench.receives(route(5, body=message()), route(6, flags=QUIET, body=message(READ, b"", mark=1)), change(ERASE))
    assert {rec.count for rec in bench.sent(COPY)} == {1}
    bench.passes(1.0)
    assert not bench.asked("archive")
    assert not bench.asked("raise_marks")


@pytest.mark.parametrize("flags", [QUIET, RECEIPT])
def test_reads_and_receipts_are_not_kept(flags: int) -> None:
    bench = ready()
    bench.receives(route(5, flags=flags, body=message(READ, b"")))
    assert not bench.asked("archive")


def test_notes_to_oneself_are_kept() -> None:
    bench = ready()
    bench.receives(route(5, to="alice", body=message(dest="alice")))
    ((entry,),) = bench.asked("archive")
    assert entry.conversation == "alice+alice"
    bench.answer("archive", [KEPT])
    assert outcomes(bench.sent()) == [(5, 0, 1, SAFE)]


def test_a_file_is_named_where_it_can_be_read() -> None:
    bench = ready()
    body = FileReference("ab" * 16, "a.txt", "text/plain", 3, "cd" * 32).encode()
    bench.receives(route(5, body=message(FILE, body)), route(6, body=message(FILE, b"{}")))
    ((one, other),) = bench.asked("archive")
    assert (one.file, other.file) == ("ab" * 16, "")


def test_each_entry_has_an_answer_of_its_own() -> None:
    bench = ready()
    bench.receives(*(route(5 + at, body=message(id=at + 1)) for at in range(4)))
    bench.sent()
    states = [Result.KEPT, Result.FAILED, Result.FULL, Result.NOT_ALLOWED]
    bench.answer("archive", [Archived(state) for state in states])
    found = [state for _, _, _, state in outcomes(bench.sent())]
    assert found == [SAFE, UNAVAILABLE, HISTORY_FULL, NOT_ALLOWED]
    assert bench.core.archive.refused == {UNAVAILABLE: 1, HISTORY_FULL: 1, NOT_ALLOWED: 1}


def test_without_the_store_nothing_is_kept() -> None:
    bench = ready()
    bench.receives(route(5, body=message()))
    bench.sent()
    bench.away("archive")
    assert outcomes(bench.sent()) == [(5, 1, 2, UNAVAILABLE)]


@pytest.mark.parametrize("off_ms", [R_B_MS + 1000, -R_B_MS - 1000])
def test_a_place_that_pages_have_passed_is_no_place(off_ms: int) -> None:
    bench = ready()
    bench.receives(route(5, body=message(stamp_ms=NOW_MS + off_ms)))
    bench.sent()
    bench.answer("archive", [KEPT])
    assert outcomes(bench.sent()) == [(5, 1, 2, UNAVAILABLE)]


def test_an_append_that_takes_too_long_has_no_place_either() -> None:
    bench = ready()
    bench.receives(route(5, body=message()))
    bench.sent()
    bench.jumps(R_B_MS / 1000 + 1)
    bench.answer("archive", [KEPT])
    assert (5, 1, 2, UNAVAILABLE) in outcomes(bench.sent())


def test_what_is_on_its_way_is_bounded() -> None:
    for limits in ({"max_archiving_rows": 1}, {"max_archiving_bytes": 80}):
        bench = ready(history=limits)
        bench.receives(route(5, body=message()), route(6, body=message()))
        assert outcomes(bench.sent()) == [(6, 1, 2, UNAVAILABLE)]


def test_a_disk_that_is_nearly_full_takes_erasures_only() -> None:
    bench = ready()
    bench.store.full = True
    bench.passes(1.1)
    bench.sent()
    bench.receives(route(5, body=message()), change(ERASE))
    assert (5, 1, 2, NO_SPACE) in outcomes(bench.sent())
    ((kept,),) = bench.asked("archive")
    assert isinstance(kept, Erasure)


def test_batches_are_bounded_and_so_are_appends_in_flight() -> None:
    bench = ready(max_batch_rows=2, max_appends_in_flight=2)
    bench.receives(*(route(5 + at, body=message(id=at + 1)) for at in range(5)))
    assert [len(batch) for batch in bench.asked("archive")] == [2, 2]
    bench.answer("archive", [KEPT, KEPT])
    assert [len(batch) for batch in bench.asked("archive")] == [2, 1]


def test_what_a_silent_block_swallows_is_for_its_author_alone() -> None:
    bench = ready(blocks_are_silent=True)
    bench.store.judge = {("alice", "bob"): Verdict.BLOCKED}
    bench.core.changed(["bob"])
    bench.receives(route(5, body=message()))
    bench.read_devices()
    assert not bench.sent(COPY)
    ((entry,),) = bench.asked("archive")
    assert entry.audience is Audience.AUTHOR
    bench.answer("archive", [KEPT])
    assert outcomes(bench.sent()) == [(5, 0, 1, SAFE)]


def test_what_cannot_be_read_keeps_nobody_else_waiting() -> None:
    bench = ready()
    bench.receives(route(5, body=b"\xff"), route(6, body=message()))
    assert len(bench.asked("archive")[0]) == 1
    assert bench.core.records_unreadable == 1


def test_traced_messages_are_followed() -> None:
    bench = ready()
    bench.receives(route(5, body=message(), flags=TRACED), route(6, body=message(id=5), flags=TRACED))
    bench.answer("archive", [KEPT, Archived(Result.FULL)])
    told = [text for _, _, text in bench.core.turn.traces]
    assert "stands in the timeline" in told
    assert "is not in the timeline: HISTORY_FULL" in told


# Marks.


def test_a_read_raises_marks_of_the_last_moment_together() -> None:
    bench = ready()
    stamps = [5, 9, 7]
    bench.receives(*(route(5, flags=QUIET, body=message(READ, b"", mark=stamp)) for stamp in stamps))
    bench.passes(MARKS_S)
    assert bench.asked("raise_marks") == [[Mark("alice", "alice+bob", 9, True)]]
    bench.receives(route(5, flags=QUIET, body=message(READ, b"")))
    bench.passes(2 * MARKS_S)
    assert len(bench.asked("raise_marks")) == 1, "a READ of an older client tells no mark"


def test_a_mark_ahead_of_its_time_is_clamped() -> None:
    bench = ready()
    bench.receives(route(5, flags=QUIET, body=message(READ, b"", mark=2**64 - 1)))
    bench.passes(MARKS_S)
    ((mark,),) = bench.asked("raise_marks")
    assert mark.stamp == NOW_MS + R_B_MS << 20


def test_a_read_that_a_block_swallows_moves_only_ones_own_mark() -> None:
    bench = ready(blocks_are_silent=True)
    bench.store.judge = {("alice", "bob"): Verdict.BLOCKED}
    bench.core.changed(["bob"])
    bench.receives(route(5, flags=QUIET, body=message(READ, b"", mark=7)))
    bench.read_devices()
    bench.passes(MARKS_S)
    assert bench.asked("raise_marks") == [[Mark("alice", "alice+bob", 7, False)]]


# Changes.


def test_nobody_gets_a_change_that_the_store_has_not_taken() -> None:
    bench = ready()
    bench.receives(change(EDIT, b"better", revision=2))
    assert not bench.sent()
    edit = Edit("alice+bob", TARGET, Name("alice", "a1", 9, 4), NOW_MS << 20, 2, b"better")
    assert bench.asked("archive") == [[edit]]
    bench.answer("archive", [KEPT])
    (copy,) = bench.sent(COPY)
    assert (copy.connector, copy.to, copy.flags, copy.index, copy.count) == (B, b"bob/b1", QUIET, 0, 1)


@pytest.mark.parametrize(
    ("result", "state"),
    [(Result.FAILED, UNAVAILABLE), (Result.FULL, HISTORY_FULL), (Result.NOT_ALLOWED, NOT_ALLOWED)],
)
def test_what_the_store_refuses_reaches_nobody(result: Result, state: int) -> None:
    bench = ready()
    bench.receives(change(EDIT, b"better", revision=2))
    bench.answer("archive", [Archived(result)])
    (answer,) = bench.sent()
    assert (answer.kind, outcomes([answer])) == (OUTCOMES, [(5, 0, 0, state)])


def test_a_change_waits_for_what_is_not_known_yet() -> None:
    bench = Bench(USERS, keep_days=1)
    bench.store.judge = None
    bench.receives(change(ERASE))
    assert bench.read_devices() == ["bob", "alice"]
    bench.answer("verdicts", {("alice", "bob"): Verdict.STRANGER})
    assert bench.asked("archive") == [[Erasure("alice+bob", TARGET, NOW_MS << 20, "alice")]]


def test_a_change_for_nobody() -> None:
    bench = Bench({"alice": ["a1"]}, keep_days=1)
    bench.receives(change(ERASE))
    bench.read_devices()
    assert outcomes(bench.sent()) == [(5, 0, 0, NO_SUCH_USER)]


def test_lists_that_have_aged_while_the_store_wrote_are_not_used() -> None:
    bench = ready()
    bench.receives(change(ERASE))
    bench.core.changed(["bob"])
    bench.answer("archive", [KEPT])
    assert outcomes(bench.sent()) == [(5, 0, 0, UNAVAILABLE)]


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("visible", [False, True])
def test_an_erasure_crosses_a_block_where_its_target_was_seen(silent: bool, visible: bool) -> None:
    bench = ready(blocks_are_silent=silent)
    bench.store.judge = {("alice", "bob"): Verdict.BLOCKED}
    bench.core.changed(["bob"])
    bench.receives(change(ERASE))
    bench.read_devices()
    bench.answer("archive", [Archived(Result.KEPT, visible)])
    sent = bench.sent()
    if visible:
        assert [(rec.kind, rec.to) for rec in sent] == [(COPY, b"bob/b1")]
    else:
        assert outcomes(sent) == [(5, 0, 0, SAFE)]


def test_an_edit_does_not_cross_a_block() -> None:
    bench = ready()
    bench.store.judge = {("alice", "bob"): Verdict.BLOCKED}
    bench.core.changed(["bob"])
    bench.receives(change(EDIT, b"better", revision=1))
    bench.read_devices()
    assert outcomes(bench.sent()) == [(5, 0, 0, BLOCKED)]
    assert not bench.asked("archive")


def test_an_edit_that_a_block_swallows_is_for_its_author_alone() -> None:
    bench = ready(blocks_are_silent=True)
    bench.store.judge = {("alice", "bob"): Verdict.BLOCKED}
    bench.core.changed(["bob"])
    bench.goes_online("alice/a2", C, 30)
    bench.users["alice"] = ("a1", "a2")
    bench.core.changed(["alice"])
    bench.receives(change(EDIT, b"better", revision=1))
    bench.read_devices()
    ((edit,),) = bench.asked("archive")
    assert edit.audience is Audience.AUTHOR
    bench.answer("archive", [KEPT])
    assert [rec.to for rec in bench.sent(COPY)] == [b"alice/a2"]


def test_a_change_of_a_note_to_oneself_goes_to_ones_other_devices() -> None:
    bench = ready()
    about = About(from_device="a9", stream=7, ids=[3])
    bench.receives(route(5, to="alice", body=message(ERASE, b"", dest="alice", about=about), flags=QUIET | CHANGE))
    bench.answer("archive", [KEPT])
    assert outcomes(bench.sent()) == [(5, 0, 0, SAFE)]


def test_a_user_without_devices_finds_a_change_in_the_common_queue() -> None:
    bench = ready()
    about = About(from_device="a9", stream=7, ids=[3])
    bench.receives(route(5, to="carol", body=message(ERASE, b"", dest="carol", about=about), flags=QUIET | CHANGE))
    bench.read_devices()
    bench.answer("archive", [KEPT])
    ((row,),) = bench.asked("append")
    assert (row.user, row.device) == ("carol", "")
