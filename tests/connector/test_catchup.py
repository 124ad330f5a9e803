"""Catching up: scans of the inbox, what may not be missed while one runs, and when a session is live."""

from __future__ import annotations

import pytest

from connector.core.catchup import Catchup
from connector.core.phases import BEHIND, LIVE, SETTLING
from fabric.records import COPY, FRESH, NOTIFIED, OFFLINE, PAGE, PREDECESSOR, STORE, record
from tests.connector.bench import B1, Bench, Client, Sent, copy, ids, receipt_row, row


def behind(bench: Bench, rows: int = 1) -> Client:
    """Logged in, after a first page that was not the last, with the next on its way."""
    client = bench.settling()
    bench.page(client, [row(number) for number in range(1, rows + 1)], end=False, cursor=b"c1")
    client.took()
    return client


def fresh(rec: Sent) -> bool:
    return bool(rec.flags & FRESH)


# One scan.


def test_the_inbox_is_read_only_after_presence_has_the_session() -> None:
    bench = Bench()
    client = bench.logging_in("bob/b1")
    assert [rec.kind for rec in bench.sent()] == [2]  # ONLINE
    bench.welcome(client)
    assert client.took_kinds() == ["logged_in"]
    page = bench.only(PAGE)
    assert (page.to, page.session, page.by, fresh(page)) == (b"bob/b1", client.session.number, b"", True)


def test_an_empty_inbox_makes_the_session_live() -> None:
    bench = Bench()
    bob = bench.settling()
    assert bob.session.phase != LIVE
    bench.page(bob)
    assert bob.session.phase == LIVE


def test_a_pass_goes_on_from_its_cursor_to_the_end() -> None:
    bench = Bench()
    bob = bench.settling()
    bench.sent()
    bench.page(bob, [row(1), receipt_row(1)], end=False, cursor=b"c1")
    second = bench.only(PAGE)
    assert (second.by, fresh(second)) == (b"c1", False)
    bench.page(bob, [row(2)], end=False, cursor=b"c2")
    assert bench.only(PAGE).by == b"c2"
    bench.page(bob, [row(3)], cursor=b"c3")
    assert not bench.sent(PAGE)
    assert bob.session.phase == LIVE
    frames = bob.took()
    assert [frame.WhichOneof("kind") for frame in frames] == ["logged_in", "message", "receipt", "message", "message"]
    assert ids(frame.message for frame in frames if frame.HasField("message")) == [1, 2, 3]
    assert frames[2].receipt.from_device == "b2"


def test_the_next_pass_begins_where_the_store_says() -> None:
    bench = Bench()
    bob = bench.settling()
    bench.page(bob, [row(1)], cursor=b"c1")
    bench.sent()
    bench.notify(bob)
    page = bench.only(PAGE)
    assert (page.by, fresh(page)) == (b"c1", True)


def test_a_row_that_was_sent_and_not_removed_is_not_sent_again() -> None:
    bench = Bench()
    bob = bench.settling()
    bench.page(bob, [row(1), row(2)])
    bench.notify(bob)
    bench.page(bob, [row(1), row(2), row(3)])
    assert ids(bob.took("message")) == [1, 2, 3]


def test_an_answer_to_an_earlier_request_is_not_taken_for_the_last_ones() -> None:
    bench = Bench(request_timeout_s=1.0)
    bob = bench.settling()
    old = bob.session.scan.request
    bench.passes(1.2)
    assert bob.session.scan.request not in (0, old)
    bench.page(bob, [row(1)], request=old)
    assert bob.session.phase == SETTLING
    assert not bob.took("message")
    bench.page(bob, [row(2)])
    assert ids(bob.took("message")) == [2]


def test_rows_for_a_session_that_is_gone_are_dropped() -> None:
    bench = Bench()
    bob = bench.settling()
    bob.hangs_up()
    bench.page(bob, [row(1)])
    assert not bob.took("message")


# What comes while a page is on its way.


