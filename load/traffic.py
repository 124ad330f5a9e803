"""When who writes to whom: open loops and a messenger's day, as plain schedules.

Owns intended times. Touches no clock and no socket: time is given, and a schedule that is asked late gives the times at
which things were to happen, so that a server that stands still cannot hide it ("coordinated omission").
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate

BURST = 3.0
"""Texts that people write one after the other, on average."""
TYPING_S = 1.5
"""Between two of them, on average."""
FRIENDS = 20
"""How many friends a person has, at most."""
ZIPF = 1.0
AWAY = 0.1
"""Share of the people who are offline."""
AWAY_S = 20.0
"""For how long, on average."""
TO_GROUPS = 0.2
"""Share of the bursts of people in groups that go to one of these."""
LEAD_S = 20.0
"""The day has begun so long before: bursts are in the midst of it."""
READ_AFTER_S = 1.5
"""How long a text waits until it is read, in seconds on average."""


class Pace:
    """So many a second, evenly, from `began` on."""

    def __init__(self, rate: float, began: float) -> None:
        """Raises `ZeroDivisionError` for a rate of 0."""
        self._step_s = 1.0 / rate
        self._began = began
        self._given = 0

    def due(self, now: float) -> Iterator[float]:
        """The intended time of each that is due and was not given yet."""
        while (at := self.next_at) <= now:
            self._given += 1
            yield at

    @property
    def next_at(self) -> float:
        """When the next one is due."""
        return self._began + self._given * self._step_s


class Zipf:
    """Draws from 0 … n-1: the first twice as often as the second, three times as often as the third."""

    def __init__(self, n: int) -> None:
        self._sums = list(accumulate(1.0 / (rank + 1) ** ZIPF for rank in range(n)))

    def draw(self, chance: random.Random) -> int:
        """One of them."""
        return bisect_left(self._sums, chance.random() * self._sums[-1])


class Day:
    """People with friends, of whom some are dearer than others: bursts of texts, with pauses for typing."""

    def __init__(
        self,
        people: int,
        rate: float,
        began: float,
        chance: random.Random,
        groups: Sequence[Collection[int]] = (),
    ) -> None:
        """`rate`: texts per second, of all people together; `groups`: who is in each."""
        self._chance = chance
        self._gap_s = BURST / rate
        self._writers = Zipf(people)
        self._friends = [_friends(me, people, chance) for me in range(people)]
        self._ranks = Zipf(len(self._friends[0]))
        self._groups: list[list[int]] = [[] for _ in range(people)]
        for number, members in enumerate(groups):
            for member in members:
                self._groups[member].append(people + number)
        self._began = began
        self._next_burst = began - LEAD_S
        self._texts: list[tuple[float, int, int]] = []
        """When, who, to whom: a heap."""

    def due(self, now: float) -> Iterator[tuple[float, int, int]]:
        """Intended time, author and addressee of each text that is due and was not given yet. An addressee from the
        number of people on is a group: the first of them, and so on."""
        while self._next_burst <= now:
            self._plan_burst()
        while self._texts and self._texts[0][0] <= now:
            text = heapq.heappop(self._texts)
            if text[0] >= self._began:
                yield text

    @property
    def next_at(self) -> float:
        """When the next one is due."""
        return min(self._next_burst, self._texts[0][0] if self._texts else self._next_burst)

    def _plan_burst(self) -> None:
        chance, at = self._chance, self._next_burst
        me = self._writers.draw(chance)
        friend = self._friends[me][self._ranks.draw(chance)]
        if self._groups[me] and chance.random() < TO_GROUPS:
            friend = chance.choice(self._groups[me])
        while True:
            heapq.heappush(self._texts, (at, me, friend))
            if chance.random() < 1.0 / BURST:
                break
            at += chance.expovariate(1.0 / TYPING_S)
        self._next_burst += chance.expovariate(1.0 / self._gap_s)


def _friends(me: int, people: int, chance: random.Random) -> Sequence[int]:
    others = chance.sample(range(people - 1), min(FRIENDS, people - 1))
    return [other + (other >= me) for other in others]
