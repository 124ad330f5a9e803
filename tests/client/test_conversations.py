"""Conversations through the client library, against a real node that keeps them: paged, edited, erased, counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from client import (
    Client,
    Conversation,
    Edited,
    Erased,
    Found,
    Hint,
    HintKind,
    HistoryNotKeptError,
    MarkRaised,
    Message,
    MisuseError,
    OwnMessage,
    Sending,
    State,
    UnreachableError,
)
from client.journal import SqliteJournal
from client.state import Skipped
from tests.sparrow.people import Events, People
from tests.sparrow.serving import Node


@pytest.fixture
def people(node: Node, request: pytest.FixtureRequest) -> People:
    return People(node, request.node.name)


async def said(client: Client, user: str) -> list[str]:
    """All texts of a conversation, oldest first; what was erased as its eraser."""
    conversation = await client.conversations.of(user)
    found = [message async for message in conversation.backwards()]
    return [f"-{each.erased_by}" if each.erased_by else each.text for each in reversed(found)]


async def sent(client: Client, user: str, *texts: str) -> list[Sending]:
    sendings = [await client.send(user, text) for text in texts]
    async with asyncio.timeout(20):
        for sending in sendings:
            await sending.sent
    return sendings


async def received(client: Client, count: int) -> list[Message]:
    found: list[Message] = []
    async with asyncio.timeout(20):
        async for message in client:
            found.append(message)
            if len(found) == count:
                break
    return found


async def test_a_new_device_reads_all_of_it_back(people: People, tmp_path: Path) -> None:
    a, b = people.name("alice"), people.name("bob")
    texts = [f"message {number}" for number in range(130)]
    async with people.client(a, state=tmp_path / "a.db", history=1000) as alice, people.client(b) as bob:
        await sent(alice, b, *texts[:70])
        await sent(bob, a, *texts[70:])
        assert await said(alice, b) == texts
        assert await said(bob, a) == texts
    for history in ({}, {"state": tmp_path / "new.db", "history": 1000}):
        async with people.client(a, **history) as fresh:
            assert await said(fresh, b) == texts
            assert await said(fresh, b) == texts


async def test_what_is_here_is_not_fetched_again(people: People, tmp_path: Path) -> None:
    a, b = people.name("alice"), people.name("bob")
    kept = {"state": tmp_path / "a.db", "history": 1000}
    async with people.client(a, **kept) as alice, people.client(b) as bob:
        await sent(bob, a, *(str(number) for number in range(80)))
        await received(alice, 80)
        assert len(await said(alice, b)) == 80
        fetched = asked(alice)
        await sent(bob, a, "80")
        await received(alice, 1)
        assert len(await said(alice, b)) == 81
        assert fetched == []
    async with people.client(a, **kept) as alice:
        fetched = asked(alice)
        assert len(await said(alice, b)) == 81
        assert fetched == []


def asked(client: Client) -> list[str]:
    """The cursors of pages that are fetched from now on."""
    api, found = client._keeper.api, list[str]()
    messages = api.messages

    async def counted(user: str, before: str, limit: int) -> object:
        found.append(before)
        return await messages(user, before, limit)

    api.messages = counted  # type: ignore[method-assign, assignment]
    return found


async def test_edits_and_erasures_reach_everybody(people: People, tmp_path: Path) -> None:
    a, b = people.name("alice"), people.name("bob")
    told, there = Events(), Events()
    kept = {"state": tmp_path / "a.db", "history": 1000}
    async with (
        people.client(a, on_event=told.append, **kept) as alice,
        people.client(b, on_event=there.append) as bob,
    ):
        first, second, _ = await sent(alice, b, "frist", "oops", "third")
        await received(bob, 3)
        assert await said(bob, a) == ["frist", "oops", "third"]
        edit = await first.edit("first")
        erasure = await second.erase()
        async with asyncio.timeout(20):
            await edit.sent
            await erasure.sent
        expected = Edited(a, a, alice.device, first.stream, first.id, "first", edit.stamp)
        assert await there.until(lambda event: isinstance(event, Edited)) == expected
        gone = await there.until(lambda event: isinstance(event, Erased))
        assert gone == Erased(a, a, alice.device, second.stream, second.id, a)
        await told.until(lambda event: isinstance(event, Erased))
        for reader, other in ((alice, b), (bob, a)):
            assert await said(reader, other) == ["first", f"-{a}", "third"]
        await (await first.edit("First")).sent
        entries = {entry.id: entry for entry in alice.history()}
        assert (entries[1].body, entries[1].revision, entries[2].body, entries[2].erased_by) == (b"First", 2, b"", a)
        with pytest.raises(MisuseError, match="erased"):
            await second.edit("again")
        (newest,) = [one for one in await bob.conversations.list() if one.user == a]
        assert newest.newest is not None
        with pytest.raises(MisuseError, match="own"):
            await newest.newest.erase()
    async with people.client(a, state=tmp_path / "new.db", history=1000) as fresh:
        assert await said(fresh, b) == ["First", f"-{a}", "third"]


async def test_nothing_is_shown_of_what_comes_with_its_end(people: People, tmp_path: Path) -> None:
    a, b = people.name("alice"), people.name("bob")
    state = {"state": tmp_path / "b.db"}
    async with people.client(b, **state):
        pass
    async with people.client(a) as alice:
        secret, other = await sent(alice, b, "secret", "wrnog")
        await (await secret.erase()).sent
        await (await other.edit("wrong")).sent
        await sent(alice, b, "last")
    async with people.client(b, **state) as bob:
        assert [message.text for message in await received(bob, 2)] == ["wrong", "last"]


async def test_another_device_of_ours_edits(people: People, tmp_path: Path) -> None:
    a, b = people.name("alice"), people.name("bob")
    told = Events()
    async with (
        people.client(a) as one,
        people.client(a, state=tmp_path / "two.db", history=10, on_event=told.append) as two,
        people.client(b) as bob,
    ):
        await sent(one, b, "tpyo")
        copy = await told.until(lambda event: isinstance(event, OwnMessage))
        assert isinstance(copy, OwnMessage)
        await (await copy.message.edit("typo")).sent
        conversation = await bob.conversations.of(a)
        assert [each.text async for each in conversation.backwards()] == ["typo"]
        (entry,) = two.history()
        assert (entry.body, entry.revision) == (b"typo", 1)


async def test_unread_and_marks(people: People, tmp_path: Path) -> None:
    a, b = people.name("alice"), people.name("bob")
    told, hers = Events(), Events()
    async with (
        people.client(a, on_event=hers.append) as alice,
        people.client(b, state=tmp_path / "b.db", history=100) as bob,
        people.client(b, state=tmp_path / "b2.db", history=100, on_event=told.append) as other,
    ):
        first, *_ = await sent(alice, b, "one", "two", "three")
        await received(bob, 3)
        await received(other, 3)
        (conversation,) = await bob.conversations.list()
        assert (conversation.user, conversation.unread) == (a, 3)
        assert conversation.newest is not None
        assert conversation.newest.text == "three"
        await conversation.mark_read()
        raised = await told.until(lambda event: isinstance(event, MarkRaised))
        assert raised == MarkRaised(a, conversation.newest.wire.stamp)
        async with asyncio.timeout(20):
            await first.read
        (conversation,) = await bob.conversations.list()
        assert conversation.unread == 0
        assert [entry.state for entry in other.history()] == [State.READ] * 3
        async with asyncio.timeout(20):
            while not (await alice.conversations.of(b)).read_by_other:
                await asyncio.sleep(0.05)


async def test_what_is_erased_over_http_goes_here_as_well(people: People, tmp_path: Path) -> None:
    a, b = people.name("alice"), people.name("bob")
    told = Events()
    async with (
        people.client(a) as alice,
        people.client(b, state=tmp_path / "b.db", history=100, on_event=told.append) as bob,
    ):
        (sending,) = await sent(alice, b, "secret")
        await received(bob, 1)
        assert await said(bob, a) == ["secret"]
        path = f"/v1/conversations/{b}/messages/{alice.device}/{sending.stream}/{sending.id}"
        await alice._signed.send("DELETE", path)
        await told.until(lambda event: event == Hint(HintKind.HISTORY_CHANGED, a))
        await told.until(lambda event: isinstance(event, Erased))
        (entry,) = bob.history()
        assert (entry.body, entry.erased_by) == (b"", a)


async def test_hiding_and_finding(people: People, tmp_path: Path) -> None:
    a, b = people.name("alice"), people.name("bob")
    async with people.client(a, state=tmp_path / "a.db", history=100) as alice, people.client(b) as bob:
        await sent(bob, a, "Where is the Cat?", "here")
        await received(alice, 2)
        conversation = await alice.conversations.of(b)
        assert isinstance(conversation, Conversation)
        async with asyncio.timeout(20):
            while not (found := await conversation.find("cat")):
                await asyncio.sleep(0.1)
        assert [message.text for message in found] == ["Where is the Cat?"]
        with pytest.raises(MisuseError):
            await alice.conversations.find(" ")
        await conversation.hide()
        assert await alice.conversations.list() == []
        await sent(bob, a, "again")
        assert [one.user for one in await alice.conversations.list()] == [b]


async def test_where_nothing_is_kept_there_is_what_is_here(tmp_path: Path) -> None:
    node = Node(tmp_path, history__keep_days=0).start()
    try:
        people = People(node, "nothing-kept")
        a, b = people.name("alice"), people.name("bob")
        async with (
            people.client(a, state=tmp_path / "a.db", history=100) as alice,
            people.client(b) as bob,
        ):
            await sent(alice, b, "one", "two")
            await sent(bob, a, "Three")
            await received(alice, 1)
            assert await said(alice, b) == ["one", "two", "Three"]
            assert await said(bob, a) == []
            (conversation,) = await alice.conversations.list()
            assert (conversation.user, conversation.unread) == (b, 1)
            assert [message.text for message in await alice.conversations.find("three")] == ["Three"]
            await conversation.mark_read()
            assert (await alice.conversations.of(b)).unread == 0
            assert await bob.conversations.list() == []
            with pytest.raises(HistoryNotKeptError):
                await conversation.hide()
            (message,) = [each async for each in conversation.backwards() if each.sender == b]
            with pytest.raises(HistoryNotKeptError):
                await conversation.report(message, "rude")
    finally:
        assert node.stop() == 0


async def test_lines_of_a_page_wait_for_nobody_and_come_once(people: People, tmp_path: Path) -> None:
    a, b = people.name("alice"), people.name("bob")
    state = {"state": tmp_path / "b.db", "history": 100}
    async with people.client(b, **state):
        pass
    async with people.client(a) as alice:
        await sent(alice, b, "one", "two")
        # Paged by another device before this one takes them from its inbox.
        async with people.client(b) as other:
            assert await said(other, a) == ["one", "two"]
            await sent(alice, b, "three")
            assert [message.text for message in await received(other, 1)] == ["three"]
    async with people.client(b, **state) as bob:
        assert len(await received(bob, 3)) == 3
        assert await said(bob, a) == ["one", "two", "three"]
        assert len(bob.history()) == 3


def lose(client: Client, number: int) -> None:
    """As if this message had never come."""
    journal = client._journal
    assert isinstance(journal, SqliteJournal)
    journal._do("DELETE FROM history WHERE id = ? AND NOT mine", number)
    journal.commit()


def missing(message: Message) -> Callable[[object], bool]:
    def is_it(event: object) -> bool:
        return isinstance(event, Found) and [each.name for each in event.messages] == [message.name]

    return is_it


async def test_what_has_not_come_is_found_in_the_history(people: People, tmp_path: Path) -> None:
    a, b = people.name("alice"), people.name("bob")
    told = Events()
    async with (
        people.client(a, state=tmp_path / "a.db", history=100, on_event=told.append) as alice,
        people.client(b) as bob,
    ):
        await sent(bob, a, *(f"{number}" for number in range(1, 6)))
        messages = await received(alice, 5)
        keeper, third = alice._keeper, messages[2]
        texts = ["1", "2", "3", "4", "5"]
        assert await said(alice, b) == texts
        assert list(keeper._again) == [b]  # it is looked at once more, in three minutes
        # An append that was slow: the newest page has it now.
        lose(alice, 3)
        keeper._newest_again(b, alice._engine.core.server_ms)  # type: ignore[union-attr]
        await told.until(missing(third))
        assert keeper.history is not None
        assert keeper.history.pages.again() == {}
        assert await said(alice, b) == texts
        # What was skipped (R5): its stretch is paged.
        told.clear()
        lose(alice, 3)
        _, device, stream, _ = third.name
        keeper.noticed(Skipped(b, device, stream, 3, 3))
        await told.until(missing(third))
        fetched = asked(alice)
        assert await said(alice, b) == texts
        assert fetched == []
        # Somebody else was this device: what came to them is not here.
        keeper.history.pages.close("", 1)
        keeper.engine.core.touch()
        keeper.engine.turn()
        assert await said(alice, b) == texts
        assert fetched == [""]


async def test_a_service_that_is_away_says_so_and_what_is_here_is_given(people: People, tmp_path: Path) -> None:
    a, b = people.name("alice"), people.name("bob")
    async with people.client(a, state=tmp_path / "a.db", history=100) as alice, people.client(b) as bob:
        await sent(bob, a, "one")
        await received(alice, 1)
        conversation = await alice.conversations.of(b)

        async def away(*_: object) -> None:
            raise UnreachableError("away")

        messages = alice._keeper.api.messages
        alice._keeper.api.messages = away  # type: ignore[method-assign, assignment]
        with pytest.raises(UnreachableError):
            [message async for message in conversation.backwards()]
        alice._keeper.api.messages = messages  # type: ignore[method-assign]
        assert await said(alice, b) == ["one"]
        alice._keeper.api.messages = away  # type: ignore[method-assign, assignment]
        assert [message.text async for message in conversation.backwards()] == ["one"]


async def test_what_waits_to_be_taken_is_changed_or_gone(people: People, tmp_path: Path) -> None:
    a, b = people.name("alice"), people.name("bob")
    told = Events()
    async with (
        people.client(a) as alice,
        people.client(b, state=tmp_path / "b.db", on_event=told.append) as bob,
    ):
        secret, other = await sent(alice, b, "secret", "wrnog")
        async with asyncio.timeout(20):
            await other.delivered
        await (await secret.erase()).sent
        await (await other.edit("wrong")).sent
        await told.until(lambda event: isinstance(event, Edited))
        (message,) = await received(bob, 1)
        assert (message.text, message.revision) == ("wrong", 1)
        assert message.edited_stamp
        message.taken()
    async with people.client(b, state=tmp_path / "b.db") as bob:
        await sent(bob, a, "nothing waits")
        assert bob._engine is not None
        assert len(bob._engine.arrivals) == 0


async def test_muting(people: People) -> None:
    a, b = people.name("alice"), people.name("bob")
    told = Events()
    async with people.client(a) as phone, people.client(a, on_event=told.append) as pad, people.client(b) as bob:
        conversation = await phone.conversations.of(b)  # where nothing was ever written
        assert conversation.muted_until_ms == 0
        await conversation.mute(3600)
        assert conversation.muted_until_ms == pytest.approx(time.time() * 1000 + 3_600_000, abs=60_000)
        await told.until(lambda event: event == Hint(HintKind.HISTORY_CHANGED, b))
        assert await pad.conversations.mutes() == {b: conversation.muted_until_ms}
        assert (await pad.conversations.of(b)).muted_until_ms == conversation.muted_until_ms
        await sent(bob, a, "hello")
        (message,) = await received(pad, 1)
        assert message.text == "hello"
        (listed,) = await pad.conversations.list()
        assert (listed.muted_until_ms, listed.unread) == (conversation.muted_until_ms, 1)
        assert (await bob.conversations.of(a)).muted_until_ms == 0
        await listed.mute()
        assert (await phone.conversations.of(b)).muted_until_ms == 2**53 - 1
        await listed.unmute()
        await listed.unmute()
        assert await phone.conversations.mutes() == {}
        for wrong in (0, -1, 1.5, "x", True, 10**10):
            with pytest.raises(MisuseError, match="whole number from 1 to"):
                await listed.mute(wrong)  # type: ignore[arg-type]
