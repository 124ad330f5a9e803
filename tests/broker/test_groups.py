"""Messages to groups: who may write, the order of the steps, what connectors are owed, and pages of timelines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from broker.core import group_pages
from broker.core.looks import SILENT
from fabric.group_records import Checkpoint, GroupCopy, GroupHeard, GroupLook, GroupPageRequest, GroupRows
from fabric.heartbeats import Heartbeat, HeartbeatReply
from fabric.records import (
    ADMINS_ONLY,
    CHANGE,
    GROUP_BUSY,
    GROUP_COPY,
    GROUP_LOOK,
    GROUP_ROWS,
    HEARTBEAT,
    NOT_ALLOWED,
    NOT_MEMBER,
    QUIET,
    SAFE,
    TRACED,
    UNAVAILABLE,
    record,
)
from protocol.sparrow_pb2 import EDIT, READ, TEXT, About, Message
from store.groups import Group, GroupPage, GroupQuery, GroupRow, Member, Role
from store.timelines import Archived, Edit, Entry, KeptMessage, Name, Result
from tests.broker.bench import WALL_MS, A, B, Bench, C, outcomes, route

G = "~" + "a" * 24
H = "~" + "b" * 24
NOW_MS = WALL_MS + 1_000_000
"""Unix time of a bench's begin."""
STAMP = NOW_MS << 20
KEPT = Archived(Result.KEPT)


def group(*members: str, version: int = 3, **more: object) -> Group:
    """`alice` owns it, whoever else is in it."""
    roles = {user: Member(user, Role.MEMBER, 1) for user in members} | {"alice": Member("alice", Role.OWNER, 1)}
    return Group(G, version, "team", NOW_MS, roles, **more)  # type: ignore[arg-type]


def message(body: bytes = b"hello", kind: int = TEXT, dest: str = G, stamp: int = STAMP, **more: object) -> bytes:
    """A message of alice's, as its connector hands it on: the stamp is at its end."""
    fields = {"stream": 9, "id": 4, "settled": 2, "from_id": "alice", "from_device": "a1", "dest_id": dest, **more}
    encoded = Message(kind=kind, body=body, **fields).SerializeToString()  # type: ignore[arg-type]
    return encoded + b"\x49" + stamp.to_bytes(8, "little")


def says(attempt: int = 5, *, by: str = "alice/a1", to: str = G, flags: int = 0, body: bytes | None = None) -> bytes:
    """An attempt at a message to a group."""
    return route(attempt, to=to, by=by, flags=flags, body=message() if body is None else body)


def beats(bench: Bench, connector: int, knows_groups: bool = True, linked: bool = True) -> None:
    """A connector is alive."""
    bench.receives(Heartbeat(connector, 50, 1, knows_groups, linked).encode(), connector=connector)
    *_, (_, _, answered) = bench.presence.kept
    answered(50)
    bench.core.flush()


def ready(*members: str, connectors: Iterable[int] = (A, B, C), **settings: object) -> Bench:
    """Connectors are linked; bob is online at B with two devices, alice at A."""
    bench = Bench(**settings)  # type: ignore[arg-type]
    for connector in connectors:
        beats(bench, connector)
    bench.goes_online("alice/a1", A, 10)
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", B, 21)
    bench.receives(says(1))
    bench.answer("groups", {G: group("bob", "carol", *members)})
    bench.answer("archive", [KEPT])
    bench.pass_barrier()
    bench.receives(GroupHeard([copy.number for copy in copies(bench)]).encode(), connector=B)
    bench.sent()
    return bench


def copies(bench: Bench) -> list[GroupCopy]:
    return [GroupCopy.of(sent.raw) for sent in bench.ports.sent if sent.kind == GROUP_COPY]


def looks(bench: Bench) -> list[tuple[int, GroupLook]]:
    return [(sent.connector, GroupLook.of(sent.raw)) for sent in bench.sent(GROUP_LOOK)]


