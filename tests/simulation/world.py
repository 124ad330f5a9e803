"""Simulated time, chance and processes. Everything that happens comes from one seed.

Owns the event queue. Knows nothing of messaging.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

EPOCH_S = 1_800_000_000
"""Unix time of a run's begin, in seconds."""


class World:
    """One run."""

    def __init__(self, seed: int, *, tracing: bool = False) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.now = 0.0
        self.tracing = tracing
        self.lines: list[str] = []
        self.events = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0

    def at(self, time: float, call: Callable[[], None]) -> None:
        """Call at a time; what is due at the same time keeps its order."""
        self._order += 1
        heapq.heappush(self._heap, (max(time, self.now), self._order, call))

    def after(self, delay: float, call: Callable[[], None]) -> None:
        """Call after some seconds."""
        self.at(self.now + delay, call)

    def run(self, until: float) -> None:
        """Let everything happen that happens before `until`."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, call = heapq.heappop(self._heap)
            self.events += 1
            call()
        self.now = until

    def trace(self, who: str, what: str) -> None:
        """A line of the trace that a failing seed prints."""
        if self.tracing:
            self.lines.append(f"{self.now:9.4f} {who:<14} {what}")

    def delay(self, low: float, high: float) -> float:
        """A delay, mostly near `low`."""
        return low + (high - low) * self.random.random() ** 4

    def chance(self, probability: float) -> bool:
        """A biased coin."""
        return self.random.random() < probability

    def random64(self) -> int:
        """A number that never is 0."""
        return self.random.getrandbits(64) | 1


class Process:
    """Something that can be killed, stopped and continued. Events go through `event`, which respects that."""

    TICK_S = 0.1
    TURN_S = 0.0005

    def __init__(self, world: World, name: str, wall_skew_s: float = 0.0) -> None:
        self.world = world
        self.name = name
        self.wall_skew_s = wall_skew_s
        self.alive = False
        self.life = 0
        self._stopped = False
        self._backlog: list[Callable[[], None]] = []
        self._flush_due = False
        self.twin: Process | None = None
        """What else is in this process: it lives, stands still and dies with it."""

    @property
    def wall_ms(self) -> int:
        """Its idea of Unix time."""
        return int((EPOCH_S + self.world.now + self.wall_skew_s) * 1000)

    def step_clock(self, seconds: float) -> None:
        """Somebody sets its clock."""
        self.world.trace(self.name, f"has its clock set, by {seconds:.0f} s")
        self.wall_skew_s += seconds

    def event(self, call: Callable[[], None], life: int | None = None) -> None:
        """Something happens to this process now; lost if it is dead or another life of it was meant."""
        if not self.alive or (life is not None and life != self.life):
            return
        if self._stopped:
            self._backlog.append(call)
            return
        self.clock()
        call()
        self.schedule_flush()

    def schedule_flush(self) -> None:
        """The turn that is under way ends soon."""
        if not self._flush_due:
            self._flush_due = True
            life = self.life
            self.world.after(self.world.random.random() * self.TURN_S, lambda: self._turn_ends(life))

    def _turn_ends(self, life: int) -> None:
        if self.alive and life == self.life:
            if self._stopped:
                self.world.after(0.05, lambda: self._turn_ends(life))
                return
            self._flush_due = False
            self.clock()
            self.flush()

    def start(self) -> None:
        """Begin a life."""
        if self.alive:
            return
        self.alive = True
        self.life += 1
        self._stopped = self._flush_due = False
        self._backlog.clear()
        self.world.trace(self.name, "starts")
        self.clock()
        self.begin()
        life = self.life
        self.world.after(self.world.random.random() * self.TICK_S, lambda: self._tick(life))
        if self.twin is not None:
            self.twin.start()

    def _tick(self, life: int) -> None:
        if not self.alive or life != self.life:
            return
        if not self._stopped:
            self.clock()
            self.tick()
            self.schedule_flush()
        self.world.after(self.TICK_S, lambda: self._tick(life))

    def kill(self) -> None:
        """kill -9."""
        if self.alive:
            self.world.trace(self.name, "killed")
            self.alive = False
            self._backlog.clear()
            self.died()
            if self.twin is not None:
                self.twin.kill()

    def stop(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        if self.alive and not self._stopped:
            self.world.trace(self.name, f"stopped for {seconds:.1f} s")
            self._stopped = True
            life = self.life
            self.world.after(seconds, lambda: self._continue(life))
            if self.twin is not None:
                self.twin.stop(seconds)

    def _continue(self, life: int) -> None:
        if self.alive and life == self.life and self._stopped:
            self.world.trace(self.name, "goes on")
            self._stopped = False
            self.wakes()
            backlog, self._backlog = self._backlog, []
            for call in backlog:
                self.event(call)

    # For subclasses.

    def clock(self) -> None:
        """Tell the core the time."""

    def begin(self) -> None:
        """Make the core anew."""

    def tick(self) -> None:
        """Tick the core."""

    def flush(self) -> None:
        """End the core's turn."""

    def wakes(self) -> None:
        """It goes on after a standstill, and has not heard yet what waited."""

    def died(self) -> None:
        """What the world sees of a death."""
