"""Groups between this release and 0.1, which knew none: nothing comes to who cannot read it, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from client import Client, Groups, GroupsNotOfferedError, Message, Options, State, Timing
from protocol.sparrow_pb2 import Login
from tests.sparrow.people import People
from tests.sparrow.serving import FakeServer, FakeSession, Node

QUICK = Options(close_timeout_s=0.1, timing=Timing(first_retry_s=0.02, last_retry_s=0.2, logout_timeout_s=0.1))
GROUP = "~k7q2m5xw3n4c6z7abfde2rsg"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A server of this release."""
    made = Node(tmp_path_factory.mktemp("node")).start()
    yield made
    assert made.stop() == 0
    assert "Traceback" not in made.log


async def taken(client: Client, count: int) -> list[Message]:
    """The next messages."""
    async with asyncio.timeout(20):
        messages = aiter(client)
        return [await anext(messages) for _ in range(count)]


async def test_a_client_of_0_1(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = People(node, "old")
    alice, bob = people.name(), people.name()
    state = tmp_path / "bob.db"
    async with people.client(alice) as writer:
        async with people.client(bob, state=state) as first:
            group = (await writer.groups.make("Hiking")).group
            await writer.groups.add(group, bob)
            await first.groups.join(group)

        # The same device, with a client that has never heard of groups.
        with monkeypatch.context() as patch:
            patch.setattr("client.core.UNDERSTANDS", ())
            async with people.client(bob, state=state) as old:
                for number in range(3):
                    await (await writer.send(group, f"in the group {number}")).sent
                await (await writer.send(bob, "to you alone")).sent
                assert [one.text for one in await taken(old, 1)] == ["to you alone"]
                await (await old.send(alice, "thanks")).delivered

        # It is upgraded, and has all of it.
        async with people.client(bob, state=state) as new:
            found = await taken(new, 3)
        assert [(one.group, one.text) for one in found] == [(group, f"in the group {number}") for number in range(3)]


class OldApi:
    """The user API of 0.1, as far as groups go: there is nothing at these paths."""

    async def __aenter__(self) -> OldApi:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.asked = 0
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        body = json.dumps({"code": "not_found", "detail": "There is nothing at this path."}).encode()
        head = f"HTTP/1.1 404 NOT FOUND\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()


@pytest.fixture
async def old_api() -> AsyncIterator[OldApi]:
    """It runs."""
    async with OldApi() as made:
        yield made


ASKS: list[Callable[[Groups], Awaitable[object]]] = [
    lambda groups: groups.list(),
    lambda groups: groups.of(GROUP),
    lambda groups: groups.make("Hiking"),
    lambda groups: groups.changes(GROUP),
    lambda groups: groups.add(GROUP, "bob"),
    lambda groups: groups.leave(GROUP),
    lambda groups: groups.invitations(),
    lambda groups: groups.join(GROUP),
    lambda groups: groups.look("secret"),
]


async def test_a_user_api_of_0_1(old_api: OldApi) -> None:
    async with FakeServer(lambda session, event: isinstance(event, Login) and session.welcome()) as server:
        more = {"on_event": lambda event: None, "options": QUICK}
        async with Client("alice", api=old_api.url, **server.arguments(**more)) as alice:
            assert old_api.asked == 0  # nothing is asked where the server names no groups
            for ask in ASKS:
                with pytest.raises(GroupsNotOfferedError, match="this service knows no groups"):
                    await ask(alice.groups)


async def test_a_server_of_0_1_is_sent_nothing_to_groups_until_it_is_upgraded(old_api: OldApi) -> None:
    understands: list[str] = []

    def happens(session: FakeSession, event: object) -> None:
        if isinstance(event, Login):
            session.welcome(understands=understands)

    async with (
        FakeServer(happens) as server,
        Client("alice", api=old_api.url, **server.arguments(options=QUICK)) as alice,
    ):
        waiting = await alice.send(GROUP, "where to?")
        beside = await alice.send("bob", "hello")
        async with asyncio.timeout(20):
            while not beside.stream or not server.sessions[-1].messages():
                await asyncio.sleep(0.01)
        assert (waiting.state, waiting.stream) == (State.QUEUED, 0)
        assert waiting.note == "the server is an older one that does not know this yet"
        assert [each.dest_id for each in server.sessions[-1].messages()] == ["bob"]

        understands.append("groups")
        server.sessions[-1].transport.abort()
        async with asyncio.timeout(20):
            while GROUP not in [each.dest_id for each in server.sessions[-1].messages()]:
                await asyncio.sleep(0.01)
        assert (waiting.id, waiting.text, waiting.note) == (1, "where to?", "")
