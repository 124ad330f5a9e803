"""Messages of groups that wait for the group's changes: change *v* is shown before the first message of version *v* or
later (docs/protocol.md, "Groups").

Owns which wait, and for how long. Keeps nothing itself and fetches nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from protocol.inbound import Shown
from protocol.sparrow_pb2 import Message

WAIT_S: Final = 10.0
"""Changes that cannot be had for so long are shown behind the messages."""


class Held:
    """Of all groups, each one's in the order in which they came. `now` is in seconds of the core's steady clock."""

    def __init__(self) -> None:
        self._shown: dict[str, int] = {}
        """Changes up to here are shown."""
        self._given_up: dict[str, int] = {}
        """Messages up to this version were shown without."""
        self._waiting: dict[str, deque[Shown[Message]]] = {}
        self._since: dict[str, float] = {}

    def restore(self, versions: Mapping[str, int]) -> None:
        """Put back what was shown."""
        self._shown.update(versions)

    def begin(self, now: float) -> None:
        """What waits by now does so from here on."""
        self._since = dict.fromkeys(self._waiting, now)

    def version(self, group: str) -> int:
        """Up to which version this group's changes are shown; 0: nothing is known of it."""
        return self._shown.get(group, 0)

    def waiting(self) -> dict[str, int]:
        """Groups that have something, and up to which version their changes are wanted."""
        return {group: max(each.item.version for each in queue) for group, queue in self._waiting.items()}

    def must_wait(self, group: str, version: int) -> bool:
        """Whether a message is to wait: for the changes, or behind another one that does."""
        return group in self._waiting or version > max(self._shown.get(group, 0), self._given_up.get(group, 0))

    def put(self, group: str, message: Shown[Message], now: float) -> bool:
        """It waits; whether more changes are wanted than before."""
        queue = self._waiting.get(group)
        if queue is None:
            queue = self._waiting[group] = deque()
            self._since[group] = now
        news = all(each.item.version < message.item.version for each in queue)
        queue.append(message)
        return news

    def drop(self, message: Message) -> bool:
        """It was erased, and does not wait any more; whether it did."""
        group, name = message.dest_id, _name(message)
        queue = self._waiting.get(group, ())
        left = deque(one for one in queue if _name(one.item) != name)
        if len(left) == len(queue):
            return False
        self._keep(group, left)
        return True

    def at(self, group: str, version: int) -> list[Shown[Message]]:
        """The changes up to `version` are shown; returns what may be shown behind them."""
        self._shown[group] = max(version, self._shown.get(group, 0))
        queue = self._waiting.get(group)
        free: list[Shown[Message]] = []
        while queue and queue[0].item.version <= self._shown[group]:
            free.append(queue.popleft())
        if queue is not None:
            self._keep(group, queue)
        return free

    def left(self, group: str) -> list[Shown[Message]]:
        """Nothing more is told of this group; returns what may be shown."""
        self._shown.pop(group, None)
        self._given_up.pop(group, None)
        self._since.pop(group, None)
        return list(self._waiting.pop(group, ()))

    def _keep(self, group: str, queue: deque[Shown[Message]]) -> None:
        if queue:
            self._waiting[group] = queue
        else:
            self._waiting.pop(group, None)
            self._since.pop(group, None)

    def overdue(self, now: float) -> list[Shown[Message]]:
        """What has waited for too long."""
        free: list[Shown[Message]] = []
        for group in [group for group, since in self._since.items() if now - since >= WAIT_S]:
            queue = self._waiting.pop(group)
            del self._since[group]
            self._given_up[group] = max(each.item.version for each in queue)
            free += queue
        return free

    def next_due(self) -> float | None:
        """When `overdue` will have something; None: never."""
        return min(self._since.values()) + WAIT_S if self._since else None


def _name(message: Message) -> tuple[str, str, int, int]:
    return message.from_id, message.from_device, message.stream, message.id
