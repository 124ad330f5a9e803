"""Messages of others that were erased before they came here: nobody waits for them.

Owns their names, as many as fit. Knows nothing of what they said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from client.streams import StreamKey, group_of
from protocol.inbound import InboundStream, Shown
from protocol.sparrow_pb2 import Message

MAX_ERASURES: Final = 4096
"""What is forgotten for a newer one is waited for, as what is lost."""


class Erasures:
    """Names, oldest first."""

    def __init__(self, most: int = MAX_ERASURES) -> None:
        self._most = most
        self._names: dict[tuple[StreamKey, int], None] = {}

    def __len__(self) -> int:
        return len(self._names)

    def told(self, message: Message, streams: Mapping[StreamKey, InboundStream[Message]]) -> StreamKey:
        """An ERASE has come: in whose stream its target is waited for no more."""
        key = (message.from_id, message.about.from_device + group_of(message), message.about.stream)
        stream = streams.get(key)
        for number in message.about.ids:
            if stream is None or number >= stream.next:
                self._add(key, number)
        return key

    def _add(self, key: StreamKey, number: int) -> None:
        self._names[key, number] = None
        if len(self._names) > self._most:
            del self._names[next(iter(self._names))]

    def go_past(
        self, key: StreamKey, stream: InboundStream[Message], paged: Callable[[int], bool]
    ) -> tuple[list[Shown[Message]], list[int]]:
        """Past what is missing in a stream, and paged or erased; what may be shown now, and what was erased."""
        if not stream.parked:
            return [], []
        gone: list[int] = []

        def is_over(number: int) -> bool:
            if paged(number):
                return True
            if (key, number) not in self._names:
                return False
            del self._names[key, number]
            gone.append(number)
            return True

        return stream.go_past(is_over), gone