def states(bench: Bench) -> list[tuple[int, int]]:
    return [(attempt, state) for attempt, _, _, state in outcomes(bench.sent())]


def clear_ms(bench: Bench, connector: int) -> int:
    """What the next answer to a heartbeat says."""
    bench.sent()
    beats(bench, connector)
    return HeartbeatReply.of(bench.only(HEARTBEAT).raw).clear_ms


# The order of the steps.


def test_append_then_barrier_then_hand_out_then_safe() -> None:
    bench = ready()
    bench.receives(says(5))
    (entry,) = bench.asked("archive")[0]
    assert entry == Entry(G, Name("alice", "a1", 9, 4), STAMP, TEXT, b"hello", version=3, settled=2)
    assert not bench.sent()
    assert not bench.core.idle
    bench.answer("archive", [KEPT])
    assert not bench.sent()
    bench.pass_barrier()
    (copy,) = copies(bench)
    assert (copy.group, copy.author, copy.stamp, sorted(copy.sessions)) == (G.encode(), b"alice/a1", STAMP, [20, 21])
    given = Message.FromString(copy.message)
    assert (given.version, given.body, given.dest_id, given.stamp) == (3, b"hello", G, STAMP)
    assert states(bench) == [(5, SAFE)]
    assert (bench.core.groups.routed, bench.core.groups.copies, bench.core.idle) == (2, 4, True)


def test_a_repeat_is_looked_for_where_its_row_stands() -> None:
    """Whoever cannot take it now reads the timeline from there on; from its own stamp on there would be nothing."""
    bench = ready()
    bench.receives(says(5))
    bench.answer("archive", [Archived(Result.KEPT, stamp=STAMP - 1000)])
    bench.pass_barrier()
    (copy,) = copies(bench)
    assert copy.stamp == STAMP - 1000
    assert Message.FromString(copy.message).stamp == STAMP
    bench.passes(1.0)
    assert {look.stamp for _, look in looks(bench)} == {STAMP - 1000}


def test_one_record_for_each_connector_and_none_for_the_device_that_wrote_it() -> None:
    bench = ready()
    bench.goes_online("alice/a2", C, 11)
    bench.goes_online("carol/c1", C, 30)
    bench.receives(says())
    bench.answer("archive", [KEPT])
    bench.pass_barrier()
    found = {sent.connector: GroupCopy.of(sent.raw) for sent in bench.sent(GROUP_COPY)}
    assert {connector: sorted(copy.sessions) for connector, copy in found.items()} == {B: [20, 21], C: [11, 30]}


def test_what_newcomers_see_goes_with_the_row() -> None:
    bench = ready()
    bench.core.changed([G])
    bench.receives(says())
    bench.answer("groups", {G: group("bob", version=4, open=True)})
    (entry,) = bench.asked("archive")[0]
    assert (entry.version, entry.open) == (4, True)


def test_what_the_store_does_not_take_nobody_gets() -> None:
    bench = ready()
    bench.receives(says(5))
    bench.away("archive")
    assert states(bench) == [(5, UNAVAILABLE)]
    bench.receives(says(6))
    bench.answer("archive", [Archived(Result.FULL)])
    assert [state for _, state in states(bench)] != [SAFE]
    assert not bench.presence.barriers


def test_a_barrier_that_fails() -> None:
    bench = ready()
    bench.receives(says(5))
    bench.answer("archive", [KEPT])
    bench.pass_barrier(False)
    assert not copies(bench)
    assert states(bench) == [(5, UNAVAILABLE)]


@pytest.mark.parametrize("joined", [0, 2])
def test_a_broker_that_was_no_member_in_between_says_nothing_is_safe(joined: int) -> None:
    """Connectors that saw it leave have looked already, and would not look again if it died now."""
    bench = ready()
    bench.receives(says(5))
    bench.answer("archive", [KEPT])
    bench.presence.joined = joined
    bench.pass_barrier()
    assert not copies(bench)
    assert states(bench) == [(5, UNAVAILABLE)]


