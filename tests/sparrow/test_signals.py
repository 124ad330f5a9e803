"""Signals through a real node: to whom they come, and to whom they never do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from client import Client, Event, Signal, SignalKind
from tests.sparrow.people import Events, People
from tests.sparrow.serving import Node

LATER_S = 1.2
"""What has not come by then was dropped: a signal waits for a second at most."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    made = Node(tmp_path_factory.mktemp("node"))
    made.environment |= {"SPARROW_BROKER__CACHE_S": "0.2", "SPARROW_USERAPI__FURTHER_DEVICE_DELAY_S": "0.2"}
    made.start()
    yield made
    assert made.stop() == 0
    assert "Traceback" not in made.log


def signals(events: list[Event]) -> list[tuple[str, str, int, bytes]]:
    return [(each.peer, each.sender, each.kind, each.body) for each in events if isinstance(each, Signal)]


async def comes(events: Events, kind: int, body: bytes = b"") -> Signal:
    found = await events.until(lambda event: isinstance(event, Signal) and (event.kind, event.body) == (kind, body))
    assert isinstance(found, Signal)
    return found


async def marked(author: Client, dest: str, events: Events) -> None:
    """One that comes: what was said before it has come, or never does."""
    await asyncio.sleep(LATER_S)
    assert author.signal(dest, 1001, b"mark")
    await comes(events, 1001, b"mark")


async def test_to_another_person(node: Node) -> None:
    people = People(node, "signals")
    alice, bob = people.name("alice"), people.name("bob")
    of_bob, of_other, of_alice = Events(), Events(), Events()
    async with (
        people.client(alice, on_event=of_alice.append) as writer,
        people.client(bob, on_event=of_bob.append) as reader,
        people.client(bob, on_event=of_other.append),
        people.client(bob) as without,
    ):
        assert writer.typing(bob)
        assert not writer.typing(bob), "it was said just now"
        found = await comes(of_bob, SignalKind.TYPING)
        assert (found.peer, found.sender, found.device) == (alice, alice, writer.device)
        await comes(of_other, SignalKind.TYPING)
        assert writer.signal(bob, 1000, bytes(1024))
        await comes(of_bob, 1000, bytes(1024))
        assert writer.stopped_typing(bob)
        await comes(of_bob, SignalKind.STOPPED_TYPING)
        assert writer.signal("nobody-at-all", 1000)
        sending = await writer.send(bob, "hello")
        await sending.delivered
        assert not writer.stopped_typing(bob)
        assert without.signal(alice, 1000, b"one who wants none may send one")
        await comes(of_alice, 1000, b"one who wants none may send one")

        # Who blocks is signalled nothing, and signals nothing.
        await reader.contacts.block(alice)
        await asyncio.sleep(LATER_S)
        for author, dest in ((writer, bob), (reader, alice)):
            assert author.signal(dest, 1000, b"blocked")
        assert writer.typing(bob), "and nobody is told"
        await asyncio.sleep(LATER_S)
        assert b"blocked" not in [body for _, _, _, body in signals([*of_bob, *of_alice])]
        await reader.contacts.unblock(alice)
        await marked(writer, bob, of_bob)
        assert [kind for _, _, kind, _ in signals(of_bob)].count(SignalKind.TYPING) == 1


async def test_who_hides_is_seen_typing_by_nobody(node: Node) -> None:
    people = People(node, "hiding")
    alice, bob = people.name("alice"), people.name("bob")
    of_alice, of_bob = Events(), Events()
    async with (
        people.client(alice, on_event=of_alice.append) as writer,
        people.client(bob, on_event=of_bob.append) as reader,
    ):
        await writer.profiles.change(hides_presence=True)
        await asyncio.sleep(LATER_S)
        assert writer.typing(bob)
        assert writer.signal(bob, SignalKind.STOPPED_TYPING)
        await marked(writer, bob, of_bob)
        assert [kind for _, _, kind, _ in signals(of_bob)] == [1001]
        assert reader.typing(alice)
        await comes(of_alice, SignalKind.TYPING)


async def test_in_a_group(node: Node) -> None:
    people = People(node, "group")
    names = [people.name(name) for name in ("alice", "bob", "carol", "dave", "erin")]
    events = [Events() for _ in names]
    async with (
        people.client(names[0], on_event=events[0].append) as alice,
        people.client(names[1], on_event=events[1].append) as bob,
        people.client(names[2], on_event=events[2].append) as carol,
        people.client(names[3], on_event=events[3].append) as dave,
        people.client(names[4]) as erin,
    ):
        # Who blocks somebody leaves the groups of fewer than four, and those that are theirs.
        group = (await alice.groups.make("Hiking")).group
        for one in (bob, carol, erin):
            await alice.groups.add(group, one.user)
            await one.groups.join(group)
        await carol.contacts.block(bob.user)
        await asyncio.sleep(LATER_S)
        assert dave.signal(group, 1000, b"an outsider")
        assert bob.typing(group)
        found = await comes(events[0], SignalKind.TYPING)
        assert (found.peer, found.sender) == (group, bob.user)
        assert alice.typing(group)
        await comes(events[1], SignalKind.TYPING)
        await comes(events[2], SignalKind.TYPING)
        await asyncio.sleep(LATER_S)
        assert signals(events[2]) == [(group, alice.user, 1, b"")], "not of whom she has blocked"
        assert signals(events[1]) == [(group, alice.user, 1, b"")]
        assert signals(events[0]) == [(group, bob.user, 1, b"")]
        assert signals(events[3]) == []
