"""The receiving end of one stream: order, once, and what to do about what is missing (docs/protocol.md, "Receiving").

Owns `next`, the gaps and what is parked. Knows no clock: the owner says how long the stream was blocked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

Item = TypeVar("Item")


class Shown(NamedTuple, Generic[Item]):
    """A message to show; `late` if a later one of its stream was shown before it."""

    item: Item
    late: bool


MAX_SETTLED_GAPS: Final = 256
"""With more gaps than this that are settled, a Sync is asked just to forget them."""


class InboundStream(Generic[Item]):
    """One stream, over all connections."""

    __slots__ = (
        "_asked",
        "_asked_settled",
        "_asked_through",
        "blocked_s",
        "gaps",
        "next",
        "parked",
        "settled",
        "skipped",
    )

    def __init__(self, next: int = 1, settled: int = 1, gaps: frozenset[int] = frozenset()) -> None:
        self.next = next
        """All ids below were shown, skipped, or are in `gaps`."""
        self.settled = settled
        """The highest `settled` seen."""
        self.gaps = set(gaps)
        """Ids that were gone past and may still come, late."""
        self.parked: dict[int, Item] = {}
        self.blocked_s = 0.0
        """Seconds, of live session, that something has been parked without `next` moving."""
        self.skipped: tuple[int, int] | None = None
        """Of ids that were given up since the owner looked last, the first and the last; some between may be here."""
        self._asked = 0
        self._asked_settled = 0
        self._asked_through = 0

    def receive(self, number: int, settled: int, item: Item) -> list[Shown[Item]]:
        """Message `number` has come; returns what may be shown now. A repeat shows nothing."""
        self.settled = max(self.settled, settled)
        if number < self.next:
            if number in self.gaps:
                self.gaps.discard(number)
                return [Shown(item, True)]
            return []
        if number > self.next:
            self.parked.setdefault(number, item)
            return []
        shown = [Shown(item, False)]
        self._advance(number + 1)
        if self.parked:
            self._unpark(shown)
            if not self.parked:
                self._asked = 0  # its answer is not needed, and its owner need not bring it
        return shown

    def _advance(self, to: int) -> None:
        self.next = to
        self.blocked_s = 0.0

    def _unpark(self, shown: list[Shown[Item]]) -> None:
        while self.next in self.parked:
            shown.append(Shown(self.parked.pop(self.next), False))
            self._advance(self.next + 1)

    def go_past(self, known: Callable[[int], bool]) -> list[Shown[Item]]:
        """Go past what is missing and `known` from elsewhere; returns what may be shown now."""
        shown: list[Shown[Item]] = []
        while self.parked and known(self.next):
            self._advance(self.next + 1)
            self._unpark(shown)
        if not self.parked:
            self._asked = 0
        return shown

    # What is missing.

    def wants_sync(self, order_wait_s: float) -> bool:
        """Whether to ask for a Sync now: something missing is settled, or was waited for long enough."""
        if self._asked:
            return False
        if self.parked and (self.next < self.settled or self.blocked_s >= order_wait_s):
            return True
        return len(self.gaps) > MAX_SETTLED_GAPS and sum(gap < self.settled for gap in self.gaps) > MAX_SETTLED_GAPS

    def asked(self, n: int, order_wait_s: float) -> None:
        """Sync `n` was asked for this stream."""
        self._asked = n
        self._asked_settled = self.settled
        self._asked_through = max(self.parked, default=0) if self.blocked_s >= order_wait_s else 0

    @property
    def syncing(self) -> bool:
        """A Sync was asked for this stream and is not answered."""
        return self._asked != 0

    def disconnected(self) -> None:
        """A Sync that was asked will not be answered."""
        self._asked = 0

    def synced(self, n: int) -> list[Shown[Item]]:
        """Sync `n` is answered; returns what may be shown now."""
        if not self._asked or n < self._asked:
            return []
        self._asked = 0
        shown: list[Shown[Item]] = []
        gone = [gap for gap in self.gaps if gap < self._asked_settled]
        gone += self._skip(self._asked_settled, shown)
        self.gaps = {gap for gap in self.gaps if gap >= self._asked_settled}
        if gone:
            self.skipped = min(gone), max(gone)
        self._leave_gaps(self._asked_through, shown)
        return shown

    def _skip(self, limit: int, shown: list[Shown[Item]]) -> list[int]:
        """Give up what is missing below `limit`: it is never coming. Returns the first and last of it, if any."""
        below = sorted(number for number in self.parked if number < limit)
        first, last = self.next, limit - 1
        missing = last - first + 1 > len(below)
        while missing and below and last in self.parked:
            last -= 1
        shown.extend(Shown(self.parked.pop(number), False) for number in below)
        if limit > self.next:
            self._advance(limit)
        self._unpark(shown)
        return [first, last] if missing else []

    def _leave_gaps(self, through: int, shown: list[Shown[Item]]) -> None:
        """Go past what is missing up to `through`, and remember it."""
        while self.next <= through:
            self.gaps.add(self.next)
            self._advance(self.next + 1)
            self._unpark(shown)