def test_a_membership_that_is_old_by_now_is_read_again() -> None:
    bench = ready(cache_s=2.0)
    bench.receives(says(5))
    bench.answer("archive", [KEPT])
    bench.jumps(2.5)
    bench.pass_barrier()
    assert not copies(bench)
    bench.answer("groups", {G: group("bob", "carol")})
    assert [sorted(copy.sessions) for copy in copies(bench)] == [[20, 21]]
    assert states(bench) == [(5, SAFE)]


def test_a_version_that_is_another_by_now_is_another_row() -> None:
    bench = ready()
    bench.receives(says(5))
    bench.answer("archive", [KEPT])
    bench.core.changed([G])
    bench.pass_barrier()
    bench.answer("groups", {G: group("carol", version=4)})
    assert not copies(bench)
    assert states(bench) == [(5, UNAVAILABLE)]


def test_a_membership_that_cannot_be_read() -> None:
    bench = ready()
    bench.core.changed([G])
    bench.receives(says(5))
    bench.away("groups")
    assert states(bench) == [(5, UNAVAILABLE)]
    bench.receives(says(6))
    bench.answer("groups", {G: group("bob")})
    bench.answer("archive", [KEPT])
    bench.core.changed([G])
    bench.pass_barrier()
    bench.away("groups")
    assert states(bench) == [(6, UNAVAILABLE)]


def test_memberships_of_many_groups_are_asked_for_together_and_once() -> None:
    bench = Bench()
    bench.receives(says(1), says(2), says(3, to=H))
    assert bench.asked("groups") == [[G, H]]


# Who may write.


@pytest.mark.parametrize(
    ("known", "by", "state"),
    [
        (None, "alice/a1", NOT_MEMBER),
        (group("bob"), "carol/c1", NOT_MEMBER),
        (group("bob", closed=True), "alice/a1", NOT_MEMBER),
        (group("bob", admins_write=True), "bob/b1", ADMINS_ONLY),
    ],
    ids=["no group", "no member", "closed", "admins only"],
)
def test_who_may_not_write(known: Group | None, by: str, state: int) -> None:
    bench = Bench()
    bench.receives(says(5, by=by))
    bench.answer("groups", {G: known})
    assert states(bench) == [(5, state)]
    assert not bench.asked("archive")
    assert bench.core.groups.refused == {state: 1}


def test_an_owner_writes_where_only_admins_do() -> None:
    bench = Bench()
    bench.receives(says(5))
    bench.answer("groups", {G: group(admins_write=True)})
    assert len(bench.asked("archive")) == 1


def test_read_is_no_message_in_a_group() -> None:
    bench = ready()
    bench.receives(says(5, flags=QUIET, body=message(kind=READ)))
    assert states(bench) == [(5, NOT_ALLOWED)]


def test_a_message_costs_its_author_as_much_as_it_reaches() -> None:
    bench = ready(group_author_bytes_per_second=50.0, group_bytes_per_second=0.0)
    size = len(message()) * 2
    paid = 0
    while True:
        bench.receives(says(5))
        if not bench.asked("archive"):
            break
        paid += 1
        bench.answer("archive", [KEPT])
        bench.pass_barrier()
        assert states(bench) == [(5, SAFE)]
    assert states(bench) == [(5, GROUP_BUSY)]
    assert paid <= 200 / size + 2
    bench.receives(says(6, by="bob/b1"))
    assert len(bench.asked("archive")) == 1  # others may
    bench.passes(size / 50 + 5)
    bench.core.tick()


def test_the_first_messages_of_a_group_cost_what_they_will_reach() -> None:
    size = len(message(dest=H))
    bench = ready(group_author_bytes_per_second=5 * size / 4, group_bytes_per_second=0.0)
    for number in range(100, 110):
        bench.goes_online(f"carol/c{number}", B, number)
    bench.receives(*(says(attempt, to=H, body=message(dest=H)) for attempt in (5, 6)))
    members = {name: Member(name, Role.OWNER, 1) for name in ("alice", "carol")}
    bench.answer("groups", {H: Group(H, 1, "other", NOW_MS, members)})
    assert [len(some) for some in bench.asked("archive")] == [1]  # though none was handed out yet
    assert states(bench) == [(6, GROUP_BUSY)]