def test_a_notification_while_a_page_is_on_its_way_causes_one_more_scan() -> None:
    bench = Bench()
    bob = bench.settling()
    bench.sent()
    bench.notify(bob, 7)
    bench.notify(bob, 8)
    assert [rec.kind for rec in bench.sent()] == [NOTIFIED, NOTIFIED]  # heard, and nothing asked yet
    bench.page(bob)  # the row may have come behind this page
    assert bob.session.phase == SETTLING
    again = bench.only(PAGE)
    assert fresh(again)
    bench.page(bob, [row(1)])
    assert ids(bob.took("message")) == [1]
    assert bob.session.phase == LIVE
    assert not bench.sent(PAGE)  # one more, not two


def test_a_notification_in_the_middle_of_a_scan_starts_another_only_behind_its_end() -> None:
    bench = Bench()
    bob = behind(bench)
    bench.sent()
    bench.notify(bob)
    bench.page(bob, [row(2)], end=False, cursor=b"c2")
    assert not fresh(bench.only(PAGE))
    bench.page(bob, [row(3)], cursor=b"c3")
    assert fresh(bench.only(PAGE))


def test_a_notification_is_confirmed_with_its_number_whoever_is_here() -> None:
    bench = Bench()
    bob = bench.live()
    bench.notify(bob, 41)
    confirmed = bench.sent(NOTIFIED)
    bob.hangs_up()
    bench.sent()
    bench.notify(bob, 42)
    confirmed += bench.sent()
    assert [(rec.kind, rec.to, rec.session, rec.attempt) for rec in confirmed] == [
        (NOTIFIED, b"bob/b1", bob.session.number, 41),
        (NOTIFIED, b"bob/b1", bob.session.number, 42),
    ]


def test_a_notification_for_another_device_under_a_sessions_number_reads_nothing() -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(record(14 - 1, to=b"bob/b2", session=bob.session.number, attempt=1))
    told = [(rec.kind, rec.to) for rec in bench.sent()]
    assert told == [(OFFLINE, b"bob/b2"), (NOTIFIED, b"bob/b2")], "such a session is not here: presence is told"
    assert bob.session.phase == LIVE


def test_a_live_session_that_is_notified_holds_live_copies_until_it_has_read() -> None:
    bench = Bench()
    bob = bench.live()
    bench.notify(bob)
    bench.receives(copy(bob, 2))
    assert not bob.took()
    bench.page(bob, [row(1)])
    assert ids(bob.took("message")) == [1, 2]


# Sync.


def test_synced_comes_behind_the_rows_of_one_whole_pass() -> None:
    bench = Bench()
    bob = bench.live()
    bob.syncs(5)
    assert fresh(bench.only(PAGE))
    bench.page(bob, [row(1)], end=False, cursor=b"c")
    assert bob.took_kinds() == ["message"]
    bench.page(bob, [row(2)])
    frames = bob.took()
    assert [frame.WhichOneof("kind") for frame in frames] == ["message", "synced"]
    assert frames[1].synced.n == 5


def test_a_sync_is_not_answered_by_a_pass_that_began_before_it() -> None:
    bench = Bench()
    bob = behind(bench)
    bob.syncs(3)
    bench.page(bob, [row(2)])
    assert bob.took_kinds() == ["message"]
    bench.page(bob)
    (synced,) = bob.took("synced")
    assert synced.n == 3
    assert bob.session.phase == LIVE


def test_of_several_syncs_the_last_is_answered() -> None:
    bench = Bench()
    bob = behind(bench)
    for n in (3, 4, 5):
        bob.syncs(n)
    bench.page(bob)
    bench.page(bob)
    assert [synced.n for synced in bob.took("synced")] == [5]


def test_a_sync_whose_pass_was_begun_anew_is_still_answered() -> None:
    bench = Bench()
    bob = bench.live()
    bob.syncs(6)
    bench.page(bob, failed=True)
    assert not bob.took()
    bench.passes(Catchup.RETRY_S + 0.1)
    bench.page(bob)
    assert [synced.n for synced in bob.took("synced")] == [6]


# Room.


def test_no_page_is_asked_without_room_for_it() -> None:
    bench = Bench(max_unacked=4)
    bob = bench.settling()
    page = bench.only(PAGE)
    assert page.count == 2
    bench.page(bob, [row(1), row(2)], end=False, cursor=b"c1")
    bench.page(bob, [row(3), row(4)], end=False, cursor=b"c2")
    bench.sent()
    assert ids(bob.took("message")) == [1, 2, 3, 4]
    bob.acks(1)
    assert not bench.sent(PAGE)
    bob.acks(2)
    assert bench.only(PAGE).by == b"c2"


