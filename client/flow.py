"""What waits inside a client: senders for room, and messages for the application.

Owns both queues and their bounds. Knows no connection.
"""

from __future__ import annotations

import asyncio
from collections import deque

from client.messages import Message
from protocol.errors import SparrowError


def fresh(error: SparrowError) -> SparrowError:
    """The same error, to be raised once more: a traceback grows with every raise."""
    return type(error)(*error.args)


class Gate:
    """Lets so many in, in the order in which they came. More may be in from the start."""

    def __init__(self, places: int, taken: int) -> None:
        self._free = places - taken
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._error: SparrowError | None = None

    async def enter(self) -> None:
        """Take a place, as soon as there is one. Raises the error that the gate was closed with."""
        if self._error is not None:
            raise fresh(self._error)
        if self._free > 0 and not self._waiting:
            self._free -= 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.leave()  # a place was given to us, and we do not want it any more
            raise
        if self._error is not None:
            raise fresh(self._error)

    def leave(self) -> None:
        """Give a place back."""
        if self._free >= 0:
            while self._waiting:
                waiter = self._waiting.popleft()
                if not waiter.done():
                    waiter.set_result(None)
                    return
        self._free += 1

    def close(self, error: SparrowError) -> None:
        """Let nobody in any more."""
        self._error = error
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()


class Arrivals:
    """Messages that the application has not asked for yet, and those it has and may still be working on."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._messages: deque[Message] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._ended: bool = False
        self._error: SparrowError | None = None
        self.given: dict[tuple[str, str, int, int], Message] = {}
        """Given out, and not known to be used."""
        self.full = False
        """More waits than should; until it is half empty again."""

    def put(self, message: Message) -> None:
        """One more."""
        self._messages.append(message)
        if len(self._messages) >= self._limit:
            self.full = True
        self._wake(1)

    def _wake(self, count: int) -> None:
        while self._waiting and count:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    async def get(self) -> Message:
        """The next one. Raises `StopAsyncIteration` behind the last, or the error that ended it all."""
        while not self._messages:
            if self._error is not None:
                raise fresh(self._error)
            if self._ended:
                raise StopAsyncIteration
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake(1)
                raise
        message = self._messages.popleft()
        if len(self._messages) <= self._limit // 2:
            self.full = False
        self.given[message.key] = message
        return message

    def find(self, key: tuple[str, str, int, int]) -> Message | None:
        """One that waits to be taken, by `Message.key`."""
        return next((message for message in self._messages if message.key == key), None)

    def drop(self, message: Message) -> None:
        """It was erased: nobody gets it."""
        self._messages.remove(message)

    def end(self, error: SparrowError | None) -> None:
        """No more will come."""
        self._ended, self._error = True, error
        self._wake(len(self._waiting))

    def __len__(self) -> int:
        return len(self._messages)