def test_a_group_has_so_much_for_all_its_authors() -> None:
    bench = ready(group_bytes_per_second=0.001)
    for attempt in range(40):
        bench.receives(says(attempt + 5, by=("alice/a1", "bob/b1")[attempt % 2]))
    assert GROUP_BUSY in {state for _, state in states(bench)}


def test_so_many_at_once() -> None:
    bench = ready(max_group_messages=1)
    bench.receives(says(5), says(6))
    assert states(bench) == [(6, UNAVAILABLE)]
    bench.core.changed([G])
    bench.receives(says(7))
    assert states(bench) == [(7, UNAVAILABLE)]


# Changes.


def test_an_edit_is_asked_of_the_store_first() -> None:
    bench = ready()
    about = About(from_device="a9", stream=7, ids=[3])
    bench.receives(says(5, flags=QUIET | CHANGE, body=message(b"better", EDIT, about=about, revision=1)))
    ((edit,),) = bench.asked("archive")
    assert isinstance(edit, Edit)
    assert (edit.conversation, edit.target) == (G, Name("alice", "a9", 7, 3))
    bench.answer("archive", [KEPT])
    ((entry,),) = bench.asked("archive")
    assert (entry.kind, entry.body, entry.about) == (EDIT, b"", about.SerializeToString())
    bench.answer("archive", [KEPT])
    bench.pass_barrier()
    assert Message.FromString(copies(bench)[0].message).body == b"better"
    assert states(bench) == [(5, SAFE)]


def test_an_edit_that_the_store_refuses_reaches_nobody() -> None:
    bench = ready()
    about = About(from_device="a9", stream=7, ids=[3])
    bench.receives(says(5, flags=QUIET | CHANGE, body=message(b"better", EDIT, about=about, revision=1)))
    bench.answer("archive", [Archived(Result.NOT_ALLOWED)])
    assert states(bench) == [(5, NOT_ALLOWED)]
    assert not bench.asked("archive")


# Connectors.


def test_who_knows_no_groups_gets_nothing_and_holds_up_nobody() -> None:
    bench = ready()
    beats(bench, C, knows_groups=False)
    bench.goes_online("carol/c1", C, 30)
    bench.receives(says(5))
    bench.answer("archive", [KEPT])
    bench.pass_barrier()
    sent = bench.sent()
    assert {one.connector for one in sent if one.kind == GROUP_COPY} == {B}
    assert [state for *_, state in outcomes(sent)] == [SAFE]


@pytest.mark.parametrize("how", ["never heard", "silent", "not linked"])
def test_who_may_not_notice_our_end_holds_up_safe_and_gets_it_all_the_same(how: str) -> None:
    bench = ready(connectors=(A, B), lease_s=1.0)
    if how == "silent":
        beats(bench, C)
        bench.jumps(SILENT * 1.0 + 0.1)
        for connector in (A, B):
            beats(bench, connector)
    elif how == "not linked":
        beats(bench, C, linked=False)
    bench.goes_online("carol/c1", C, 30)
    bench.receives(says(5))
    if bench.asked("groups"):
        bench.answer("groups", {G: group("bob", "carol")})
    bench.answer("archive", [KEPT])
    bench.pass_barrier()
    sent = bench.sent()
    assert {one.connector for one in sent if one.kind == GROUP_COPY} == {B, C}
    assert [state for *_, state in outcomes(sent)] == [UNAVAILABLE]


def passes(bench: Bench) -> None:
    """All barriers, of whoever asked, are passed."""
    while bench.presence.barriers:
        bench.pass_barrier()


