"""Which streams of others are remembered: who begins many is forgotten first, and what strangers cause is bounded.

Owns the counts and the order in which streams were last heard of. Knows nothing of messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from protocol.ids import is_group_id
from protocol.sparrow_pb2 import Message

StreamKey: TypeAlias = tuple[str, str, int]
"""from_id, from_device, stream. In a group, its id stands behind the device: whoever uses one stream for a group and
for something else has two, which cannot get into each other's way."""

MAX_STREAMS_OF_USER: Final = 1_000
"""Of one author, all their devices and restarts together."""
MAX_STREAMS: Final = 100_000
"""Of all authors; beyond it whoever has most gives way."""


def group_of(message: Message) -> str:
    """The group that a message was written to; empty: it is between two users."""
    dest = message.dest_id
    return dest if dest[:1] == "~" and is_group_id(dest) else ""


def stream_key(message: Message) -> StreamKey:
    """The stream of a message."""
    return message.from_id, message.from_device + group_of(message), message.stream


def keyed(device: str, peer: str) -> str:
    """The device of a `StreamKey` in a conversation."""
    return device + peer if is_group_id(peer) else device


def split_device(device: str) -> tuple[str, str]:
    """The device of a `StreamKey`, and its group; empty: none."""
    name, tilde, group = device.partition("~")
    return name, tilde + group


class Streams:
    """Streams by author, those that were silent longest first. Who we are ourselves has as many as we have friends."""

    def __init__(
        self, keys: Iterable[StreamKey] = (), of_user: int = MAX_STREAMS_OF_USER, in_all: int = MAX_STREAMS
    ) -> None:
        self._of_user = of_user
        self._in_all = in_all
        self._count = 0
        self._by_author: dict[str, dict[StreamKey, None]] = {}
        for key in keys:
            self._add(key)

    def __len__(self) -> int:
        return self._count

    def _add(self, key: StreamKey) -> dict[StreamKey, None]:
        mine = self._by_author.setdefault(key[0], {})
        self._count += key not in mine
        mine.pop(key, None)
        mine[key] = None
        return mine

    def heard(self, key: StreamKey) -> None:
        """It is alive."""
        self._add(key)

    def too_many(self, key: StreamKey, me: str, busy: Callable[[StreamKey], bool]) -> StreamKey | None:
        """What to forget for this stream, which is new; None: nothing. Of one that is `busy` more is expected.

        `me` is our own user, whose streams count only in all.
        """
        mine = self._add(key)
        if len(mine) > self._of_user and key[0] != me:
            return self._forget(mine, key, busy)
        if self._count > self._in_all:
            return self._forget(max(self._by_author.values(), key=len), key, busy)
        return None

    def _forget(
        self, streams: dict[StreamKey, None], new: StreamKey, busy: Callable[[StreamKey], bool]
    ) -> StreamKey | None:
        found = next((key for key in streams if key != new and not busy(key)), None)
        if found is not None:
            del streams[found]
            self._count -= 1
        return found
