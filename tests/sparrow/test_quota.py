"""A full inbox, and what a block drops, as people at a real node see them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from client import Message, SendingChanged, State
from tests.sparrow.people import Events, People
from tests.sparrow.serving import Node

SMALL = {
    "broker__inbox_max_rows": 40,
    "broker__inbox_max_rows_of_author": 8,
    "broker__inbox_max_bytes": 4_000_000,
    "broker__inbox_max_bytes_of_author": 800_000,
    "broker__inbox_look_s": 0.2,
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with small inboxes."""
    made = Node(tmp_path_factory.mktemp("small"), **SMALL).start()
    yield made
    assert made.stop() == 0, made.log
    assert "Traceback" not in made.log


async def test_a_full_inbox_is_told_and_all_comes_in_the_end(small: Node) -> None:
    """In order, each once: what was refused for an hour is tried as soon as something goes through."""
    people = People(small, "full")
    alice, bob = people.name("alice"), people.name("bob")
    events = Events()
    async with people.client(alice, on_event=events.append) as writer:
        sendings = [await writer.send(bob, f"{number}") for number in range(14)]
        await sendings[0].sent
        await events.until(lambda event: isinstance(event, SendingChanged) and event.sending.note)
        await asyncio.sleep(0.5)
        waiting = [sending for sending in sendings if sending.state == State.QUEUED]
        assert 3 <= len(waiting) <= 6
        assert {sending.note for sending in waiting} == {"their inbox is full, or that of another device of yours"}
        # Everybody else goes on.
        carol = people.name("carol")
        await (await writer.send(carol, "hello")).sent
        shown: list[str] = []
        async with people.client(bob) as reader:
            async with asyncio.timeout(60):
                more = False
                async for message in reader:
                    shown.append(message.text)
                    if not more:
                        more = True
                        sendings.append(await writer.send(bob, "14"))
                    if len(shown) == 15:
                        break
            for sending in sendings:
                await sending.sent
                assert sending.note == ""
        assert sorted(shown, key=int) == [str(number) for number in range(15)]


async def test_a_block_drops_what_waits(small: Node) -> None:
    people = People(small, "block")
    alice, bob, mallory = (people.name(name) for name in ("alice", "bob", "mallory"))
    async with people.client(mallory) as writer:
        for number in range(5):
            await (await writer.send(alice, f"junk {number}")).sent
    async with people.client(bob) as writer:
        await (await writer.send(alice, "hello")).sent
    body = {"user": alice, "password": "correct horse"}
    with httpx.Client(base_url=small.api, trust_env=False) as api:
        token = api.post("/v1/login", json=body).json()["access_token"]
        answer = api.put(f"/v1/blocks/{mallory}", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200, answer.text
    shown: list[Message] = []
    async with people.client(alice) as reader, asyncio.timeout(30):
        async for message in reader:
            shown.append(message)
            break
        await asyncio.sleep(0.5)
    assert [message.text for message in shown] == ["hello"]
