"""The client's core in groups: late acks, a Sync of one group, erased names, changes before what came behind them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import acks, holding
from client.core import ClientCore
from client.journal import MemoryJournal, SqliteJournal
from client.state import Event, GroupBehind, Skipped
from client.syncs import GROUP_EVERY_S
from protocol.ids import new_group_id
from protocol.sparrow_pb2 import EDIT, ERASE, TEXT, About, Failed, Frame, Hint, LoggedIn, Message, Synced
from tests.client.test_client_core import Bench, RecordingJournal, message, shown

GROUP, OTHER = (new_group_id(bytes((number,)) * 15) for number in (1, 2))


def log_in(bench: Bench, *, knows: bool = True, max_unacked: int = 256) -> list[Frame]:
    known = bench.core._known_session
    bench.connect()
    fields: dict[str, Any] = {"max_unsettled_per_stream": 9, "max_unsettled_per_connection": 99}
    fields |= {"max_unacked": max_unacked, "understands": ["changes", "groups"] if knows else ["changes"]}
    frame = LoggedIn(user_id="alice", device_id="a1", session=known + 1, previous_session=known, **fields)
    return bench.turn(Frame(logged_in=frame))[0]


def told(number: int, settled: int = 1, version: int = 3, **more: Any) -> Frame:
    fields = {"from_id": "bob", "from_device": "b1", "stream": 9, "dest_id": GROUP, "kind": TEXT} | more
    if fields["kind"] == TEXT and not fields.get("erased"):
        fields.setdefault("body", b"x")
    return Frame(message=Message(id=number, settled=settled, version=version, **fields))


def following(journal: RecordingJournal | None = None) -> Bench:
    """A device for which somebody gets the changes of groups."""
    bench = Bench(journal or RecordingJournal())
    numbers = itertools.count(1000)
    bench.core = ClientCore(bench.journal, lambda: next(numbers), follows=True)
    bench.core.time(bench.now)
    return bench


def of(kind: str, frames: list[Frame]) -> list[Any]:
    return [getattr(frame, kind) for frame in frames if frame.HasField(kind)]  # type: ignore[arg-type]


def behind(events: list[Event]) -> list[tuple[str, int]]:
    return [(event.group, event.version) for event in events if isinstance(event, GroupBehind)]


# Sending.


def test_what_is_for_a_group_waits_for_a_server_that_knows_them() -> None:
    bench = Bench()
    log_in(bench, knows=False)
    waits = bench.core.send(GROUP, int(TEXT), b"all")
    bench.core.send("bob", int(TEXT), b"one")
    frames, _ = bench.turn()
    assert [each.dest_id for each in of("message", frames)] == ["bob"]
    assert waits.stream is None
    bench.core.disconnected()
    assert [each.dest_id for each in of("message", log_in(bench))] == ["bob", GROUP]
    # A server of before stands in again: what is numbered is not sent to it.
    bench.core.disconnected()
    assert [each.dest_id for each in of("message", log_in(bench, knows=False))] == ["bob"]


def test_a_group_has_a_stream_of_its_own() -> None:
    bench = Bench()
    log_in(bench)
    ours = [bench.core.send(dest, int(TEXT), b"x") for dest in ("bob", GROUP, OTHER, GROUP)]
    numbers = [each.stream.number for each in ours if each.stream is not None]
    assert len(set(numbers)) == 3
    assert [each.id for each in ours] == [1, 1, 1, 2]


def test_who_is_no_member_is_told_so_for_good() -> None:
    bench = Bench()
    log_in(bench)
    ours = bench.core.send(GROUP, int(TEXT), b"x")
    bench.turn()
    assert ours.stream is not None
    bench.turn(Frame(failed=Failed(stream=ours.stream.number, id=1, code=Failed.NOT_MEMBER)))
    assert bench.core.unsettled == 0


def test_a_login_that_wants_only_what_is_new() -> None:
    bench = Bench()
    bench.core.fresh = True
    bench.core.connected("token", "tests")
    (frame,), _ = bench.turn()
    assert frame.login.fresh


# Acks.


def test_groups_are_acked_late_and_all_else_at_once() -> None:
    bench = Bench()
    log_in(bench)
    assert bench.says(told(1), told(2)) == []
    assert bench.core.next_wake() == bench.now + acks.WAIT_S
    assert [each.up_to for each in of("ack", bench.turn(message(1))[0])] == [3]
    assert bench.core.next_wake() is None
    bench.turn(told(3))
    bench.passes(acks.WAIT_S - 1)
    assert bench.says(told(4)) == []
    bench.passes(1.0)
    assert [each.up_to for each in of("ack", bench.turn()[0])] == [5]


@pytest.mark.parametrize(("window", "most"), [(256, 64), (0, 64), (1024, 64), (64, 16), (4, 1), (1, 1)])
def test_a_small_window_is_acked_sooner(window: int, most: int) -> None:
    """Groups have half of it: who leaves a quarter unacked is never waited for."""
    bench = Bench()
    log_in(bench, max_unacked=window)
    for number in range(1, 2 * most + 1):
        assert bench.says(told(number)) == (["ack"] if number % most == 0 else [])


def test_large_messages_are_acked_sooner() -> None:
    bench = Bench()
    log_in(bench)
    assert bench.says(told(1, body=bytes(acks.MOST_BYTES - 1))) == []
    assert bench.says(told(2)) == ["ack"]


def test_a_logout_acks_what_is_kept() -> None:
    """What is acked is not sent anew to the next session."""
    bench = Bench()
    log_in(bench)
    bench.turn(told(1))
    bench.core.logout()
    assert bench.says() == ["ack", "logout"]
    assert bench.says() == []


def test_a_new_connection_owes_no_ack() -> None:
    bench = Bench()
    log_in(bench)
    bench.turn(told(1))
    bench.core.disconnected()
    assert log_in(bench) == []
    assert bench.core.next_wake() is None


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 20), st.integers(0, 40_000)), max_size=300))
def test_no_ack_is_later_than_it_may_be(frames: list[tuple[bool, float, int]]) -> None:
    late = acks.Acks()
    now, unacked, size, since = 0.0, 0, 0, None
    for of_group, wait_s, length in frames:
        now += wait_s
        if of_group:
            late.counted_late(length, now)
        else:
            late.counted(now)
        unacked, size = unacked + 1, size + length
        since = now if since is None else since
        if late.is_due(now):
            late.acked()
            unacked, size, since = 0, 0, None
        else:
            assert of_group
            assert unacked < acks.MOST_FRAMES
            assert late.due is not None
            assert late.due <= since + acks.WAIT_S


# Streams.


def test_one_stream_for_two_destinations_is_two() -> None:
    """Whoever breaks S1 hides nothing in a group from one of its members, nor anything in a conversation."""
    bench = Bench()
    log_in(bench)
    private = Frame(
        message=Message(from_id="bob", from_device="b1", stream=9, id=1, settled=1, dest_id="alice", kind=TEXT)
    )
    _, events = bench.turn(private, told(1), told(1, dest_id=OTHER), told(2), told(1))
    assert shown(events) == [1, 1, 1, 2]
    # What is missing in one is not taken for settled in the other.
    _, events = bench.turn(told(4, settled=1))
    private.message.id = private.message.settled = 4
    frames, events = bench.turn(private)
    assert shown(events) == []
    assert [each.group for each in of("sync", frames)] == [""]
    _, events = bench.turn(Frame(synced=Synced(n=1)))
    assert [event.dest_id for event in (e.item for e in events if hasattr(e, "item"))] == ["alice"]
    assert [(event.device, event.group) for event in events if isinstance(event, Skipped)] == [("b1", "")]


def test_both_are_kept_apart_over_a_restart(tmp_path: Any) -> None:
    journal = SqliteJournal(tmp_path / "state.db")
    numbers = itertools.count(1)
    core = ClientCore(journal, lambda: next(numbers))
    for frame in (told(2), told(2, dest_id=OTHER), message(2, stream=9)):
        core._receiving.message(frame.message, 0.0)
    core._receiving.message(told(1).message, 0.0)
    core.flush()
    journal.close()
    journal = SqliteJournal(tmp_path / "state.db")
    kept = journal.load()
    assert sorted(each.dest_id for each in kept.parked) == sorted([OTHER, "alice"])
    assert {key[1]: state.next for key, state in kept.inbound.items()} == {
        f"b1{GROUP}": 3,
        f"b1{OTHER}": 1,
        "b1": 1,
    }
    assert len(journal.untaken()) == 2
    journal.close()


def test_a_sync_names_the_group_if_only_its_streams_miss_something() -> None:
    bench = Bench()
    log_in(bench)
    frames, _ = bench.turn(told(3, settled=3), told(3, settled=3, dest_id=OTHER))
    (first,) = of("sync", frames)
    assert first.group == min(GROUP, OTHER)
    frames, events = bench.turn(Frame(synced=Synced(n=first.n)))
    assert shown(events) == [3]
    assert of("sync", frames) == []  # at most one a second
    bench.passes(GROUP_EVERY_S)
    (second,) = of("sync", bench.turn()[0])
    assert {first.group, second.group} == {GROUP, OTHER}
    assert shown(bench.turn(Frame(synced=Synced(n=second.n)))[1]) == [3]


def test_what_is_missing_between_two_people_is_asked_for_with_everything() -> None:
    bench = Bench()
    log_in(bench)
    (asked,) = of("sync", bench.turn(told(3, settled=3), message(3, settled=3))[0])
    assert asked.group == ""
    assert shown(bench.turn(Frame(synced=Synced(n=asked.n)))[1]) == [3, 3]


def test_a_group_s_sync_that_is_not_answered_is_asked_again_of_everything_that_waits() -> None:
    bench = Bench()
    log_in(bench)
    (first,) = of("sync", bench.turn(told(3, settled=3))[0])
    bench.turn(message(3, settled=3))
    bench.passes(ClientCore.SYNC_TIMEOUT_S)
    (again,) = of("sync", bench.turn()[0])
    assert (first.group, again.group) == (GROUP, "")
    assert shown(bench.turn(Frame(synced=Synced(n=first.n)))[1]) == [3]
    assert shown(bench.turn(Frame(synced=Synced(n=again.n)))[1]) == [3]


# Erased.


def test_an_erased_name_is_nothing_to_show_and_next_goes_past_it() -> None:
    bench = Bench()
    log_in(bench)
    assert shown(bench.turn(told(1))[1]) == [1]
    assert shown(bench.turn(told(3))[1]) == []
    assert shown(bench.turn(told(2, erased=True))[1]) == [3]
    assert shown(bench.turn(told(4, erased=True, kind=EDIT), told(5))[1]) == [5]
    assert shown(bench.turn(told(2))[1]) == []
    assert [each.message.id for each in bench.journal.untaken()] == [1, 3, 5]


def test_what_is_parked_and_comes_again_without_its_body_is_not_shown() -> None:
    bench = Bench()
    log_in(bench)
    bench.turn(told(2, body=b"secret"))
    bench.turn(told(2, erased=True))
    assert shown(bench.turn(told(1))[1]) == [1]
    assert bench.journal.load().parked == []


def test_between_two_people_erased_and_version_are_a_sender_s_word() -> None:
    """A server of 0.1 carries fields that it does not know."""
    bench = following()
    log_in(bench)
    fooled = message(1)
    fooled.message.erased, fooled.message.version = True, 7
    _, events = bench.turn(fooled)
    assert shown(events) == [1]
    assert behind(events) == []


def test_an_erasure_in_a_group_is_waited_for_in_its_own_stream() -> None:
    bench = Bench()
    log_in(bench)
    about = About(from_device="b1", stream=9, ids=[2])
    bench.turn(told(1), told(3))
    _, events = bench.turn(told(1, kind=ERASE, stream=10, about=about, dest_id=OTHER))
    assert shown(events) == [1]
    _, events = bench.turn(told(2, kind=ERASE, stream=10, about=about), told(1, kind=ERASE, stream=10, about=about))
    assert shown(events) == [3, 1, 2]


# Changes before what came behind them.


def test_a_message_waits_for_the_changes_of_its_version() -> None:
    bench = following()
    log_in(bench)
    _, events = bench.turn(told(1), told(2), told(1, stream=10, version=2))
    assert (shown(events), behind(events)) == ([], [(GROUP, 3)])
    bench.core.group_at(GROUP, 3)
    _, events = bench.turn()
    assert (shown(events), behind(events)) == ([1, 2, 1], [])
    assert bench.core.group_version(GROUP) == 3
    assert shown(bench.turn(told(3), told(4, version=2))[1]) == [3, 4]


def test_it_is_acked_and_kept_while_it_waits(tmp_path: Any) -> None:
    journal = SqliteJournal(tmp_path / "state.db", 100)
    numbers = itertools.count(1)
    core = ClientCore(journal, lambda: next(numbers), follows=True)
    core._receiving.message(told(1).message, 0.0)
    core.flush()
    assert journal.untaken() == []
    journal.close()
    journal = SqliteJournal(tmp_path / "state.db", 100)
    core = ClientCore(journal, lambda: next(numbers), follows=True)
    core.group_at(GROUP, 3)
    _, events = core.flush()
    assert shown(events) == [1]
    assert journal.history is not None
    assert [(line.author, line.peer, line.body) for line in journal.history.entries()] == [("bob", GROUP, b"x")]
    assert [each.message.id for each in journal.untaken()] == [1]
    journal.close()
    journal = SqliteJournal(tmp_path / "state.db", 100)
    core = ClientCore(journal, lambda: next(numbers), follows=True)
    assert core.group_version(GROUP) == 3
    core._receiving.message(told(2).message, 0.0)
    assert shown(core.flush()[1]) == [2]
    journal.close()


def test_it_waits_on_over_a_restart() -> None:
    bench = following()
    log_in(bench)
    bench.turn(told(1))
    again = following(bench.journal)
    log_in(again)
    assert shown(again.turn(told(2))[1]) == []  # however late it is by this machine's clock
    again.passes(holding.WAIT_S - 0.1)
    assert shown(again.turn()[1]) == []
    again.core.group_at(GROUP, 3)
    assert shown(again.turn()[1]) == [1, 2]


def test_what_waits_is_asked_for_again_at_the_next_login() -> None:
    bench = following()
    log_in(bench)
    bench.turn(told(1))
    bench.core.disconnected()
    bench.connect()
    frame = LoggedIn(user_id="alice", device_id="a1", session=2, previous_session=1, understands=["groups"])
    assert behind(bench.turn(Frame(logged_in=frame))[1]) == [(GROUP, 3)]


def test_more_changes_are_asked_for_as_versions_rise() -> None:
    bench = following()
    log_in(bench)
    _, events = bench.turn(told(1), told(2, version=5), told(3, version=4))
    assert behind(events) == [(GROUP, 3), (GROUP, 5)]
    bench.core.group_at(GROUP, 4)
    _, events = bench.turn()
    assert (shown(events), behind(events)) == ([1], [(GROUP, 5)])
    bench.core.group_at(GROUP, 5)
    assert shown(bench.turn()[1]) == [2, 3]


def test_changes_that_cannot_be_had_hold_nothing_up_for_long() -> None:
    bench = following()
    log_in(bench)
    bench.turn(told(1), told(1, dest_id=OTHER))
    assert bench.core.next_wake() == bench.now + holding.WAIT_S
    bench.passes(holding.WAIT_S - 0.5)
    bench.turn(told(2))
    bench.passes(0.5)
    assert sorted(shown(bench.turn()[1])) == [1, 1, 2]
    assert shown(bench.turn(told(3))[1]) == [3]
    assert shown(bench.turn(told(4, version=4))[1]) == []
    assert bench.core.group_version(GROUP) == 0


def test_they_hold_up_nobody_else() -> None:
    bench = following()
    log_in(bench)
    bench.core.group_at(OTHER, 9)
    _, events = bench.turn(told(1), message(1), told(1, dest_id=OTHER))
    assert shown(events) == [1, 1]


def test_what_is_erased_while_it_waits_is_not_shown() -> None:
    bench = following()
    log_in(bench)
    bench.turn(told(1), told(2))
    bench.turn(told(1, erased=True))
    bench.core.group_at(GROUP, 3)
    assert shown(bench.turn()[1]) == [2]
    assert [each.message.id for each in bench.journal.untaken()] == [2]


def test_what_is_paged_while_it_waits_is_not_shown_twice() -> None:
    bench = following()
    log_in(bench)
    bench.turn(told(1), told(2))
    bench.journal.put_paged(("bob", f"b1{GROUP}", 9, 1))
    bench.core.group_at(GROUP, 3)
    assert shown(bench.turn()[1]) == [2]
    assert bench.journal.load().held == []


def test_who_has_left_waits_for_nothing() -> None:
    bench = following()
    log_in(bench)
    bench.core.group_at(GROUP, 2)
    bench.turn(told(1))
    assert bench.core.group_left(GROUP)
    assert shown(bench.turn()[1]) == [1]
    assert not bench.core.group_left(GROUP)
    assert bench.core.group_version(GROUP) == 0


def test_where_nobody_asks_nothing_waits() -> None:
    bench = Bench()
    log_in(bench)
    assert shown(bench.turn(told(1, version=2**64 - 1))[1]) == [1]


def test_hints_of_groups_are_passed_on() -> None:
    bench = Bench()
    log_in(bench)
    hints = [Hint(kind=Hint.GROUP_CHANGED, group=GROUP, version=4, user_id="bob"), Hint(kind=Hint.SKIPPED, group=GROUP)]
    _, events = bench.turn(*(Frame(hint=hint) for hint in hints))
    assert events == hints


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("comes"), st.integers(1, 2), st.integers(1, 6)),
            st.tuples(st.just("at"), st.integers(1, 6)),
            st.tuples(st.just("waits"), st.floats(0, 6)),
            st.tuples(st.just("restarts")),
        ),
        max_size=40,
    )
)
def test_everything_is_shown_once_in_order_and_not_before_its_changes(steps: list[tuple[Any, ...]]) -> None:
    journal = MemoryJournal()
    numbers = itertools.count(1)

    def core_at(now: float) -> ClientCore:
        made = ClientCore(journal, lambda: next(numbers), follows=True)
        made.time(now)
        return made

    now, ids, seen = 1000.0, {1: 0, 2: 0}, []
    known, restarted, began = 0, now, {}
    core = core_at(now)
    for kind, *rest in (*steps, ("waits", 2 * holding.WAIT_S)):
        if kind == "comes":
            stream, version = rest
            ids[stream] += 1
            began[stream, ids[stream]] = version
            core._receiving.message(told(ids[stream], stream=stream, version=version).message, now)
        elif kind == "at":
            known = max(known, rest[0])
            core.group_at(GROUP, rest[0])
        elif kind == "waits":
            now += rest[0]
            core.time(now)
        else:
            core, restarted = core_at(now), now
        for event in core.flush()[1]:
            if hasattr(event, "item"):
                seen.append((event.item.stream, event.item.id))
                version = began[seen[-1]]
                assert version <= known or now >= restarted + holding.WAIT_S, "before its changes"
    for stream, highest in ids.items():
        assert [number for of, number in seen if of == stream] == list(range(1, highest + 1))