def test_no_page_is_asked_beyond_the_window_of_bytes() -> None:
    rows = [row(1), row(2)]
    bench = Bench(max_unacked_bytes=sum(len(body) for _, _, body in rows))
    bob = bench.settling()
    bench.sent()
    bench.page(bob, rows, end=False)
    assert not bench.sent(PAGE)
    bob.acks(1)
    assert len(bench.sent(PAGE)) == 1


def test_a_page_of_largest_rows_fits_into_the_write_buffer() -> None:
    bench = Bench(max_frame_bytes=2000, max_unacked_bytes=4000, max_write_buffer_bytes=24_000, max_unacked=256)
    bench.settling()
    assert bench.only(PAGE).count == 10


@pytest.mark.changes_cores
def test_rows_that_are_sent_and_not_yet_removed_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Catchup, "MAX_ROWS", 3)
    bench = Bench()
    bob = bench.settling()
    bench.sent()
    bench.page(bob, [receipt_row(number) for number in range(3)], end=False)
    assert not bench.sent(PAGE)
    bob.acks(3)  # receipts need no DELIVERED: their rows are removed at once
    assert len(bench.sent(PAGE)) == 1


# Failures.


def test_a_page_that_could_not_be_read_is_asked_again_later_as_a_new_pass() -> None:
    bench = Bench()
    bob = behind(bench)
    bench.page(bob, failed=True)
    bench.sent()
    bench.passes(Catchup.RETRY_S - 0.2)
    assert not bench.sent(PAGE)
    assert bob.session.phase == BEHIND
    bench.passes(0.4)
    page = bench.only(PAGE)
    assert (page.by, fresh(page)) == (b"c1", True)


def test_a_page_without_an_answer_is_asked_again() -> None:
    bench = Bench(request_timeout_s=2.0)
    bob = bench.settling()
    bench.sent()
    bench.passes(1.9)
    assert not bench.sent(PAGE)
    bench.passes(0.3)
    assert fresh(bench.only(PAGE))
    bench.page(bob)
    assert bob.session.phase == LIVE


def test_without_a_broker_a_page_waits_for_one() -> None:
    bench = Bench()
    bob = bench.live()
    bench.passes(3.0, keep_up=False)
    bob.syncs(1)
    assert not bench.sent()
    bench.heartbeat(B1)
    bench.passes(0.1)
    bench.registers_again()
    bench.passes(Catchup.RETRY_S + 0.1)
    assert fresh(bench.only(PAGE))
    bench.page(bob)
    bench.passes(0.2)  # the broker was lost meanwhile: a further scan may be owed
    assert [synced.n for synced in bob.took("synced")] == [1]


# Behind and live.


def test_a_returned_copy_that_is_not_confirmed_keeps_the_session_from_going_live() -> None:
    bench = Bench(store_after_s=0.5)
    bob = bench.live()
    bench.receives(copy(bob, 1), copy(bob, 2))
    bench.passes(0.6)
    bench.page(bob)
    assert bob.session.phase == SETTLING
    bench.stored(bob, 1)
    assert bob.session.phase == SETTLING
    bench.stored(bob, 1)
    assert bob.session.phase == LIVE


def test_a_returned_copy_that_is_never_confirmed_does_not_keep_it_for_ever() -> None:
    bench = Bench(store_after_s=0.5, request_timeout_s=2.0)
    bob = bench.live()
    bench.receives(copy(bob, 1))
    bench.passes(0.6)
    bench.page(bob)
    bench.passes(1.8)
    assert bob.session.phase == SETTLING
    bench.passes(0.4)
    assert bob.session.phase == LIVE


