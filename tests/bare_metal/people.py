"""People who talk to one another through a server on a machine.

Owns their clients and what they read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from client import Client
from tests.bare_metal.machine import GUARD_S

PASSWORD = "correct horse"


class Pair:
    """Two people on one server; what the first writes, the second reads."""

    def __init__(self, folder: Path, api: str, ca: Path | None = None) -> None:
        self._folder = folder
        self._api = api
        self._ca = ca

    @asynccontextmanager
    async def talking(self, prefix: str) -> AsyncIterator[Talk]:
        """Both are logged in; accounts that are not there are made, and devices are the same again next time."""
        names = [f"{prefix}-{name}" for name in ("alice", "bob")]
        clients = [
            Client(
                name,
                password=PASSWORD,
                register=not (self._folder / f"{name}.db").exists(),
                api=self._api,
                ca=self._ca,
                state=self._folder / f"{name}.db",
            )
            for name in names
        ]
        async with clients[0], clients[1]:
            talk = Talk(*clients)
            reading = asyncio.create_task(talk.read())
            try:
                yield talk
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)


class Talk:
    """What is said, and what has arrived."""

    def __init__(self, author: Client, reader: Client) -> None:
        self._author = author
        self._reader = reader
        self.said: list[str] = []
        self.heard: list[str] = []

    async def say(self, text: str) -> None:
        """Return when it is SENT."""
        sending = await self._author.send(self._reader.user, text)
        self.said.append(text)
        async with asyncio.timeout(GUARD_S):
            await sending.sent

    async def read(self) -> None:
        async for message in self._reader:
            assert message.text is not None
            self.heard.append(message.text)

    async def all_heard(self) -> None:
        """Everything that was said has arrived: once, and in order."""
        async with asyncio.timeout(GUARD_S):
            while len(self.heard) < len(self.said):
                await asyncio.sleep(0.05)
        assert self.heard == self.said