def handed(bench: Bench, attempt: int = 5, to: str = G) -> GroupCopy:
    """A message is handed to B."""
    passes(bench)
    bench.receives(says(attempt, to=to, body=message(dest=to)))
    if bench.asked("groups"):
        bench.answer("groups", {to: replace(group("bob", "carol"), group=to)})
    bench.answer("archive", [KEPT])
    passes(bench)
    (copy,) = copies(bench)
    bench.sent()
    return copy


def test_one_frozen_connector_holds_up_nobody_for_longer_than_its_lease() -> None:
    """When it is forgotten in presence nothing is owed to it, and SENT does not wait for its word."""
    bench = ready(lease_s=1.0)
    bench.goes_online("carol/c1", C, 30)
    bench.receives(says(5))
    bench.answer("archive", [KEPT])
    bench.pass_barrier()
    assert [state for *_, state in outcomes(bench.sent())] == [SAFE]  # C has confirmed nothing yet
    bench.passes(SILENT * 1.0 + 1.0)
    assert not bench.core.looks.owed
    del bench.presence.locations["carol"]
    for connector in (A, B):
        beats(bench, connector)
    bench.receives(says(6))
    bench.answer("groups", {G: group("bob", "carol")})
    bench.answer("archive", [KEPT])
    passes(bench)
    assert [state for *_, state in outcomes(bench.sent())] == [SAFE]


def test_a_copy_that_is_not_confirmed_becomes_a_look_until_it_is() -> None:
    bench = ready(group_look_s=0.5)
    copy = handed(bench)
    bench.passes(0.4)
    assert not looks(bench)
    bench.passes(0.3)
    ((connector, look),) = looks(bench)
    assert (connector, look.group, look.stamp, sorted(look.sessions)) == (B, G.encode(), STAMP, [20, 21])
    bench.receives(GroupHeard([copy.number]).encode(), connector=B)  # too late: it may have been lost since
    bench.passes(0.7)
    ((_, again),) = looks(bench)
    bench.receives(GroupHeard([look.number]).encode(), connector=B)
    assert bench.core.looks.owed == 1
    bench.receives(GroupHeard([again.number]).encode(), connector=B)
    assert bench.core.looks.owed == 0
    bench.passes(1.0)
    assert not looks(bench)
    assert bench.core.looks.sent == 2


def test_looks_for_one_group_are_one() -> None:
    bench = ready(group_look_s=0.5)
    handed(bench, 5)
    bench.receives(says(6, body=message(stamp=STAMP - (5 << 20))))
    bench.answer("archive", [KEPT])
    bench.pass_barrier()
    bench.sent()
    bench.passes(0.7)
    ((_, look),) = looks(bench)
    assert look.stamp == STAMP - (5 << 20)


def test_an_answer_to_a_look_of_before_says_nothing_of_a_row_since() -> None:
    bench = ready(group_look_s=0.5)
    handed(bench, 5)
    bench.passes(0.6)
    ((_, first),) = looks(bench)
    handed(bench, 6)
    bench.passes(0.6)
    bench.receives(GroupHeard([first.number]).encode(), connector=B)
    assert bench.core.looks.owed == 1


def test_too_many_looks_are_one_for_all() -> None:
    bench = ready(group_look_s=0.5, max_group_looks=1)
    handed(bench)
    handed(bench, 6, to=H)
    bench.passes(0.7)
    ((_, look),) = looks(bench)
    assert (look.group, list(look.sessions)) == (b"", [])
    handed(bench, 7)
    bench.passes(1.1)
    assert {look.group for _, look in looks(bench)} == {b""}
    assert bench.core.looks.owed == 1


def test_what_was_confirmed_in_time_is_never_looked_for() -> None:
    bench = ready(group_look_s=0.5)
    copy = handed(bench)
    bench.receives(GroupHeard([copy.number]).encode(), connector=B)
    bench.receives(GroupHeard([1234]).encode(), connector=77)  # who is that
    bench.passes(1.0)
    assert not looks(bench)
    assert bench.core.looks.owed == 0


