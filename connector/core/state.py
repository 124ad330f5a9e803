"""What the parts of the connector's core share: ports, the turn, and a session's state.

Owns data, decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from connector.core.phases import ALLOWED, GREETING, PHASES
from fabric.rates import Bucket
from fabric.records import Record
from fabric.tokens import Identity
from protocol.server import ServerSession

if TYPE_CHECKING:
    from connector.core.link import Link


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

    def is_behind(self, handle: object) -> bool:
        """Whether a client's connection has not taken all that was written in turns before."""

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
"""A live copy that its device has not acked: since when, by which link, and its record. A plain tuple, since there
are many."""


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
    """Its kind is one of clients' own: friends alone are told DELIVERED."""


RETURNED: Final = None
"""Stands in `unacked` for a copy that went back to be stored."""


class Scan:
    """How a session reads its inbox: a scan is a run of pages, one request at a time, from where a row may have been
    missed to the end. `connector.core.catchup` alone writes it."""

    __slots__ = (
        "asked_at",
        "cursor",
        "not_before",
        "owed",
        "predecessor_until",
        "request",
        "sync_answered",
        "sync_asked",
        "syncs",
        "under_way",
    )

    def __init__(self) -> None:
        self.under_way = False
        """A scan has begun and has not seen the end."""
        self.owed = False
        """A scan is owed that begins after now."""
        self.cursor = b""
        """Where the last page ended."""
        self.request = 0
        """Number of the page that is asked for; 0: none is."""
        self.asked_at = 0.0
        """When that page was asked for, in seconds of the turn's clock."""
        self.not_before = 0.0
        """No page is asked for before this time."""
        self.syncs: Bucket | None = None
        """Scans that the device may ask for by Sync."""
        self.sync_asked = 0
        """The last Sync that no scan has begun for; 0: none."""
        self.sync_answered = 0
        """The Sync that the end of this scan answers; 0: none."""
        self.predecessor_until = 0.0
        """Until when to wait for the session that this one replaced; 0: not waiting."""


@dataclass(slots=True)
class GroupSyncs:
    """What a device has asked for by Sync while it understands groups: group ("": all) → the last Sync of it."""

    full_scans: Bucket
    """Reads of all groups that it may ask for."""
    one_scans: Bucket
    """Reads of one group that it may ask for."""
    asked: dict[str, int] = field(default_factory=dict)
    """Those that have to wait, since there were too many."""
    owed: dict[str, int] = field(default_factory=dict)
    """Those that no read has begun for."""
    answers: dict[str, int] = field(default_factory=dict)
    """Those that the end of this read answers."""


@dataclass(slots=True)
class GroupReading:
    """What a session has to catch up with of its user's groups. `connector.core.groups` alone writes it."""

    dirty: dict[str, int] = field(default_factory=dict)
    """Group ("": all) → the stamp from which on rows are to be read; 0: from the checkpoint."""
    reading: str | None = None
    """The group that is being read; None: none is."""
    since: int = 0
    cursor: bytes = b""
    began_ms: int = 0
    """When this read began, by the broker's Unix time."""
    request: int = 0
    """Number of the page that is asked for; 0: none is."""
    asked_at: float = 0.0
    not_before: float = 0.0
    """No page is asked for before this time, in seconds of the turn's clock."""
    held: list[tuple[int, bytes]] = field(default_factory=list)
    """Live messages (stamp and frame) of the group that is being read."""
    held_bytes: int = 0
    syncs: GroupSyncs | None = None
    """None: its device has asked for nothing."""
    checkpoint: int = 0
    """Unix ms before which the device has everything; 0: not known here."""
    kept: int = 0
    """The checkpoint that was sent to be kept."""
    kept_at: float = 0.0
    candidate: tuple[int, int] = (0, 0)
    """The next checkpoint, and how much the client must have acked for it."""
    fresh: bool = False
    """The client keeps nothing: its checkpoint is not the device's."""

    @property
    def is_clean(self) -> bool:
        """Nothing is to be read."""
        return self.reading is None and not self.dirty


