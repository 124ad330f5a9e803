"""A broker's core between recording ports: what it sends to connectors, and asks of presence and store.

Owns the clock of a test, and what presence and store know. Calls are answered by the test, never by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from broker.core import BrokerCore, Location
from broker.core.state import UNKNOWN_RANK, Rank, Swapped
from broker.settings import BrokerSettings
from fabric import records
from fabric.records import record
from store.contacts import Verdict
from store.groups import Group, GroupPage, GroupQuery
from store.interface import NewRow, Page, PageQuery, Removal
from store.sessions import NoSession, SessionStart, Standing
from store.settings import HistorySettings
from store.timelines import Archived, Edit, Entry, Erasure, HistoryTerms, Mark

INCARNATION = 900
WALL_MS = 1_800_000_000_000
A, B, C = 1, 2, 3
"""Connectors' incarnations."""
TICK_S = 0.1


@dataclass(frozen=True)
class Sent:
    """A record as it left, by name."""

    connector: int
    kind: int
    flags: int
    index: int
    count: int
    to: bytes
    by: bytes
    origin: int
    attempt: int
    session: int
    body: bytes

    @property
    def raw(self) -> records.Record:
        """As the core got it, or gave it."""
        _, *fields = astuple(self)
        return tuple(fields)  # type: ignore[return-value]


@dataclass
class RecordingPorts:
    """`broker.core.state.Ports`."""

    sent: list[Sent] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    gone: set[int] = field(default_factory=set)
    """Connectors that cannot be sent to."""
    brokers: dict[int, str] = field(default_factory=lambda: {INCARNATION: "tcp://here:1"})
    store_answers: bool = True
    logs: list[str] = field(default_factory=list)

    def send(self, connector: int, batch: bytes) -> bool:
        if connector in self.gone:
            return False
        self.batches.append(connector)
        self.sent += [Sent(connector, *rec) for rec in records.parse(batch)]
        return True

    def members(self) -> Mapping[int, str]:
        return self.brokers

    def well(self) -> bool:
        return self.store_answers

    def log(self, text: str) -> None:
        self.logs.append(text)


@dataclass
class Online:
    """A call of `online` that waits for its answer."""

    user: str
    device: str
    location: Location
    lease: int
    again: bool
    done: Callable[[Swapped | None], None]
    rank: Rank = UNKNOWN_RANK


@dataclass
class RecordingPresence:
    """`broker.core.state.Presence`."""

    locations: dict[str, dict[str, Location]] = field(default_factory=dict)
    onlines: list[Online] = field(default_factory=list)
    offlines: list[tuple[str, str, Location]] = field(default_factory=list)
    barriers: list[Callable[[bool], None]] = field(default_factory=list)
    kept: list[tuple[int, int, Callable[[int | None], None]]] = field(default_factory=list)
    told: list[tuple[list[str], Callable[[bool], None]]] = field(default_factory=list)
    joined: int = 1
    """0: this broker is no member of the cluster; each time that it joins, another number."""

    def where(self, user: str) -> Mapping[str, Location]:
        return self.locations.get(user, {})

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
        self.onlines.append(Online(user, device, location, lease, again, done, rank))

    def offline(self, user: str, device: str, location: Location) -> None:
        self.offlines.append((user, device, location))

    def barrier(self, done: Callable[[bool], None]) -> None:
        self.barriers.append(done)

    def changed(self, users: Collection[str], done: Callable[[bool], None]) -> None:
        self.told.append((list(users), done))

    def keep_alive(self, connector: int, lease: int, done: Callable[[int | None], None]) -> None:
        self.kept.append((connector, lease, done))