# Clear.


def test_clear_is_now_when_nothing_is_under_way() -> None:
    bench = ready()
    assert clear_ms(bench, B) == bench.core.turn.wall_ms


def test_clear_waits_for_what_is_being_appended_and_for_what_is_not_confirmed() -> None:
    bench = ready(group_look_s=0.5)
    bench.receives(says(5))
    began = bench.core.turn.wall_ms
    bench.jumps(0.2)
    assert clear_ms(bench, B) == clear_ms(bench, C) == began
    bench.answer("archive", [KEPT])
    bench.pass_barrier()
    (copy,) = copies(bench)
    bench.jumps(0.1)
    assert clear_ms(bench, B) == began
    assert clear_ms(bench, C) == bench.core.turn.wall_ms
    bench.passes(0.5)
    ((_, look),) = looks(bench)
    assert clear_ms(bench, B) == began  # a look is as good as a copy
    bench.receives(GroupHeard([copy.number, look.number]).encode(), connector=B)
    assert clear_ms(bench, B) == bench.core.turn.wall_ms


def test_an_append_that_never_ends_does_not_hold_back_clear_for_ever() -> None:
    bench = ready(lease_s=1e6)
    bench.receives(says(5))
    bench.jumps(1000.0)
    assert clear_ms(bench, B) == bench.core.turn.wall_ms - 150_000


# Pages and checkpoints.


def asks(**more: object) -> bytes:
    return GroupPageRequest(b"bob/b1", 20, 7, **{"limit": 50, **more}).encode()  # type: ignore[arg-type]


def test_pages_of_a_turn_are_one_call() -> None:
    bench = Bench()
    other = GroupPageRequest(b"bob/b1", 21, 8, G, STAMP, 5, b"c", 50)
    bench.receives(asks(), other.encode())
    ((first, second),) = bench.asked("scan_groups")
    assert first == GroupQuery("bob", "b1", "", 0, bench.core.turn.wall_ms, b"", 50)
    assert second == GroupQuery("bob", "b1", G, STAMP, 5, b"c", 50)
    name, about = Name("alice", "a1", 9, 4), About(from_device="a1", stream=9, ids=[4])
    rows = (
        GroupRow(G, 3, 2, KeptMessage(name, STAMP, TEXT, b"hello")),
        GroupRow(G, 3, 2, KeptMessage(name._replace(id=5), STAMP + 1, EDIT, b"x", about.SerializeToString(), 8)),
        GroupRow(G, 3, 2, KeptMessage(name._replace(id=6), STAMP + 2, TEXT, b"", erased_by="alice")),
    )
    bench.answer("scan_groups", [GroupPage(rows, b"next", False, (H,)), GroupPage((), b"", True)])
    page, end = (GroupRows.of(sent.raw) for sent in bench.sent(GROUP_ROWS))
    assert (page.session, page.request, page.cursor, page.end) == (20, 7, b"next", False)
    assert page.began_ms == bench.core.turn.wall_ms
    (skipped, *found) = page.rows()
    assert skipped[0] == H.encode()
    hello, edit, erased = (Message.FromString(row) for _, _, row in found)
    assert (hello.body, hello.version, hello.settled, hello.dest_id, hello.from_id) == (b"hello", 3, 2, G, "alice")
    assert (edit.revision, edit.about) == (8, about)
    assert (erased.erased, erased.body) == (True, b"")
    assert (end.end, end.began_ms) == (True, 5)
    assert bench.core.group_pages.rows == 3


