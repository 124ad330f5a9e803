"""What was written before a state was copied or restored may have been sent already: a person is asked (K5)."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from client import Client, Doubtful, Event, State
from protocol.errors import RefusedError
from sparrow.chat.chat import Chat
from sparrow.chat.commands import obey
from sparrow.chat.plain import PlainView
from tests.client.test_client_dialogue import options, polite, until
from tests.sparrow.serving import FakeServer


async def written(path: Path, *texts: str, server: FakeServer | None = None) -> None:
    """A state with drafts: what was written while no server could be reached."""
    arguments = FakeServer(polite).arguments if server is None else server.arguments
    values = {"token": "token-of-alice", "connectors": ["127.0.0.1:1"]} if server is None else arguments()
    async with Client("alice", state=path, background=True, history=10, options=options(), **values) as alice:
        for text in texts:
            await alice.send("bob", text)
        await alice.mark_read("bob", "b1", 9, [1])


def said(server: FakeServer) -> list[str]:
    return [each.body.decode() for session in server.sessions for each in session.messages() if each.body]


async def test_a_copy_sends_nothing_by_itself(tmp_path: Path) -> None:
    await written(tmp_path / "one.db", "first", "second")
    shutil.copy(tmp_path / "one.db", tmp_path / "two.db")
    async with FakeServer(polite) as server:
        async with Client("alice", state=tmp_path / "one.db", options=options(), **server.arguments()) as alice:
            assert alice.doubtful == []
            await until(lambda: not alice.unsettled)
        assert said(server) == ["first", "second"]
        told: list[Event] = []
        arguments = server.arguments(state=tmp_path / "two.db", options=options(), on_event=told.append, history=10)
        async with Client("alice", **arguments) as copy:
            first, second = copy.doubtful
            assert [event.sendings for event in told if isinstance(event, Doubtful)] == [(first, second)]
            assert (first.text, first.note) == ("first", "it may have been sent already")
            assert copy.unsettled == []
            new = await copy.send("bob", "new")
            await new.sent
            # READ was told again, which does no harm; the texts were not, and not by another start.
            assert said(server) == ["first", "second", "new"]
        async with Client("alice", **arguments) as copy:
            first, second = copy.doubtful
            await copy.send_again(first)
            await first.sent
            await copy.send_again(first)  # it is none any more
            waiting = asyncio.create_task(second.wait(State.SENT))
            await asyncio.sleep(0)
            await copy.give_up(second)
            await copy.give_up(second)
            with pytest.raises(RefusedError, match="given up"):
                await waiting
            assert copy.doubtful == []
            notes = {entry.body: (entry.state, entry.note) for entry in copy.history()}
            assert notes[b"second"] == (State.FAILED, "given up: it may have been sent already")
        async with Client("alice", **arguments) as copy:
            assert (copy.doubtful, copy.unsettled) == ([], [])
        assert said(server) == ["first", "second", "new", "first"]


async def test_what_was_written_since_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    await written(path, "old")
    async with FakeServer(polite) as server:
        server.previous = 7  # somebody else was this device
        arguments = server.arguments(state=path, options=options(), background=True)
        async with Client("alice", **arguments) as alice:
            await (await alice.send("bob", "written now")).sent
            assert [each.text for each in alice.doubtful] == ["old"]
            assert said(server) == ["written now"]
    # A person may answer before there is a connection, and is not asked again.
    values = {"token": "token-of-alice", "connectors": ["127.0.0.1:1"]}
    async with Client("alice", state=path, background=True, options=options(), **values) as alice:
        await alice.send_again(alice.doubtful[0])
        assert [each.text for each in alice.unsettled] == ["old"]


class Shown(PlainView):
    """Keeps what would be printed."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def _print(self, text: str) -> None:
        self.said.append(text)


async def test_the_chat_asks_its_person(tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    await written(path, "old", "older")
    view = Shown()
    chat = view._chat = Chat("alice", view, obey)
    async with FakeServer(polite) as server:
        server.previous = 7
        arguments = server.arguments(state=path, options=options(), history=10, on_event=chat.happened, background=True)
        async with Client("alice", **arguments) as alice:
            chat.begin(alice)
            running = asyncio.create_task(chat.run())
            await until(lambda: any("2 of your messages may have been sent already" in line for line in view.said))
            chat.submit("/unsent")
            await until(lambda: "-- to bob: older" in view.said)
            chat.submit("/unsent nonsense")
            await until(lambda: "-- what? /unsent [send|drop]" in view.said)
            assert said(server) == []
            chat.submit("/to bob")
            chat.submit("/unsent send")
            await until(lambda: said(server) == ["old", "older"])
            chat.submit("/unsent")
            await until(lambda: any("nothing: all that you wrote" in line for line in view.said))
            running.cancel()
            await asyncio.wait([running])


async def test_nothing_is_read_that_nobody_has_opened(tmp_path: Path) -> None:
    view = Shown()
    chat = view._chat = Chat("alice", view, obey)

    def reads(server: FakeServer) -> list[list[int]]:
        return [list(each.about.ids) for session in server.sessions for each in session.messages() if each.kind == 3]

    async with FakeServer(polite) as server:
        arguments = server.arguments(state=tmp_path / "s.db", options=options(), history=10, on_event=chat.happened)
        async with Client("alice", **arguments) as alice:
            chat.begin(alice)
            running = asyncio.create_task(chat.run())
            for number in (1, 2):
                server.sessions[0].message(id=number, settled=number, body=b"hi", stamp=number << 20)
            server.sessions[0].flush()
            await until(lambda: view.said.count("bob: hi") == 2)
            assert chat.current is None
            chat.submit("@carol  @bob /to bob //x")
            chat.submit("//x")
            chat.submit("@@bob")
            await until(lambda: said(server) == ["@bob /to bob //x", "/x", "@bob"])
            assert reads(server) == []
            running.cancel()
            await asyncio.wait([running])
        view = Shown()
        chat = view._chat = Chat("alice", view, obey)
        arguments["on_event"] = chat.happened
        async with Client("alice", **arguments) as alice:
            chat.begin(alice)  # the latest conversation is shown, and was opened by nobody
            running = asyncio.create_task(chat.run())
            chat.submit("/to bob")
            await until(lambda: reads(server) == [[1, 2]])
            chat.submit("/to carol")
            await until(lambda: chat.current is not None and chat.current.peer == "carol")
            server.sessions[-1].message(id=3, settled=3, body=b"more", stamp=3 << 20)
            server.sessions[-1].flush()
            await until(lambda: "bob: more" in view.said)
            assert reads(server) == [[1, 2]]
            running.cancel()
            await asyncio.wait([running])
