"""The account of every message: what one side has written, what the other was shown, and what follows from both.

Owns the verdict. Knows nothing of sockets; the same for Sparrow and for the servers beside which it is measured.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields


class Tally:
    """What has been shown of one conversation: numbers that must come as 1, 2, 3 …"""

    __slots__ = ("_missing", "late", "out_of_order", "shown", "top", "twice")

    def __init__(self) -> None:
        self.top = 0
        """The highest that was shown."""
        self._missing: set[int] | None = None
        self.shown = 0
        """Different ones."""
        self.twice = 0
        self.out_of_order = 0
        """Shown behind a higher one, and not marked as late."""
        self.late = 0
        """Shown behind a higher one, and marked."""

    def show(self, number: int, late: bool = False) -> None:
        """One was shown."""
        if number == self.top + 1:  # as nearly always
            self.top = number
            self.shown += 1
            return
        if number > self.top:
            missing = self.missing
            missing.update(range(self.top + 1, number))
            self._missing = missing
            self.top = number
        elif number in self.missing:
            self.missing.discard(number)
            if late:
                self.late += 1
            else:
                self.out_of_order += 1
        else:
            self.twice += 1
            return
        self.shown += 1

    @property
    def missing(self) -> set[int]:
        """Not shown, below the highest that was."""
        return set() if self._missing is None else self._missing

    def has(self, number: int) -> bool:
        """Whether this one was shown."""
        return number <= self.top and number not in self.missing

    def lost(self, written: int, excused: Collection[int]) -> int:
        """How many of 1 … `written` were not shown; not counted are those that the author was not told SENT of."""
        absent = self.missing | set(range(self.top + 1, written + 1))
        return len(absent.difference(excused))


@dataclass
class Verdict:
    """All conversations together. Everything but `late` must be 0; `absent` and `waiting` say what cannot be told."""

    lost: int = 0
    """SENT, and never shown."""
    twice: int = 0
    out_of_order: int = 0
    mixed_up: int = 0
    """Shown with the content of another message, or never written."""
    unanswered: int = 0
    """Neither SENT nor refused by the end."""
    late: int = 0
    """The one exception of the promise: behind a later one, and marked so."""
    absent: int = 0
    """People who never came back: what they would have been shown cannot be told."""
    waiting: int = 0
    """Texts of theirs without an answer, and those for them that they were not shown: not lost, nor accounted for."""

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        return not (self.lost or self.twice or self.out_of_order or self.mixed_up or self.unanswered)

    def add(self, other: Verdict) -> None:
        """Count another's as well."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def conversation(
        self,
        written: int,
        unanswered: Collection[int],
        refused: Collection[int],
        seen: Tally,
        *,
        author_absent: bool = False,
        reader_absent: bool = False,
    ) -> None:
        """Count one conversation: ids up to `written`, those without an answer, those refused for good, and what the
        addressee was shown. Who is absent at the end has neither got all nor been told of all."""
        self.answers(unanswered, absent=author_absent)
        self.reader(written, {*unanswered, *refused}, seen, absent=reader_absent)

    def answers(self, unanswered: Collection[int], *, absent: bool) -> None:
        """Count those that have no answer."""
        if absent:
            self.waiting += len(unanswered)
        else:
            self.unanswered += len(unanswered)

    def reader(self, written: int, excused: Collection[int], seen: Tally, *, absent: bool) -> None:
        """Count what one of those was shown for whom these ids were: all but the excused ones."""
        lost = seen.lost(written, excused)
        if absent:
            self.waiting += lost
        else:
            self.lost += lost
        self.twice += seen.twice
        self.out_of_order += seen.out_of_order
        self.late += seen.late
        self.mixed_up += max(0, seen.top - written)

    def as_json(self) -> dict[str, object]:
        """The ledger as JSON has it, with `kept`."""
        return {"kept": self.kept, **asdict(self)}
