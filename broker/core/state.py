"""What the parts of the broker's core share: the ports, the time, and what waits to be sent.

Owns data and the shape of the ports, decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from fabric.records import Record
from store.contacts import Verdict
from store.groups import Group, GroupPage, GroupQuery
from store.interface import NewRow, Page, PageQuery, Removal
from store.sessions import NoSession, SessionStart, Standing
from store.timelines import Archived, Edit, Entry, Erasure, Mark


class Location(NamedTuple):
    """Where a device is: a connector's incarnation and a session's number."""

    connector: int
    session: int


class Rank(NamedTuple):
    """Which try of which start of its client a session is; zeros: not told."""

    start: int = 0
    tries: int = 0

    def is_behind(self, other: Rank) -> bool:
        """Whether `other` is a later try of the same start."""
        return self.start != 0 and self.start == other.start and self.tries < other.tries


UNKNOWN_RANK = Rank()


@dataclass(frozen=True, slots=True)
class Swapped:
    """What `Presence.online` found: the location before, or that somebody newer is there."""

    previous: Location | None
    taken: bool = False


class Presence(Protocol):
    """The presence port. `done` of each call comes once, then or later; None stands for "presence is away"."""

    def where(self, user: str) -> Mapping[str, Location]:
        """Device → location, from the local map; empty for nobody."""

    @property
    def locations(self) -> Mapping[str, Mapping[str, Location]]:
        """The local map: user → device → location. Who is not online is not in it, or without a device."""

    def online(
        self,
        user: str,
        device: str,
        location: Location,
        lease: int,
        again: bool,
        done: Callable[[Swapped | None], None],
        rank: Rank = UNKNOWN_RANK,
    ) -> None:
        """Swap the location of a device: with `again`, only where nobody else is, and never that of a later try of the
        same start."""

    def offline(self, user: str, device: str, location: Location) -> None:
        """Forget the location, if it is still this one."""

    def barrier(self, done: Callable[[bool], None]) -> None:
        """Call `done(True)` when the local map holds every location taken before this call; False: nobody can say."""

    @property
    def joined(self) -> int:
        """As the last barrier that passed has shown: names the time for which, without a break, the cluster has counted
        this broker among its members; 0: it does not."""

    def changed(self, names: Collection[str], done: Callable[[bool], None]) -> None:
        """Tell all brokers that something kept of these users and groups has changed; `done(True)` when none can miss
        it."""

    def keep_alive(self, connector: int, lease: int, done: Callable[[int | None], None]) -> None:
        """Keep a connector's lease; `done` gets it, or a new one if it had run out (`lease` 0: none yet)."""


class StorePort(Protocol):
    """The store, with a callback for each await. `done` gets None when the store is away."""

    def append(self, rows: Sequence[NewRow], done: Callable[[bool | None], None]) -> None: ...

    def page(self, queries: Sequence[PageQuery], done: Callable[[Sequence[Page] | None], None]) -> None: ...

    def remove(self, removals: Sequence[Removal]) -> None: ...

    def devices(
        self, users: Collection[str], done: Callable[[Mapping[str, tuple[str, ...] | None] | None], None]
    ) -> None: ...

    def verdicts(
        self,
        pairs: Collection[tuple[str, str]],
        done: Callable[[Mapping[tuple[str, str], Verdict] | None], None],
    ) -> None: ...

    def hiders(self, users: Collection[str], done: Callable[[Collection[str] | None], None]) -> None:
        """Those of the users who hide their presence."""

    def waiting(
        self,
        users: Collection[str],
        done: Callable[[Mapping[str, Mapping[str, tuple[int, int]]] | None], None],
    ) -> None:
        """User → author → rows and bytes that wait."""

    def no_space(self) -> bool:
        """Whether nothing may be added, as its disk is nearly full."""

    def saw(self, users: Collection[str]) -> None:
        """Keep that these users are online, or were a moment ago."""

    def begin_sessions(
        self, starts: Sequence[SessionStart], done: Callable[[Sequence[int | NoSession] | None], None]
    ) -> None: ...

    def standing(
        self, users: Collection[str], done: Callable[[Mapping[str, Standing | None] | None], None]
    ) -> None: ...

    def archive(
        self, batch: Sequence[Entry | Edit | Erasure], done: Callable[[Sequence[Archived] | None], None]
    ) -> None:
        """Put these into timelines: an answer for each, in order."""

    def groups(self, groups: Collection[str], done: Callable[[Mapping[str, Group | None] | None], None]) -> None: ...

    def scan_groups(
        self, queries: Sequence[GroupQuery], done: Callable[[Sequence[GroupPage] | None], None]
    ) -> None: ...

    def raise_checkpoints(self, checkpoints: Mapping[tuple[str, str], int]) -> None:
        """Keep these, soon: (user, device) → Unix ms. One that is lost only makes a device read more."""

    def raise_marks(self, marks: Sequence[Mark]) -> None:
        """Raise marks, soon; one that is lost is raised by the next READ."""


class Ports(Protocol):
    """The other effects of a broker."""

    def send(self, connector: int, batch: bytes) -> bool:
        """Hand a batch to a connector's link; False if the link did not take it."""

    def members(self) -> Mapping[int, str]:
        """All brokers that are alive, incarnation → endpoint; this one among them, unless it is about to leave."""

    def well(self) -> bool:
        """Whether the store answers; if not, connectors turn to brokers whose store does."""

    def log(self, text: str) -> None:
        """A state change worth a line."""


class Turn:
    """The time of the current event, and what waits to be sent to each connector at the end of the turn."""

    __slots__ = ("now", "out", "traces", "wall_ms")

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds of a clock that never steps."""
        self.wall_ms = 0
        """Unix time."""
        self.out: dict[int, list[bytes]] = {}
        self.traces: list[tuple[int, int, str]] = []
        """What has happened to attempts that are traced: origin, attempt, and what."""

    def push(self, connector: int, encoded: bytes) -> None:
        """Send with the other records of this turn."""
        waiting = self.out.get(connector)
        if waiting is None:
            self.out[connector] = [encoded]
        else:
            waiting.append(encoded)


@dataclass(slots=True)
class Storing:
    """A copy on its way into the inbox."""

    record: Record
    """The COPY, or STORE, that it came as."""
    user: str
    device: str
    returned_by: int
    """The connector that returned it; 0 if it never left the broker."""
    author: str = ""
    """The user who wrote the message; "": it is a receipt."""
