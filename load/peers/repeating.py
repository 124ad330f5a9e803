"""What people at servers have in common that give each message "at least once", MQTT at QoS 1 and JetStream.

Owns what of a person's is under way, that it goes again behind a connection that broke, that what comes again is
dropped, and what is to be told as delivered. Knows nothing of what is said to the server.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from load.people import Person
from load.streams import Out
from load.wire import read_head
from load.world import World

K = TypeVar("K")
_NUMBER = struct.Struct("<Q")


class RepeatingPerson(Person, Generic[K]):
    """A client of such a server, which names what waits for an answer by a `K`."""

    def __init__(self, user: str, body_bytes: int, world: World, number: int) -> None:
        super().__init__(user, body_bytes, world, number)
        self.name = user.encode()
        self._under_way: dict[K, tuple[Out, int] | None] = {}
        """What waits for the server's answer; None is a receipt."""
        self._to_tell: dict[int, list[int]] = {}
        """Stream → what is to be told as delivered."""

    def _arrived(self) -> None:
        """The server knows what is for this one."""
        self.welcomed()
        # What had no answer when the connection broke goes again, in its order.
        again = [what for what in self._under_way.values() if what is not None]
        self._under_way.clear()
        for out, number in again:
            if number in out.open:
                self.world.counts.resent += 1
                self.put(out, number, out.open[number])
        self.send_backlog()

    def _text(self, content: bytes) -> None:
        """Somebody's text has come."""
        _, number, stream = read_head(content)
        if stream in self.outs:
            return  # a group's, by this one
        heard = self.hears(stream.to_bytes(8, "little"))
        if heard is None:
            self.world.counts.foreign += 1
            return
        if heard.tally.has(number):
            # "At least once": who wants once drops repeats by a number of his own, as here.
            self.world.counts.repeated_on_the_wire += 1
            return
        self.show(heard, number, content)
        if heard.author.group is None:
            self._to_tell.setdefault(stream, []).append(number)

    def _receipt(self, content: bytes) -> None:
        """A receipt has come."""
        stream, *numbers = (value for (value,) in _NUMBER.iter_unpack(content))
        out = self.outs.get(stream)
        if out is not None:
            self.was_delivered(out, numbers)

    def _receipts(self) -> Iterator[tuple[Any, bytes]]:
        """What is to be told now: whom, and the receipt."""
        to_tell, self._to_tell = self._to_tell, {}
        for stream, numbers in to_tell.items():
            author = self.world.streams[stream.to_bytes(8, "little")].owner
            yield author, b"".join(_NUMBER.pack(value) for value in (stream, *numbers))