WRITERS: Final = {
    "heard": ("core",),
    "unsure": ("doubts",),
    "attempts": ("attempts",),
    "unacked": ("delivery", "groups"),
    "unacked_bytes": ("delivery", "groups"),
    "buffered": ("delivery",),
    "group_unacked": ("delivery", "groups"),
    "groups": ("groups",),
    "returned": ("delivery",),
    "returned_at": ("delivery",),
    "rows": ("catchup", "receipts"),
    "signals": ("signals",),
    "dirty": ("core", "state"),
    "phase": ("state",),
    # The rest from login on.
    "client": ("logins",),
    "key": ("logins",),
    "knows_changes": ("logins",),
    "knows_disabled": ("logins",),
    "knows_groups": ("logins",),
    "knows_signals": ("logins",),
    "fresh": ("logins",),
    "login": ("logins",),
    "number": ("logins",),
    "overdue_at": ("logins",),
    "suffix": ("logins",),
    "tried": ("logins",),
    "user": ("logins",),
    # What it is made with: whose these are is theirs to change.
    "budget": (),
    "frames": (),
    "handle": (),
    "opened": (),
    "scan": (),
    "wire": (),
}
"""The modules of the core that write each part of a session; all may read."""


class Session:
    """One client connection. Who writes what of it stands in `WRITERS`."""

    __slots__ = tuple(WRITERS)

    def __init__(self, handle: object, wire: ServerSession, now: float, frames: Bucket) -> None:
        self.handle = handle
        """Whatever the shell knows the connection by."""
        self.wire = wire
        self.opened = self.heard = now
        self.dirty = False
        """It has something to send, and stands in `Turn.dirty`."""
        self.phase: int = GREETING
        """Changed by `to` alone."""
        self.unsure = 0
        """Why nothing is taken or given on it for now (`connector.core.doubts`), as flags; 0: it is sure."""
        self.scan = Scan()

        # Who it is.
        self.number = 0
        """Names the session for ever; 0 before login."""
        self.user = ""
        self.key = b""
        """The device's address."""
        self.suffix = b""
        """`from_id` and `from_device`, encoded."""
        self.client = ""
        """Name and version of the client, as it says."""
        self.login = ""
        """The device's login that its token is of; empty: the token does not tell."""
        self.tried = 0, 0
        """The client's start, and which of its tries this is; zeros: not told."""
        self.knows_disabled = False
        """The client understands ACCOUNT_DISABLED."""
        self.knows_changes = False
        """The client understands EDIT, ERASE and early receipts."""
        self.knows_groups = False
        """The client understands groups."""
        self.knows_signals = False
        """The client understands signals."""
        self.fresh = False
        """The client keeps nothing between its connections."""
        self.overdue_at = inf
        """When its token is overdue, in seconds of the turn's clock."""

        # What it sends.
        self.frames = frames
        """Frames of any kind that it may send."""
        self.budget = Bucket(0.0, now)
        """Messages that it may send before more are taken from its account's."""
        self.attempts = 0
        """Attempts under way."""
        self.signals: Bucket | None = None
        """Signals that it may send; None: it has sent none."""

        # What it gets.
        # A list, and nothing for what most have none of: this is what a quiet session costs (docs/performance.md).
        self.unacked: list[Copy | SentRow | int | None] = []
        """One entry for each counted frame beyond the last ack; of a group's message, its size."""
        self.group_unacked = 0
        """How many of these are of groups."""
        self.groups: GroupReading | None = None
        """None: the client understands no groups."""
        self.unacked_bytes = 0
        """Bytes of bodies of what is in `unacked` and `buffered`."""
        self.buffered: list[Copy] = []
        """Copies that wait for the end of the inbox."""
        self.rows: set[bytes] | None = None
        """Keys of rows sent in this session and not removed; None: none were sent."""
        self.returned = 0
        """Copies returned and not confirmed."""
        self.returned_at = 0.0
        """When the last copy was returned, in seconds of the turn's clock."""

    def to(self, phase: int) -> None:
        """Go on to another phase."""
        assert (self.phase, phase) in ALLOWED, f"{PHASES[phase][0]} may not follow {PHASES[self.phase][0]}"
        self.phase = phase
