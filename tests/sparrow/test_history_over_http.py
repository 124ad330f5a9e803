"""What is kept of conversations, at a node that runs: silent blocks, marks, and erasing over HTTP, told to clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from client import Client, Hint, HintKind
from tests.sparrow.people import OPTIONS, Events
from tests.sparrow.serving import PASSWORD, Node


class Person:
    """A device that speaks HTTP alone."""

    def __init__(self, node: Node, user: str) -> None:
        self._api = httpx.AsyncClient(base_url=node.api, trust_env=False)
        self._user = user

    async def __aenter__(self) -> Person:
        answer = await self._api.post("/v1/login", json={"user": self._user, "password": PASSWORD}, timeout=30)
        self._api.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.aclose()

    async def does(self, method: str, path: str) -> Any:
        """A request that succeeds."""
        answer = await self._api.request(method, path)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def texts(self, other: str) -> list[str]:
        """What is there, newest first."""
        found = await self.does("GET", f"/v1/conversations/{other}/messages")
        return [one["text"] for one in found["messages"]]

    async def until(self, path: str, wanted: Callable[[Any], bool]) -> Any:
        """What is answered as soon as it is so."""
        async with asyncio.timeout(20):
            while not wanted(found := await self.does("GET", path)):
                await asyncio.sleep(0.05)
        return found


async def test_a_silent_block_freezes_what_is_shown_and_an_erasure_crosses_it(tmp_path: Path) -> None:
    node = Node(tmp_path, broker__blocks_are_silent="true", userapi__blocks_are_silent="true").start()
    node.register("alice", "bob")
    events = Events()
    try:
        async with (
            Client("alice", password=PASSWORD, api=node.api, options=OPTIONS) as alice,
            Client("bob", password=PASSWORD, api=node.api, options=OPTIONS, on_event=events.append) as bob,
            Person(node, "alice") as hers,
            Person(node, "bob") as his,
        ):
            await (await alice.send("bob", "one")).sent
            async for message in bob:  # the first
                await message.mark_read()
                break
            path = "/v1/conversations/bob"
            before = await hers.until(path, lambda found: found["read_by_other"] != "0")
            assert before["read_by_other"] == before["newest"]["stamp"]
            await his.does("PUT", "/v1/blocks/alice")
            await (await alice.send("bob", "two")).sent
            assert await hers.texts("bob") == ["two", "one"]
            assert await his.texts("alice") == ["one"]
            stamp = (await his.does("GET", "/v1/conversations/alice"))["newest"]["stamp"]
            assert (await hers.does("GET", path))["read_by_other"] == stamp == before["read_by_other"]
            name = before["newest"]
            await hers.does("DELETE", f"{path}/messages/{name['device']}/{name['stream']}/{name['id']}")
            await events.until(lambda event: event == Hint(HintKind.HISTORY_CHANGED, "alice"))
            assert await his.texts("alice") == [""]
            assert await hers.texts("bob") == ["two", ""]
    finally:
        assert node.stop() == 0, node.log
    assert "Traceback" not in node.log
