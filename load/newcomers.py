"""New devices: they read back over HTTP what was said before, and hear what is said from then on.

Owns what one such device asks and hears. What is right of it, `load.readback` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from client.api.web import Web
from load.clients import LoadClient
from load.histogram import Histogram
from load.spec import Account
from load.streams import In
from load.world import World
from protocol.errors import ApiError

LISTED = 100
"""Conversations on one page of their list."""
LONGEST_WAIT_S = 60.0


class Newcomer(LoadClient):
    """Somebody's second device."""

    def __init__(self, account: Account, web: Web, world: World, number: int) -> None:
        """`world`: of new devices alone, since what they are shown was shown to others before."""
        super().__init__(account.token, account.user, world=world, number=number)
        self.device = account.device
        self._web = web
        self.live: set[tuple[int, int]] = set()
        """Stream and id of texts that came as messages."""

    # Over HTTP.

    async def conversations(self) -> list[str]:
        """With whom there are any."""
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            asked = {"limit": str(LISTED)} | ({"after": after} if after else {})
            answer = await self._get("/v1/conversations", asked)
            found += [str(one["id"]) for one in _items(answer, "conversations")]
            after = answer.get("next") or None
        return found

    async def pages(self, other: str, limit: int, took: Histogram) -> AsyncIterator[Sequence[dict[str, Any]]]:
        """All that was said with `other`, from the newest message back. `took`: each request's time."""
        before: str | None = ""
        while before is not None:
            asked = {"limit": str(limit)} | ({"before": before} if before else {})
            began = self.world.clock()
            answer = await self._get(f"/v1/conversations/{other}/messages", asked)
            took.record(self.world.clock() - began)
            messages = _items(answer, "messages")
            self.world.counts.paged += len(messages)
            yield messages
            before = answer.get("next") or None

    async def _get(self, path: str, asked: dict[str, str]) -> dict[str, Any]:
        """Raises what any client's requests raise; one that is made too soon is made again when it may be."""
        while True:
            response = await self._web.request("GET", path, params=asked, token=self.token)
            if response.status_code != 429:
                return self._web.answer(response)
            self.world.counts.refused_for_now += 1
            told = response.headers.get("Retry-After", "1")
            await asyncio.sleep(min(float(told) if told.isdecimal() else 1.0, LONGEST_WAIT_S))

    # On the chat connection.

    def hears(self, key: bytes) -> In | None:
        known = self.ins.get(key)
        if known is None and (author := self.world.streams.get(key)) is not None:
            known = self.ins[key] = In(author)
            self.world.mixed_up += self.user not in (author.dest, author.owner.user)
        return known

    def show(self, heard: In, number: int, body: bytes, late: bool = False) -> None:
        super().show(heard, number, body, late)
        self.live.add((heard.author.number, number))


def _items(answer: dict[str, Any], name: str) -> list[dict[str, Any]]:
    items = answer.get(name)
    if not isinstance(items, list):
        raise ApiError(f"an answer without {name}: is this a user API?")
    return items