def test_many_pages_are_read_one_after_another_the_fewer_the_more_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_pages, "BYTES_AT_ONCE", 32 * 1024)
    bench = Bench()
    sessions = range(1, 2 * group_pages.AT_ONCE)
    pages = [GroupPageRequest(b"bob/b1", session, 7, limit=50).encode() for session in sessions]
    bench.receives(*pages, *pages)  # who asks again is answered once
    large = KeptMessage(Name("alice", "a1", 9, 4), STAMP, TEXT, b"x" * 1600)
    some = GroupPage((GroupRow(G, 3, 2, large),), b"", True)
    answered: list[int] = []
    sizes: list[int] = []
    while len(answered) < len(sessions):
        (asked,) = bench.asked("scan_groups")
        sizes.append(len(asked))
        # Large ones at first, and then none.
        bench.answer("scan_groups", [some if len(sizes) < 3 else GroupPage((), b"", True)] * len(asked))
        answered += [GroupRows.of(sent.raw).session for sent in bench.sent(GROUP_ROWS)]
    assert answered == list(sessions)
    assert sizes[0] == group_pages.AT_ONCE
    assert group_pages.LEAST_AT_ONCE < sizes[1] == sizes[2] < 20
    assert sizes[2] < sizes[3] < sizes[4]


def test_pages_as_large_as_they_get_are_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_pages, "BYTES_AT_ONCE", 1024)
    bench = Bench()
    sessions = range(2 * group_pages.LEAST_AT_ONCE)
    bench.receives(asks())
    large = KeptMessage(Name("alice", "a1", 9, 4), STAMP, TEXT, b"x" * group_pages.BYTES_AT_ONCE)
    bench.answer("scan_groups", [GroupPage((GroupRow(G, 3, 2, large),), b"", True)])
    bench.receives(*(GroupPageRequest(b"bob/b1", session, 7, limit=50).encode() for session in sessions))
    for _ in (1, 2):
        assert len(bench.asked("scan_groups")[0]) == group_pages.LEAST_AT_ONCE
        bench.away("scan_groups")
    found = [GroupRows.of(sent.raw) for sent in bench.sent(GROUP_ROWS)[1:]]
    assert [(rows.session, rows.failed) for rows in found] == [(session, True) for session in sessions]


def test_a_page_that_cannot_be_read() -> None:
    bench = Bench()
    bench.receives(asks())
    bench.away("scan_groups")
    assert GroupRows.of(bench.only(GROUP_ROWS).raw).failed


@pytest.mark.parametrize(("wanted", "given"), [(0, 1), (10**6, 200)])
def test_a_page_is_as_long_as_settings_say(wanted: int, given: int) -> None:
    bench = Bench(max_page_rows=200)
    bench.receives(asks(limit=min(wanted, 65_535)))
    ((query,),) = bench.asked("scan_groups")
    assert query.limit == given


def test_checkpoints_of_a_turn_are_one_call() -> None:
    bench = Bench()
    bench.receives(Checkpoint(b"bob/b1", 5).encode(), Checkpoint(b"bob/b2", 6).encode())
    assert bench.asked("raise_checkpoints") == [{("bob", "b1"): 5, ("bob", "b2"): 6}]


@pytest.mark.parametrize("kind", [GROUP_COPY, 24, 25, 26])
def test_records_that_cannot_be_read_are_passed_over(kind: int) -> None:
    bench = ready()
    bench.receives(record(kind, to=b"\xff\xfe", body=b"\xff\xff\xff"), says(5))
    assert len(bench.asked("archive")) == 1


def test_traces_tell_what_came_of_it() -> None:
    bench = ready()
    bench.receives(says(5, flags=TRACED))
    bench.answer("archive", [KEPT])
    bench.pass_barrier()
    assert (A, 5, "handed out to all of the group") in bench.take_traces()
    bench.receives(says(6, flags=TRACED))
    bench.away("archive")
    assert any("not SENT to the group" in what for _, _, what in bench.take_traces())


def test_reach_is_forgotten_before_it_is_too_much() -> None:
    bench = ready(max_cached_users=1)
    bench.receives(says(5, to=H, body=message(dest=H)))
    bench.answer("groups", {H: Group(H, 1, "other", NOW_MS, {"alice": Member("alice", Role.OWNER, 1)})})
    bench.answer("archive", [KEPT])
    bench.pass_barrier()
    assert states(bench) == [(5, SAFE)]