def test_a_full_window_makes_a_session_behind_until_it_has_read_everything() -> None:
    bench = Bench(max_unacked=4)
    bob = bench.live()
    bench.receives(*(copy(bob, number) for number in range(1, 6)))
    assert bob.session.phase == BEHIND
    assert [rec.kind for rec in bench.sent()] == [STORE]  # no room for a page yet
    bench.stored(bob)
    bob.acks(4)
    assert fresh(bench.only(PAGE))
    bench.receives(copy(bob, 6))
    assert [rec.kind for rec in bench.sent()] == [STORE]  # behind: to the inbox, not to the device
    bench.stored(bob)
    bench.page(bob, [row(5)])
    assert ids(bob.took("message")) == [1, 2, 3, 4, 5]
    assert bob.session.phase == LIVE
    bench.receives(copy(bob, 7, kind=COPY))
    assert ids(bob.took("message")) == [7]


def test_a_session_with_a_predecessor_is_not_live_before_that_one_is_gone() -> None:
    bench = Bench()
    bob = bench.settling(result=PREDECESSOR)
    bench.page(bob)
    assert bob.session.phase == SETTLING
    bench.receives(record(16, origin=bench.core.incarnation, attempt=bob.session.number))
    assert bob.session.phase == LIVE


def test_a_predecessor_that_is_never_heard_of_is_not_waited_for_for_ever() -> None:
    bench = Bench(predecessor_timeout_s=3.0)
    bob = bench.settling(result=PREDECESSOR)
    bench.page(bob)
    bench.passes(2.8)
    assert bob.session.phase == SETTLING
    bench.passes(0.4)
    assert bob.session.phase == LIVE


def test_a_session_that_ends_while_it_reads_is_forgotten() -> None:
    bench = Bench()
    bob = bench.settling()
    bob.hangs_up()
    bench.sent()
    bench.passes(10.0)
    assert not bench.sent()
    assert not bench.core.catchup._reading


def test_a_row_of_a_later_releases_kind_stays_in_the_inbox_and_holds_nothing_up() -> None:
    bench = Bench()
    bob = bench.settling()
    bench.page(bob, [row(1), (b"other", 3, b"\xff no protobuf"), row(2)])
    assert bob.session.phase == LIVE
    assert ids(bob.took("message")) == [1, 2]
    assert bob.session.rows == {b"key1", b"key2"}
    bob.acks(2)
    assert b"other" not in b"".join(rec.body for rec in bench.sent())


def test_a_live_session_stays_live_while_a_sync_waits_for_the_store() -> None:
    bench = Bench()
    bob = bench.live()
    bob.took()
    bob.syncs(1)
    bench.receives(copy(bob, 1))
    assert ids(bob.took("message")) == [1]
    bob.acks(1)
    for number in (2, 3):
        bench.page(bob, failed=True)  # the store is away
        bench.receives(copy(bob, number))
        assert ids(bob.took("message")) == [number]
        bob.acks(number)
        bench.passes(Catchup.RETRY_S + 0.1)
    assert not bench.sent(STORE)
    # A page that is not the last, and live copies between.
    bench.page(bob, [row(11)], end=False, cursor=b"c1")
    bench.receives(copy(bob, 4))
    bench.page(bob, [row(12)], cursor=b"c2")
    frames = bob.took()
    assert [frame.WhichOneof("kind") for frame in frames] == ["message", "message", "message", "synced"]
    assert ids(frame.message for frame in frames if frame.HasField("message")) == [11, 4, 12]
    assert bob.session.phase == LIVE
    # A row that was appended meanwhile makes it settle, as ever.
    bob.syncs(2)
    bench.notify(bob)
    assert bob.session.phase == SETTLING


def test_a_page_that_has_no_room_any_more_is_asked_for_again() -> None:
    """Live copies take the room that was there when it was asked for: no more is sent than `LoggedIn` has told."""
    bench = Bench(max_unacked=4)
    bob = bench.live()
    bob.syncs(1)
    bench.sent()
    for number in (1, 2, 3):
        bench.receives(copy(bob, number))
    bench.page(bob, [row(11), row(12)], cursor=b"c1")
    assert ids(bob.took("message")) == [1, 2, 3]
    assert bob.session.phase == BEHIND
    assert not bench.sent(PAGE)
    bob.acks(3)
    assert fresh(bench.only(PAGE))
    bench.page(bob, [row(11), row(12)], cursor=b"c1")
    assert bob.took_kinds() == ["message", "message", "synced"]
    assert bob.session.phase == LIVE
