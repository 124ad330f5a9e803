"""When to ask for a Sync, and of what: of everything, or of one group where only its streams miss something.

Owns the one Sync that is open (docs/protocol.md, R9). Shows nothing: what an answer means is each stream's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from client.streams import StreamKey, split_device
from protocol.client import ClientSession
from protocol.inbound import InboundStream
from protocol.sparrow_pb2 import Message

GROUP_EVERY_S: Final = 1.0
"""The server answers a Sync of one group no oftener."""

Blocked = Mapping[StreamKey, InboundStream[Message]]


class Syncs:
    """Of one device, over all its connections. `now` is in seconds of the core's steady clock."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        """An answer that takes longer is asked for again."""
        self._last = self._open = 0
        self._at = self._group_at = float("-inf")

    def disconnected(self) -> None:
        """What was asked is not answered."""
        self._open = 0

    def synced(self, n: int) -> None:
        """All that were asked up to `n` are answered."""
        if n >= self._open:
            self._open = 0

    def ask(self, blocked: Blocked, session: ClientSession, order_wait_s: float, now: float) -> None:
        """Ask, if there is something to ask and nothing open."""
        if self._open and now - self._at < self._timeout_s:
            return
        wanting = {key: stream for key, stream in blocked.items() if stream.wants_sync(order_wait_s)}
        # What was asked and not answered for so long is asked again; the first answer to either will do.
        again = [key for key, stream in blocked.items() if stream.syncing] if self._open else []
        groups = {split_device(key[1])[1] for key in (*wanting, *again)}
        if not groups:
            self._open = 0
            return
        group = "" if "" in groups or (again and len(groups) > 1) else min(groups)
        if group:
            if now - self._group_at < GROUP_EVERY_S:
                return
            self._group_at = now
            wanting = {key: stream for key, stream in wanting.items() if split_device(key[1])[1] == group}
        self._last += 1
        self._open, self._at = self._last, now
        for stream in wanting.values():
            stream.asked(self._last, order_wait_s)
        session.sync(self._last, group)
