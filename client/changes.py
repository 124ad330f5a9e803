"""Edits and erasures of messages: which of them counts, by the name of their target (docs/design/history.md, R-E).

Owns that decision, and the bound of what is remembered. Knows no file: who keeps it is told what has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from client.state import MessageName
from client.streams import keyed
from protocol.allowed import MAX_REVISION
from protocol.sparrow_pb2 import EDIT, ERASE, TEXT, Message

MAX_CHANGES: Final = 10_000
"""Targets that are remembered; who changes most loses their oldest first."""
MAX_BYTES: Final = 8 * 1024 * 1024
"""Bytes of their texts."""
OPERATOR: Final = "operator"
NO_NAME: Final = ("", 0, 0)


class Target(NamedTuple):
    """A message that was changed, in a conversation. Only there, and only by its author, does a change apply."""

    peer: str
    """The other user of the conversation, or the group."""
    author: str
    device: str
    stream: int
    id: int

    @property
    def name(self) -> MessageName:
        """What names the message for ever."""
        return self[1:]

    @property
    def key(self) -> MessageName:
        """The same where it stands beside others: a group's id is behind the device (`client.streams.StreamKey`)."""
        return self.author, keyed(self.device, self.peer), self.stream, self.id


@dataclass(frozen=True, slots=True)
class Change:
    """What is true of a target from now on."""

    target: Target
    revision: int = 0
    """Of the edit that counts; 0: it was erased and nothing else is known."""
    edit: tuple[str, int, int] = NO_NAME
    """Device, stream and id of that edit; the author is the target's."""
    body: bytes = b""
    """The text from now on; empty of what was erased."""
    stamp: int = 0
    """Of the edit, or of the erasure."""
    erased_by: str = ""
    """Not empty: it is no more. A user, or "operator"."""

    def applies_to(self, kind: int) -> bool:
        """Only a TEXT can be edited."""
        return bool(self.erased_by) or kind == TEXT

    def is_above(self, other: Change | None) -> bool:
        """Whether it counts where both are known. Erased is final."""
        if other is None:
            return True
        if other.erased_by:
            return False
        return bool(self.erased_by) or (self.revision, self.edit) > (other.revision, other.edit)


def change_of(message: Message, peer: str) -> Change | None:
    """What an EDIT or ERASE says; None if it is neither, or names nothing that there can be."""
    about = message.about
    if message.kind not in (EDIT, ERASE) or not about.stream or len(about.ids) != 1:
        return None
    target = Target(peer, message.from_id, about.from_device, about.stream, about.ids[0])
    if message.kind == ERASE:
        return Change(target, stamp=message.stamp, erased_by=message.from_id)
    if not 1 <= message.revision <= MAX_REVISION:
        return None
    name = (message.from_device, message.stream, message.id)
    return Change(target, message.revision, name, message.body, message.stamp)


class Changes:
    """The highest change of each target, whether the target is known or not.

    `keep` and `drop` are told what is to be kept from now on, and what not any more.
    """

    def __init__(
        self,
        keep: Callable[[Change], object] = lambda change: None,
        drop: Callable[[Target], object] = lambda target: None,
        *,
        most: int = MAX_CHANGES,
        most_bytes: int = MAX_BYTES,
    ) -> None:
        self._keep = keep
        self._drop = drop
        self._most = most
        self._most_bytes = most_bytes
        self._by_peer: dict[str, dict[Target, Change]] = {}
        self._count = self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def restore(self, change: Change) -> None:
        """Put back what was kept, oldest first."""
        self._put(change)

    def apply(self, change: Change) -> bool:
        """Remember a change, unless one that counts more is known; whether it counts."""
        if not change.is_above(self.get(change.target)):
            return False
        self._put(change)
        self._keep(change)
        while self._count > self._most or self._bytes > self._most_bytes:
            self._forget_one()
        return True

    def get(self, target: Target) -> Change | None:
        """What counts for this message."""
        return self._by_peer.get(target.peer, {}).get(target)

    def _put(self, change: Change) -> None:
        known = self._by_peer.setdefault(change.target.peer, {})
        old = known.pop(change.target, None)
        known[change.target] = change
        self._count += old is None
        self._bytes += len(change.body) - (len(old.body) if old is not None else 0)

    def _forget_one(self) -> None:
        peer = max(self._by_peer, key=lambda each: len(self._by_peer[each]))
        known = self._by_peer[peer]
        # An erasure is worth more than a text that a page tells as well.
        target = next((each for each, change in known.items() if not change.erased_by), next(iter(known)))
        self._bytes -= len(known.pop(target).body)
        self._count -= 1
        if not known:
            del self._by_peer[peer]
        self._drop(target)
