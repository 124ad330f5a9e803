"""What the parts of the connector's core share: ports, the turn, and a session's state.

Owns data, decides nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from fabric.records import Record
from fabric.tokens import Identity
from protocol.server import ServerSession

if TYPE_CHECKING:
    from connector.core.link import Link

# Phases of a session (docs/design.md, "Behind and live").
ENDED: Final = 0
GREETING: Final = 1  # not logged in
BEHIND: Final = 2  # inbox pages go to the device, live copies back to the broker
SETTLING: Final = 3  # the end of the inbox is in sight: live copies wait for it
LIVE: Final = 4


class Ports(Protocol):
    """Every effect of a connector."""

    def write(self, handle: object, data: bytes) -> None:
        """Write to a client's connection."""

    def close(self, handle: object) -> None:
        """Close a client's connection behind what was written."""

    def send(self, broker: str, batch: bytes) -> bool:
        """Hand a batch to a broker's link; False if the link did not take it."""

    def connect(self, broker: str) -> None:
        """Open a link to a broker that was learnt of; `settings.brokers` have theirs from the start."""

    def disconnect(self, broker: str) -> None:
        """Close a link behind what was sent."""

    def pause(self, handle: object, paused: bool) -> None:
        """Read no more from a client's connection for now; or again."""

    def silent_s(self, handle: object) -> float | None:
        """How long ago bytes of the client last reached this machine, read or not; None: it has closed its end."""

    def verify(self, token: str, now_s: float) -> Identity:
        """Check a login token at this Unix time. Raises `TokenError`."""

    def random64(self) -> int:
        """A random number of 64 bits."""

    def log(self, text: str) -> None:
        """A state change worth a line."""

    def warn(self, text: str) -> None:
        """What a client, or somebody beyond a broker, did wrong: as many lines as they like, so not all are written."""

    def session_began(self, session: Session, previous: int) -> None:
        """A client has been told `LoggedIn`; `previous` is the session that it replaced, 0 if there was none."""

    def session_ended(self, session: Session, why: str) -> None:
        """A session that had begun is over."""


class Turn:
    """The time of the current event, and who has something to send at the end of the turn."""

    __slots__ = ("dirty", "now", "traces", "wall_ms")

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds of a clock that never steps."""
        self.wall_ms = 0
        """Unix time."""
        self.dirty: list[Session] = []
        self.traces: list[tuple[int, int, str]] = []
        """What has happened to attempts that are traced: origin, attempt, and what."""

    def mark(self, session: Session) -> None:
        """`session` has something to send."""
        if not session.dirty:
            session.dirty = True
            self.dirty.append(session)


Copy: TypeAlias = "tuple[float, Link, Record]"
"""Since when, from where, and what: a live copy that its device has not acked. A plain tuple, since there are many."""


@dataclass(slots=True)
class SentRow:
    """An inbox row that was sent to the device. `author` is None where no DELIVERED is owed."""

    key: bytes
    author: str | None
    author_device: str
    stream: int
    id: int
    size: int
    unseen: bool = False
    """Of a kind of clients' own: friends alone are told DELIVERED."""


Parked: TypeAlias = "tuple[Link, Record]"
"""A broker's record that waits until its session is sure."""

RETURNED: Final = None
"""Stands in `unacked` for a copy that went back to be stored."""


class Session:
    """One client connection."""

    __slots__ = (
        "address",
        "attempts",
        "budget",
        "budget_at",
        "buffered",
        "client",
        "cursor",
        "dirty",
        "frames",
        "frames_at",
        "handle",
        "heard",
        "key",
        "knows_disabled",
        "login",
        "mid_pass",
        "number",
        "opened",
        "overdue_at",
        "page",
        "page_at",
        "parked",
        "parked_bytes",
        "phase",
        "predecessor_until",
        "returned",
        "returned_at",
        "rows",
        "suffix",
        "sync_asked",
        "sync_due",
        "sync_passing",
        "tried",
        "unacked",
        "unacked_bytes",
        "unsure",
        "user",
        "want_pass",
        "wire",
    )

    def __init__(self, handle: object, wire: ServerSession, now: float, frames: float) -> None:
        self.handle = handle
        self.wire = wire
        self.phase = GREETING
        self.number = 0
        """Names the session for ever; 0 before login."""
        self.address = ""
        """Where it comes from, for counting connections that have not logged in."""
        self.client = ""
        """Name and version of the client, as it says."""
        self.user = ""
        self.key = b""
        """The device's address."""
        self.suffix = b""
        """`from_id` and `from_device`, encoded."""
        self.login = ""
        """The device's login that its token is of; empty: the token does not tell."""
        self.tried = 0, 0
        """The client's start, and which of its tries this is; zeros: not told."""
        self.knows_disabled = False
        """Its client understands ACCOUNT_DISABLED."""
        self.overdue_at = inf
        """When its token is overdue."""
        self.unsure = 0
        """Why nothing is taken or given on it for now (`connector.core.doubts`)."""
        self.parked: list[bytes | Parked] = []
        """What came meanwhile: from its client, and of brokers."""
        self.parked_bytes = 0
        self.opened = now
        self.heard = now
        self.dirty = False
        self.attempts = 0
        """Attempts under way."""
        self.frames = frames
        """Frames that it may send before more are granted, as of `frames_at`; less than 0: it has to wait."""
        self.frames_at = now
        self.budget = 0.0
        """Messages that it may send before more are granted, as of `budget_at`."""
        self.budget_at = now
        self.unacked: deque[Copy | SentRow | None] = deque()
        """One entry for each counted frame beyond the last ack."""
        self.unacked_bytes = 0
        """Bodies of what is in `unacked` and `buffered`."""
        self.buffered: list[Copy] = []
        """Copies that wait for the end of the inbox."""
        self.rows: set[bytes] = set()
        """Keys of rows sent in this session and not removed."""
        self.cursor = b""
        self.page = 0
        """Number of the page request under way."""
        self.page_at = 0.0
        """When it was asked; without one, not before when to ask."""
        self.mid_pass = False
        """A scan is under way."""
        self.want_pass = False
        """A scan is owed that begins after now."""
        self.sync_asked = 0
        self.sync_due = -inf
        """When the scan of the last Sync was due, had each its interval."""
        self.sync_passing = 0
        """The Sync that the scan under way will answer."""
        self.returned = 0
        """Copies returned and not confirmed."""
        self.returned_at = 0.0
        self.predecessor_until = 0.0
        """Until when to wait for the session that this one replaced; 0: not waiting."""
