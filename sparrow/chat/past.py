"""What was said before: conversations of other devices and earlier days, as far as somebody wants to see them.

Owns how far back each conversation was read. Draws nothing; lines are the model's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from client import Client, Message
from protocol.errors import SparrowError
from sparrow.chat.conversation import Conversation
from sparrow.chat.model import Model
from sparrow.chat.news import AGAIN_S

NEWEST_LINES: Final = 200
"""Of each conversation, so many are there at the start."""
AT_ONCE: Final = 200
"""Lines that leafing asks for."""


class Past:
    """Of one chat.

    `loaded` is called when older lines are here, `listed` when conversations are, `say` with what went wrong.
    """

    def __init__(
        self,
        model: Model,
        loaded: Callable[[], object],
        listed: Callable[[], object],
        say: Callable[[str], object],
        again_s: Sequence[float] = AGAIN_S,
    ) -> None:
        self._model = model
        self._loaded = loaded
        self._listed = listed
        self._say = say
        self._again_s = again_s
        self._client: Client | None = None
        self._back: dict[str, AsyncIterator[Message]] = {}
        """How far back each conversation was read."""
        self._whole: set[str] = set()
        """Conversations of which all is here."""
        self._one_at_a_time = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None
        self._listing: asyncio.Task[None] | None = None
        self._muting: asyncio.Task[None] | None = None

    def begin(self, client: Client) -> None:
        """Whose past it is."""
        self._client = client

    @property
    def running(self) -> bool:
        """Whether something is looked for."""
        return self._looking is not None and not self._looking.done()

    def cancel(self) -> None:
        """Look for nothing any more."""
        for task in (self._looking, self._listing, self._muting):
            if task is not None:
                task.cancel()

    def connected(self) -> None:
        """What was not to be had may be now: conversations that are not here, and what is unread in them."""
        if self._listing is None or self._listing.done():
            self._listing = asyncio.create_task(self._list())
        self.muted()

    def muted(self) -> None:
        """Another device may have muted a conversation, or does not any more."""
        if self._muting is None or self._muting.done():
            self._muting = asyncio.create_task(self._look_at_mutes())

    async def _look_at_mutes(self) -> None:
        assert self._client is not None
        with contextlib.suppress(SparrowError):  # a service of before mutes nothing; the next connection looks again
            self._model.mute(await self._client.conversations.mutes())
            self._listed()

    async def _list(self) -> None:
        assert self._client is not None
        for wait_s in self._again_s:
            with contextlib.suppress(SparrowError):
                found = await self._client.conversations.list()
                break
            await asyncio.sleep(wait_s)
        else:
            return  # the next connection
        for each in found:
            conversation = self._model.conversation(each.user)
            newest = each.newest
            if newest is not None and not conversation.lines:
                newest.read = newest.wire.stamp <= each.mark
                self._model.older(each.user, newest)
            if not conversation.opened:
                conversation.told_unread = each.unread
        self._listed()

    def torn(self, peer: str) -> None:
        """More may stand in its history than was read back."""
        self._whole.discard(peer)
        self._back.pop(peer, None)

    def look(self, conversation: Conversation) -> None:
        """Get some more of it, in the background."""
        if not self.running and conversation.peer not in self._whole:
            self._looking = asyncio.create_task(self._look(conversation))

    async def _look(self, conversation: Conversation) -> None:
        try:
            await self.older(conversation, AT_ONCE)
        except SparrowError as error:
            self._say(f"older messages: {error}")
        self._loaded()

    async def older(self, conversation: Conversation, count: int) -> int:
        """Put so many more lines into it, if there are; returns how many. Raises what requests raise."""
        assert self._client is not None
        peer, found = conversation.peer, 0
        async with self._one_at_a_time:
            if peer in self._whole:
                return 0
            back = self._back.pop(peer, None)
            if back is None:
                back = (await self._client.conversations.of(peer)).backwards()
            async for message in back:
                found += self._model.older(peer, message) is not None
                if found == count:
                    self._back[peer] = back
                    return found
            self._whole.add(peer)
        return found
