"""The state file of a client of 0.1 that holds what nobody may send any more, against a real node."""

import asyncio
import dataclasses
from pathlib import Path

from client import Client, Disconnected
from client.journal import SqliteJournal
from protocol.outbound import OutboundStream, Outgoing
from protocol.sparrow_pb2 import About
from tests.sparrow.serving import PASSWORD, Node


async def test_a_state_file_of_an_older_release_with_what_nobody_may_send(node: Node, tmp_path: Path) -> None:
    a, b = "state-alice", "state-bob"
    node.register(a)
    node.register(b)
    state = tmp_path / "state.db"
    about = About(from_device="b1", stream=7, ids=[1])
    not_allowed = [
        Outgoing(b, 0, b"no kind", None),
        Outgoing(b, 77, b"a kind that is not ours to give", None),
        Outgoing(b, -1, b"a negative one", None),
        Outgoing(b, 1, b"\xff", None),
        Outgoing(b, 3, b"", None),
        Outgoing(b, 3, b"", About(from_device="B/1", stream=7, ids=[1])),
        Outgoing(b, 3, b"", About(from_device="b1", stream=7, ids=[2**64 - 1])),
        Outgoing(b, 3, b"body", about),
    ]
    async with Client(a, password=PASSWORD, api=node.api, state=state):
        pass
    journal = SqliteJournal(state)
    stream = OutboundStream(9, b, len(not_allowed) + 1, False)
    journal.put_outbound(stream)
    for number, outgoing in enumerate(not_allowed, 1):
        journal.put_outgoing(dataclasses.replace(outgoing, stream=stream, id=number))
    journal.commit()
    journal.close()
    events: list[object] = []
    async with (
        Client(a, password=PASSWORD, api=node.api, state=state, on_event=events.append) as alice,
        Client(b, password=PASSWORD, api=node.api) as bob,
    ):
        async with asyncio.timeout(20):
            await (await alice.send(b, "and still here")).sent
        async with asyncio.timeout(20):
            assert (await anext(aiter(bob))).text == "and still here"
        assert alice.unsettled == []
        assert not any(isinstance(event, Disconnected) for event in events)
    async with Client(a, password=PASSWORD, api=node.api, state=state) as alice:
        assert alice.unsettled == []
