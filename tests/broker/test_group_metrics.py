"""What is counted of groups in the broker's core, and what is told of a traced message."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.memberships import AT_ONCE, Plan
from broker.metrics import metrics
from fabric import records
from fabric.group_records import GroupCopy, GroupHeard, GroupLook, GroupPageRequest, GroupRows
from fabric.heartbeats import Heartbeat
from fabric.records import (
    ADMINS_ONLY,
    GROUP_BUSY,
    GROUP_COPY,
    GROUP_LOOK,
    GROUP_ROWS,
    NOT_MEMBER,
    OUTCOMES,
    QUIET,
    SAFE,
    TRACED,
    UNAVAILABLE,
    unpack_outcomes,
)
from protocol.ids import STAMP_SHIFT
from protocol.sparrow_pb2 import TEXT, Message
from store.groups import Group, GroupPage, GroupRow, Member, Role
from store.timelines import Archived, KeptMessage, Name, Result
from tests.broker.bench import WALL_MS, A, B, Bench, Sent, route
from tests.metrics import nonzero

LUNCH = "~" + "a" * 24


def group(**fields: Any) -> Group:
    members = {
        "alice": Member("alice", Role.OWNER, 1),
        "bob": Member("bob", Role.MEMBER, 2),
        "carol": Member("carol", Role.MEMBER, 3),
    }
    return Group(**{"group": LUNCH, "version": 3, "name": "Lunch", "created_ms": 0, "members": members, **fields})


def begun(**settings: Any) -> Bench:
    """Connectors A and B, which know groups; bob has two devices, and carol is away."""
    bench = Bench({"alice": ["a1"], "bob": ["b1", "b2"], "carol": ["c1"]}, **settings)
    for connector in (A, B):
        beat = Heartbeat(connector, 0, 1, knows_groups=True, linked=True)
        bench.receives(beat.encode(), connector=connector)
        _, _, done = bench.presence.kept.pop()
        done(1)
        bench.core.flush()
    bench.goes_online("alice/a1", A, 10)
    bench.goes_online("bob/b1", B, 20)
    bench.goes_online("bob/b2", B, 21)
    bench.sent()
    return bench


def says(bench: Bench, attempt: int = 1, by: str = "alice/a1", flags: int = 0) -> bytes:
    stamp = (WALL_MS + int(bench.now * 1000)) << STAMP_SHIFT
    user, device = by.split("/")
    message = Message(stream=9, id=attempt, settled=1, from_id=user, from_device=device, dest_id=LUNCH, kind=TEXT)
    message.body, message.stamp = b"hello", stamp
    # A connector has put the stamp at the end.
    encoded = message.SerializeToString().replace(b"\x49" + stamp.to_bytes(8, "little"), b"")
    return route(attempt, LUNCH, by, encoded + b"\x49" + stamp.to_bytes(8, "little"), flags)


def reads(bench: Bench, found: Group | None) -> None:
    while bench.asked("groups"):
        bench.answer("groups", {LUNCH: found})


def stands(bench: Bench) -> None:
    """What is on its way into the timeline gets there, and presence is newer than that."""
    while bench.asked("archive"):
        bench.answer("archive", [Archived(Result.KEPT)] * len(bench.asked("archive")[0]))
    while bench.presence.barriers:
        bench.pass_barrier()


def outcomes(sent: list[Sent]) -> dict[int, int]:
    found = [one for rec in sent if rec.kind == OUTCOMES for one in unpack_outcomes(rec.body)]
    return {attempt: state for attempt, _, _, state in found}


def copies(sent: list[Sent]) -> list[tuple[int, GroupCopy]]:
    return [(rec.connector, GroupCopy.of(rec.raw)) for rec in sent if rec.kind == GROUP_COPY]


def values(bench: Bench) -> dict[str, float]:
    found = nonzero(metrics(bench.core, online=3, members=1), "sparrow_broker_")
    return {name.removeprefix("group_"): value for name, value in found.items() if name.startswith("group_")}


def test_it_stands_then_it_is_handed_out_then_it_is_sent() -> None:
    bench = begun()
    bench.receives(says(bench, flags=TRACED))
    assert values(bench) == {"messages_waiting": 1}
    reads(bench, group())
    ((entry,),) = bench.asked("archive")
    assert (entry.conversation, entry.version, entry.name) == (LUNCH, 3, Name("alice", "a1", 9, 1))
    assert bench.sent() == []
    stands(bench)
    sent = bench.sent()
    ((connector, copy),) = copies(sent)
    assert (connector, list(copy.sessions)) == (B, [20, 21])
    message = Message.FromString(copy.message)
    assert (message.body, message.version, message.stamp) == (b"hello", 3, copy.stamp)
    assert outcomes(sent) == {1: SAFE}
    assert values(bench) == {"messages_total": 1, "copies_total": 2, "owed": 1}
    assert [text for _, attempt, text in bench.take_traces() if attempt == 1] == [
        "stands in the timeline",
        f"copies for 2 sessions of the group go to connector {B}",
        "handed out to all of the group",
    ]


def test_what_is_not_confirmed_is_looked_for_until_it_is() -> None:
    bench = begun()
    bench.receives(says(bench))
    reads(bench, group())
    stands(bench)
    bench.sent()
    bench.passes(0.7)
    (look,) = bench.sent(GROUP_LOOK)
    assert list(GroupLook.of(look.raw).sessions) == [20, 21]
    bench.passes(0.6)
    (again,) = bench.sent(GROUP_LOOK)
    assert values(bench) == {"messages_total": 1, "copies_total": 2, "owed": 1, "looks_total": 2}
    bench.receives(GroupHeard([again.attempt]).encode(), connector=B)
    bench.passes(1.2)
    assert bench.sent(GROUP_LOOK) == []
    assert "owed" not in values(bench)


@pytest.mark.parametrize(
    ("by", "flags", "found", "state", "name"),
    [
        ("dave/d1", 0, group(), NOT_MEMBER, "NOT_MEMBER"),
        ("alice/a1", 0, None, NOT_MEMBER, "NOT_MEMBER"),
        ("alice/a1", 0, group(closed=True, members={}), NOT_MEMBER, "NOT_MEMBER"),
        ("bob/b1", 0, group(admins_write=True), ADMINS_ONLY, "ADMINS_ONLY"),
        ("alice/a1", QUIET, group(), records.NOT_ALLOWED, "NOT_ALLOWED"),
    ],
)
def test_who_may_not(by: str, flags: int, found: Group | None, state: int, name: str) -> None:
    bench = begun()
    bench.receives(says(bench, by=by, flags=flags | TRACED))
    reads(bench, found)
    assert outcomes(bench.sent()) == {1: state}
    assert values(bench) == {f"messages_refused_total {name}": 1}
    assert bench.take_traces()[-1][2] == f"not SENT to the group: {name}"


def test_bytes_times_sessions_are_what_it_costs() -> None:
    bench = begun(group_author_bytes_per_second=20)
    bench.receives(says(bench, 1))
    reads(bench, group())
    stands(bench)
    bench.receives(says(bench, 2), says(bench, 3))
    stands(bench)
    assert GROUP_BUSY in outcomes(bench.sent()).values()
    assert values(bench)["messages_refused_total GROUP_BUSY"] >= 1


def test_a_change_before_the_barrier_has_passed_makes_it_another_attempt() -> None:
    bench = begun()
    bench.receives(says(bench))
    reads(bench, group())
    bench.answer("archive", [Archived(Result.KEPT)])
    bench.core.changed([LUNCH])
    bench.pass_barrier()
    reads(bench, group(version=4))
    sent = bench.sent()
    assert copies(sent) == []
    assert outcomes(sent) == {1: UNAVAILABLE}


def test_rows_of_groups_are_counted() -> None:
    bench = begun()
    page = GroupPageRequest(b"carol/c1", 5, 1, limit=10)
    bench.receives(page.encode(), connector=A)
    kept = KeptMessage(Name("alice", "a1", 9, 1), 7 << STAMP_SHIFT, TEXT, b"hello", b"")
    bench.answer("scan_groups", [GroupPage((GroupRow(LUNCH, 3, 1, kept),) * 2, b"", end=True)])
    (rows,) = bench.sent(GROUP_ROWS)
    assert GroupRows.of(rows.raw).end
    assert values(bench) == {"rows_total": 2}
    bench.receives(page.encode(), connector=A)
    bench.away("scan_groups")
    (rows,) = bench.sent(GROUP_ROWS)
    assert GroupRows.of(rows.raw).failed


def test_members_are_remembered_within_bounds() -> None:
    bench = begun(max_cached_members=4)
    memberships = bench.core.memberships
    other = "~" + "b" * 24
    for name in (LUNCH, other):
        memberships.get(name)
        memberships.flush()
        bench.answer("groups", {name: group(group=name)})
        assert memberships.members == 3
    assert (memberships.get(LUNCH), memberships.get(other) is None) == (None, False)
    plan = Plan.of(group())
    assert [plan.has(user) for user in ("alice", "bob", "carol", "aa", "dave", "")] == [True, True, True] + [False] * 3
    assert plan.users[0] is Plan.of(group(version=9)).users[0]
    assert not Plan.of(group(closed=True)).has("alice")


def test_many_groups_are_read_by_and_by() -> None:
    bench = begun()
    memberships = bench.core.memberships
    ids = [f"~{number:024}" for number in range(AT_ONCE + 7)]
    for name in ids:
        memberships.get(name)
    memberships.flush()
    sizes = []
    while bench.asked("groups"):
        (asked,) = bench.asked("groups")
        sizes.append(len(asked))
        bench.answer("groups", {name: group(group=name) for name in asked})
    assert sorted(sizes) == [7, AT_ONCE]
    assert all(memberships.get(name) for name in ids)
    memberships.forget(None)
    memberships.get(LUNCH)
    memberships.flush()
    bench.away("groups")
    assert memberships.get(LUNCH) is None
