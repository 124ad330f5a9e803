"""Users of a test's own, and clients of theirs.

Owns nothing but their names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from client import Client, Event, Options, Timing
from tests.sparrow.serving import PASSWORD, Node

OPTIONS = Options(close_timeout_s=2.0, timing=Timing(first_retry_s=0.02, last_retry_s=0.2))


class People:
    """Registers users whose names no other test has."""

    def __init__(self, node: Node, test: str) -> None:
        self.node = node
        self._test = abs(hash(test)) % 10**8
        self._made = 0

    def name(self, name: str = "user") -> str:
        """A new user."""
        self._made += 1
        user = f"{name}-{self._test}-{self._made}"
        self.node.register(user)
        return user

    def client(self, user: str, **more: object) -> Client:
        """A device of theirs, with their password; not open yet."""
        values: dict[str, object] = {"password": PASSWORD, "api": self.node.api, "options": OPTIONS}
        return Client(user, **(values | more))  # type: ignore[arg-type]


class Events(list[Event]):
    """Collects; waits until something was told."""

    async def until(self, condition: Callable[[Event], object]) -> Event:
        async with asyncio.timeout(20):
            while True:
                for event in self:
                    if condition(event):
                        return event
                await asyncio.sleep(0.01)