class RecordingStore:
    """`broker.core.state.StorePort`: `calls` by name, oldest first, each with what was asked and how to answer."""

    def __init__(self) -> None:
        self.judge: dict[tuple[str, str], Verdict] | None = {}
        """Answers reads of verdicts at once; None: the test answers."""
        self.hiding: set[str] | None = set()
        """The same of who hides their presence."""
        self.calls: dict[str, list[tuple[Any, Any]]] = {
            name: []
            for name in (
                *("append", "page", "remove", "devices", "verdicts", "saw", "begin_sessions", "standing"),
                "waiting",
                *("archive", "raise_marks", "hiders"),
                *("groups", "scan_groups", "raise_checkpoints"),
            )
        }
        self.full = False
        """The disk."""

    def append(self, rows: Sequence[NewRow], done: Callable[[bool], None]) -> None:
        self.calls["append"].append((list(rows), done))

    def page(self, queries: Sequence[PageQuery], done: Callable[[Sequence[Page] | None], None]) -> None:
        self.calls["page"].append((list(queries), done))

    def remove(self, removals: Sequence[Removal]) -> None:
        self.calls["remove"].append((list(removals), None))

    def devices(
        self, users: Collection[str], done: Callable[[Mapping[str, tuple[str, ...] | None] | None], None]
    ) -> None:
        self.calls["devices"].append((list(users), done))

    def verdicts(
        self,
        pairs: Collection[tuple[str, str]],
        done: Callable[[Mapping[tuple[str, str], Verdict] | None], None],
    ) -> None:
        if self.judge is not None:
            done({pair: self.judge.get(pair, Verdict.STRANGER) for pair in pairs})
        else:
            self.calls["verdicts"].append((list(pairs), done))

    def hiders(self, users: Collection[str], done: Callable[[Collection[str] | None], None]) -> None:
        if self.hiding is not None:
            done([user for user in users if user in self.hiding])
        else:
            self.calls["hiders"].append((list(users), done))

    def waiting(
        self, users: Collection[str], done: Callable[[Mapping[str, Mapping[str, tuple[int, int]]] | None], None]
    ) -> None:
        self.calls["waiting"].append((list(users), done))

    def no_space(self) -> bool:
        return self.full

    def saw(self, users: Collection[str]) -> None:
        self.calls["saw"].append((list(users), None))

    def begin_sessions(
        self, starts: Sequence[SessionStart], done: Callable[[Sequence[int | NoSession] | None], None]
    ) -> None:
        self.calls["begin_sessions"].append((list(starts), done))

    def standing(self, users: Collection[str], done: Callable[[Mapping[str, Standing | None] | None], None]) -> None:
        self.calls["standing"].append((list(users), done))

    def archive(
        self, batch: Sequence[Entry | Edit | Erasure], done: Callable[[Sequence[Archived] | None], None]
    ) -> None:
        self.calls["archive"].append((list(batch), done))

    def raise_marks(self, marks: Sequence[Mark]) -> None:
        self.calls["raise_marks"].append((list(marks), None))

    def groups(self, groups: Collection[str], done: Callable[[Mapping[str, Group | None] | None], None]) -> None:
        self.calls["groups"].append((list(groups), done))

    def scan_groups(self, queries: Sequence[GroupQuery], done: Callable[[Sequence[GroupPage] | None], None]) -> None:
        self.calls["scan_groups"].append((list(queries), done))

    def raise_checkpoints(self, checkpoints: Mapping[tuple[str, str], int]) -> None:
        self.calls["raise_checkpoints"].append((dict(checkpoints), None))


class Bench:
    """The core, its ports, and its time."""

    def __init__(
        self,
        users: Mapping[str, Iterable[str]] | None = None,
        inbox_ttl_ms: int = 0,
        keep_days: int = 0,
        history: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.users = {user: tuple(devices) for user, devices in (users or {}).items()}
        """Who has which devices: the answer to reads, unless the test answers by itself."""
        self.ports = RecordingPorts()
        self.presence = RecordingPresence()
        self.store = RecordingStore()
        self.core = BrokerCore(
            self.ports,
            self.presence,
            self.store,
            BrokerSettings(**settings),
            INCARNATION,
            inbox_ttl_ms,
            HistorySettings(**(history or {})),
        )
        self.core.history_terms(HistoryTerms(keep_days))
        self.now = 1000.0
        self.core.time(self.now, WALL_MS + int(self.now * 1000))

    # Events.

    def receives(self, *encoded: bytes, connector: int = A) -> None:
        """A batch arrives from a connector."""
        self.core.time(self.now, WALL_MS + int(self.now * 1000))
        self.core.batch(connector, records.batch(encoded))
        self.core.flush()
        self.core.check()

    def asks(self, *encoded: bytes) -> list[records.Record]:
        """The user API asks; the answers gather in what is returned."""
        answers: list[records.Record] = []
        self.core.time(self.now, WALL_MS + int(self.now * 1000))
        self.core.ask(records.batch(encoded), lambda answer: answers.extend(records.parse(records.batch([answer]))))
        self.core.flush()
        self.core.check()
        return answers

    def passes(self, seconds: float) -> None:
        """Time passes, tick by tick."""
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            self.core.time(self.now, WALL_MS + int(self.now * 1000))
            self.core.tick()
            self.core.flush()
            self.core.check()

    def jumps(self, seconds: float) -> None:
        """Time has passed while this broker stood still."""
        self.now += seconds
        self.core.time(self.now, WALL_MS + int(self.now * 1000))

    def asked(self, call: str) -> list[Any]:
        """What the store was asked by calls of this name that wait for an answer."""
        return [asked for asked, _ in self.store.calls[call]]

    def answer(self, call: str, result: Any) -> Any:
        """The store answers its oldest call of this name; returns what it was asked."""
        asked, done = self.store.calls[call].pop(0)
        done(result)
        self.core.flush()
        self.core.check()
        return asked

    def away(self, call: str) -> None:
        """The store's oldest call of this name fails."""
        self.answer(call, False if call == "append" else None)

    def read_devices(self) -> list[str]:
        """The store answers its oldest read of devices, with what `users` says."""
        (asked, done), *_ = self.store.calls["devices"]
        del self.store.calls["devices"][0]
        done({user: self.users.get(user) for user in asked})
        self.core.flush()
        self.core.check()
        return list(asked)

    def pass_barrier(self, ok: bool = True) -> None:
        """The presence map holds all that was there at the oldest call."""
        self.presence.barriers.pop(0)(ok)
        self.core.flush()
        self.core.check()

    def hear(self, *notifications: Sent) -> None:
        """Connectors have heard these notifications."""
        for notify in notifications:
            heard = record(records.NOTIFIED, to=notify.to, session=notify.session, attempt=notify.attempt)
            self.receives(heard, connector=notify.connector)

    def store_everything(self, hear: bool = True) -> None:
        """Everything that is on its way into the inbox gets there, and connectors hear of it."""
        while self.store.calls["append"] or self.presence.barriers or self.store.calls["devices"]:
            if self.store.calls["append"]:
                self.answer("append", True)
            elif self.presence.barriers:
                self.pass_barrier()
            else:
                self.read_devices()
        if hear:
            self.hear(*(rec for rec in self.ports.sent if rec.kind == records.NOTIFY))

    def sent(self, kind: int | None = None) -> list[Sent]:
        """What was sent to connectors since the last call, of one kind (all are dropped) or all."""
        sent, self.ports.sent = self.ports.sent, []
        return [rec for rec in sent if kind is None or rec.kind == kind]

    def take_traces(self) -> list[tuple[int, int, str]]:
        """What has happened to traced attempts since the last call."""
        traces, self.core.turn.traces = self.core.turn.traces, []
        return traces

    def only(self, kind: int) -> Sent:
        """The one record of this kind since the last call."""
        (found,) = self.sent(kind)
        return found

    def goes_online(self, address: str, connector: int = B, session: int = 20) -> Location:
        """The presence map names a device's location."""
        user, _, device = address.partition("/")
        location = self.presence.locations.setdefault(user, {})[device] = Location(connector, session)
        return location


# What is said.


def route(attempt: int = 1, to: str = "bob", by: str = "alice/a1", body: bytes = b"hello", flags: int = 0) -> bytes:
    """An attempt at a message."""
    return record(records.ROUTE, flags=flags, to=to.encode(), by=by.encode(), attempt=attempt, body=body)


def returned(
    attempt: int = 1,
    to: str = "bob/b1",
    *,
    session: int = 20,
    origin: int = A,
    flags: int = 0,
    index: int = 0,
    count: int = 1,
    body: bytes = b"hello",
) -> bytes:
    """A copy that comes back to be stored."""
    return record(
        records.STORE,
        flags=flags,
        index=index,
        count=count,
        to=to.encode(),
        origin=origin,
        attempt=attempt,
        session=session,
        body=body,
    )


def outcomes(sent: Iterable[Sent]) -> list[tuple[int, int, int, int]]:
    """(attempt, index, count, state) of all OUTCOMES records among these."""
    return [entry for rec in sent if rec.kind == records.OUTCOMES for entry in records.unpack_outcomes(rec.body)]
