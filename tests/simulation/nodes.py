"""The real cores as simulated processes: connector, broker, client.

Owns the shells that the simulation puts around them. What a client keeps is in `SimJournal`, which survives it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING

from broker.core import BrokerCore, Location
from broker.core.state import Presence
from broker.presence import MemoryPresence
from broker.settings import BrokerSettings
from client.core import ClientCore
from client.state import Doubtful, Event, Kept, KeptInbound, MessageName
from client.streams import StreamKey, stream_key
from connector.core import ConnectorCore, Session
from connector.core.doubts import STANDSTILL_S
from connector.settings import ConnectorSettings
from fabric import records
from fabric.control import Answer
from fabric.group_records import GroupCopy
from fabric.pump import Pump
from fabric.tokens import Identity
from protocol.framing import FrameReader
from protocol.ids import STAMP_SHIFT, address
from protocol.inbound import InboundStream, Shown
from protocol.outbound import OutboundStream, Outgoing
from protocol.sparrow_pb2 import About, Frame, Goodbye, LoggedIn, Message, Signal
from store.timelines import HistoryTerms, KeptMessage, conversation_of
from tests import CORES
from tests.simulation.network import Connection, Link
from tests.simulation.services import ROW_MAX_AGE_S, SimPresence, SimStore
from tests.simulation.world import Process, World

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

CACHE_S = 2.0


class SimBroker(Process):
    """A broker process."""

    def __init__(self, world: World, name: str, cluster: Cluster, wall_skew_s: float) -> None:
        super().__init__(world, name, wall_skew_s)
        self.cluster = cluster
        self.is_old = cluster.signals.is_old()
        """It knows no signals."""
        self.links: list[Link] = []
        self.settings = BrokerSettings(
            name=name,
            row_max_age_s=ROW_MAX_AGE_S,
            cache_s=CACHE_S,
            lease_s=inf if cluster.is_node else 3.0,
            max_batch_rows=20,
            **cluster.inboxes,
        )
        self.pump: Pump | None = None
        """Of a node."""

    def begin(self) -> None:
        self.store = SimStore(self.world, self.cluster.database, self)
        presence: Presence
        if self.cluster.memory_presence:
            self.memory = MemoryPresence(self.settings.lease_s, self.world.random.getrandbits(32), self._changed)
            presence = self.memory
        else:
            self.presence = presence = SimPresence(
                self.world,
                self.cluster.etcd,
                self,
                self._superseded,
                self._changed,
                lambda: self.cluster.member_since(self),
            )
        self.core = BrokerCore(self, presence, self.store, self.settings, self.world.random64())
        self.core.time(self.world.now, self.wall_ms)
        if CORES == "python":
            self.core.looks.hand = self._watched(self.core.looks.hand)  # type: ignore[method-assign]
        self.core.history_terms(HistoryTerms(365 if self.cluster.keeps else 0))
        self.cluster.configure(self)

    def _watched(self, hand: Callable[[int, GroupCopy, int], None]) -> Callable[[int, GroupCopy, int], None]:
        """Each handing out is checked as it is decided."""

        def watched(connector: int, copy: GroupCopy, began_ms: int) -> None:
            self.cluster.checker.groups.handed_out(self.name, copy)
            hand(connector, copy, began_ms)

        return watched

    def _superseded(self, user: str, device: str, old: Location) -> None:
        self.core.superseded(user, device, old)

    def _changed(self, users: Collection[str] | None) -> None:
        self.core.changed(users)

    def ask_close(self, user: str, device: str, spare: str, done: Callable[[bool], None]) -> None:
        """The user API ends a device's sessions, if this broker lives; `done` hears whether that is confirmed."""

        def answered(encoded: bytes) -> None:
            (rec,) = records.parse(records.batch([encoded]))
            answer = Answer.of(rec)
            done(answer.done and answer.body != records.UNCONFIRMED)

        to = address(user, device)
        asked = records.record(records.CLOSE, to=to, flags=int(Goodbye.LOGGED_OUT), body=records.pack_spared(spare))
        if self.alive:
            self.event(lambda: self.core.ask(records.batch([asked]), answered))

    def ask_changed(self, users: Collection[str], done: Callable[[bool], None]) -> None:
        """The user API tells of a change, if this broker lives."""
        if self.alive:
            presence: Presence = self.memory if self.cluster.memory_presence else self.presence
            self.event(lambda: presence.changed(users, done))

    def clock(self) -> None:
        if hasattr(self, "core"):
            self.core.time(self.world.now, self.wall_ms)
        if self.cluster.memory_presence and hasattr(self, "memory"):
            self.memory.tick(self.world.now)

    def tick(self) -> None:
        self.core.tick()

    def flush(self) -> None:
        if self.pump is None:
            self.end_turn()
        elif self.pump.run(self.pump.broker, self.world.now, self.wall_ms):
            self.schedule_flush()

    def end_turn(self) -> None:
        self.core.flush()
        self.cluster.checker.holds(self.core, self.name)

    def stop(self, seconds: float, back_s: float | None = None) -> None:
        if self.alive and not self._stopped:
            self.cluster.broker_stops(self, seconds, back_s)
        super().stop(seconds)

    def died(self) -> None:
        for link in self.links:
            link.reset()
        if not self.cluster.memory_presence:
            self.cluster.etcd.watchers.remove(self.presence)
        self.cluster.broker_died(self)

    # Ports.

    def send(self, connector: int, batch: bytes) -> bool:
        return any(link.down(connector, batch) for link in self.links)

    def members(self) -> Mapping[int, str]:
        return self.cluster.members(self)

    def well(self) -> bool:
        # At random: which broker serves a user must never matter.
        return not self.world.chance(0.05)

    def log(self, text: str) -> None:
        self.world.trace(self.name, text)


class SimConnector(Process):
    """A connector process."""

    HEARTBEAT_S = 20.0

    def __init__(self, world: World, name: str, cluster: Cluster, wall_skew_s: float) -> None:
        super().__init__(world, name, wall_skew_s)
        self.cluster = cluster
        self.is_old = cluster.signals.is_old()
        """It knows no signals."""
        self.links: dict[str, Link] = {}
        self.configured: tuple[str, ...] = ()
        """Brokers that its settings name; of the others it learns."""
        self._open: set[str] = set()
        self._sessions: dict[Connection, Session] = {}
        self.knows_sockets = world.chance(0.7)
        """Its system tells what has come to its sockets and when."""
        self.pump: Pump | None = None
        """Of a node."""

    def begin(self) -> None:
        self._open = set(self.configured)
        settings = ConnectorSettings(
            name=self.name,
            brokers=self.configured,
            max_unacked=self.cluster.max_unacked,
            store_after_s=self.cluster.store_after_s,
            link_timeout_s=inf if self.cluster.is_node else 1.0,
            receipt_retry_s=1.5,
            request_timeout_s=3.0,
            heartbeat_s=self.HEARTBEAT_S,
            rejoin_per_tick=2,
            inbox_full_retry_s=3.0,
            inbox_busy_retry_s=1.5,
            no_space_retry_s=2.0,
            group_scan_s=1.0,
        )
        self._sessions = {}
        self.core = ConnectorCore(self, settings)
        self.core.time(self.world.now, self.wall_ms)

    @property
    def sessions(self) -> Collection[Session]:
        """All that are open."""
        return self._sessions.values() if self.alive else ()

    def clock(self) -> None:
        if hasattr(self, "core"):
            self.core.time(self.world.now, self.wall_ms)

    def wakes(self) -> None:
        # A timer that is due comes before what waits in sockets.
        if self.pump is not None and self.world.chance(0.5):
            self.clock()
            self.tick()
            self.flush()

    def accept(self, connection: Connection) -> None:
        self._sessions[connection] = self.core.opened(connection)

    def received(self, connection: Connection, data: bytes) -> None:
        session = self._sessions.get(connection)
        if session is not None:
            self.core.data(session, data)

    def lost(self, connection: Connection) -> None:
        session = self._sessions.pop(connection, None)
        if session is not None:
            self.core.closed(session)

    def tick(self) -> None:
        self.core.tick()

    def flush(self) -> None:
        if self.pump is None:
            self.end_turn()
        elif self.pump.run(self.pump.connector, self.world.now, self.wall_ms):
            self.schedule_flush()

    def end_turn(self) -> None:
        self.core.flush()
        self.cluster.checker.holds(self.core, self.name)

    def died(self) -> None:
        for link in self.links.values():
            link.reset()
        for connection in list(self._sessions):
            connection.close_from_server()

    # Ports.

    def write(self, handle: object, data: bytes) -> None:
        assert isinstance(handle, Connection)
        session = self._sessions.get(handle)
        if session is not None and self.cluster.checker.has_ended(session.key.decode(), session.login):
            for payload in FrameReader(1 << 20).receive(data):
                kind = Frame.FromString(payload).WhichOneof("kind")
                if kind in ("message", "signal"):
                    self.cluster.checker.fail(
                        f"{self.name} gives {session.key.decode()} a {kind} after its login ended"
                    )
        handle.to_client(data)

    def close(self, handle: object) -> None:
        assert isinstance(handle, Connection)
        handle.close_from_server()
        self.lost(handle)

    def send(self, broker: str, batch: bytes) -> bool:
        return broker in self._open and self.links[broker].up(batch)

    def connect(self, broker: str) -> None:
        self._open.add(broker)

    def disconnect(self, broker: str) -> None:
        self._open.discard(broker)
        self.links[broker].reset()

    def pause(self, handle: object, paused: bool) -> None:
        """A client that says so much at a time is none of ours."""

    def is_behind(self, handle: object) -> bool:
        assert isinstance(handle, Connection)
        return handle.is_behind

    def silent_s(self, handle: object) -> float | None:
        assert isinstance(handle, Connection)
        told = handle.silent_s() if self.knows_sockets else 0.0
        timeout_s = self.core._settings.login_timeout_s
        if told is None or told > timeout_s:
            return told
        # Where nobody tells it, it can only read what waits in its sockets before it acts on what it has read.
        blind_s = 0.0 if self.knows_sockets else STANDSTILL_S + self.TICK_S
        name, now = handle.client.name, self.world.now
        if handle.ended_at is not None and handle.ended_at <= now - blind_s:
            self.cluster.checker.fail(f"{self.name} acts on a Login of {name}, whose connection is at its end")
        if self.knows_sockets and now - handle.heard_at > timeout_s:
            self.cluster.checker.fail(f"{self.name} acts on an old Login of {name}")
        return told

    def verify(self, token: str, now_s: float) -> Identity:
        user, device, login = token.split("/")
        return Identity(user, device, now_s + 1e6, login)

    def random64(self) -> int:
        return self.world.random64()

    def log(self, text: str) -> None:
        self.world.trace(self.name, text)

    def warn(self, text: str) -> None:
        self.world.trace(self.name, text)

    def session_began(self, session: Session, previous: int) -> None:
        self.world.trace(self.name, f"session {session.number:x} began")

    def session_ended(self, session: Session, why: str) -> None:
        self.world.trace(self.name, f"session {session.number:x} ended: {why}")


@dataclass
class SimJournal:
    """A device's disk: what is committed survives, the rest does not."""

    session: int = 0
    session_open: bool = False
    outbound: dict[int, tuple[str, int, bool, dict[int, Outgoing]]] = field(default_factory=dict)
    drafts: dict[int, Outgoing] = field(default_factory=dict)
    doubtful: frozenset[int] = frozenset()
    inbound: dict[StreamKey, KeptInbound] = field(default_factory=dict)
    parked: dict[tuple[StreamKey, int], Message] = field(default_factory=dict)
    pages: set[MessageName] = field(default_factory=set)
    """What is here from a page of a conversation's history, and not by itself."""
    _pending: list[tuple[str, object, object]] = field(default_factory=list)

    def load(self) -> Kept:
        self._pending.clear()
        kept = Kept(self.session, self.session_open, inbound=dict(self.inbound), parked=list(self.parked.values()))
        for number, (dest, next_id, retired, messages) in self.outbound.items():
            stream = OutboundStream(number, dest, next_id, retired)
            for out in messages.values():
                stream.messages[out.id] = replace(out, stream=stream, draft=0, tries=0, due=0.0)
            kept.outbound.append(stream)
        for out in self.drafts.values():
            kept.drafts.append(replace(out))
        kept.doubtful = self.doubtful
        return kept

    def put_session(self, session: int, is_open: bool) -> None:
        self._pending.append(("session", session, is_open))

    def put_outbound(self, stream: OutboundStream) -> None:
        self._pending.append(("outbound", stream.number, (stream.dest, stream.next_id, stream.retired)))

    def drop_outbound(self, stream: OutboundStream) -> None:
        self._pending.append(("drop_outbound", stream.number, None))

    def put_outgoing(self, outgoing: Outgoing) -> None:
        self._pending.append(("outgoing", outgoing.stream and outgoing.stream.number, copy.copy(outgoing)))

    def put_doubtful(self, drafts: Iterable[int]) -> None:
        self._pending.append(("doubtful", frozenset(drafts), None))

    def drop_outgoing(self, outgoing: Outgoing) -> None:
        if outgoing.stream is None:
            self._pending.append(("drop_draft", outgoing.draft, None))
            return
        self._pending.append(("drop_outgoing", outgoing.stream.number, outgoing.id))

    def put_inbound(self, key: StreamKey, stream: InboundStream[Message]) -> None:
        self._pending.append(("inbound", key, KeptInbound(stream.next, stream.settled, frozenset(stream.gaps))))

    def drop_inbound(self, key: StreamKey) -> None:
        self._pending.append(("drop_inbound", key, None))

    def park(self, message: Message) -> None:
        self._pending.append(("park", message_key(message), message))

    def show(self, message: Message, late: bool) -> None:
        self._pending.append(("show", message_key(message), message))

    def hold(self, message: Message, late: bool) -> None:
        raise AssertionError("nobody follows changes of groups here")

    def release(self, message: Message, *, show: bool) -> None:
        raise AssertionError("nobody follows changes of groups here")

    def put_group(self, group: str, version: int) -> None:
        raise AssertionError("nobody follows changes of groups here")

    def paged(self, name: MessageName) -> bool:
        return name in self.pages

    def again(self, message: Message) -> None:
        self._pending.append(("show", message_key(message), message))

    def note(self, events: Iterable[Event]) -> bool:
        return False

    def commit(self) -> None:
        for kind, key, value in self._pending:
            self._apply(kind, key, value)
        self._pending.clear()

    def _apply(self, kind: str, key: object, value: object) -> None:
        if kind == "session":
            self.session, self.session_open = key, value  # type: ignore[assignment]
        elif kind == "outbound":
            dest, next_id, retired = value  # type: ignore[misc]
            messages = self.outbound[key][3] if key in self.outbound else {}  # type: ignore[index]
            self.outbound[key] = (dest, next_id, retired, messages)  # type: ignore[index]
        elif kind == "drop_outbound":
            self.outbound.pop(key, None)  # type: ignore[call-overload]
        elif kind == "outgoing" and key is None:
            self.drafts[value.draft] = value  # type: ignore[attr-defined, assignment]
        elif kind == "outgoing":
            self.drafts.pop(value.draft, None)  # type: ignore[attr-defined]
            self.outbound[key][3][value.id] = value  # type: ignore[index, attr-defined]
        elif kind == "doubtful":
            self.doubtful = key  # type: ignore[assignment]
        elif kind == "drop_draft":
            self.drafts.pop(key, None)  # type: ignore[call-overload]
        elif kind == "drop_outgoing":
            self.outbound[key][3].pop(value, None)  # type: ignore[index, call-overload]
        elif kind == "inbound":
            self.inbound[key] = value  # type: ignore[index, assignment]
        elif kind == "drop_inbound":
            self.inbound.pop(key, None)  # type: ignore[call-overload]
        elif kind == "park":
            self.parked[key] = value  # type: ignore[index, assignment]
        elif kind == "show":
            self.parked.pop(key, None)  # type: ignore[call-overload]

    def holds(self, name: tuple[str, str, int, int]) -> bool:
        """Whether the device has the message for good."""
        key, number = name[:3], name[3]
        state = self.inbound.get(key)
        if (key, number) in self.parked:
            return True
        return state is not None and number < state.next and number not in state.gaps


def message_key(message: Message) -> tuple[StreamKey, int]:
    return stream_key(message), message.id


class SimClient(Process):
    """A client process: one device of one user."""

    def __init__(self, world: World, user: str, device: str, cluster: Cluster) -> None:
        super().__init__(world, f"{user}/{device}")
        self.user = user
        self.device = device
        self.cluster = cluster
        self.durable = True
        """Its journal survives it."""
        self.excused = False
        """It has lost some of what it kept, so it cannot be held to all of the promise."""
        self.forgot_at = -1.0
        self.usable_from = 0.0
        """Not before may it log in: its token is held back."""
        self.removed = False
        self.tells_start = True
        """It is a client of 0.2."""
        self.understands_signals = False
        self.login = "l0"
        """That of its token."""
        self.session_login = ""
        """That of its connection's."""
        self.slow_s = 0.0
        self.up_slow_s = 0.0
        self.journal = SimJournal()
        self.connection: Connection | None = None
        self.wants = False
        self._unnumbered: list[Outgoing] = []
        self._retry_at = 0.0
        self._happened = True
        """Its turn has a reason beside the core's own clock."""
        self._wake: float | None = None
        """When the core wants its turn though nothing happens."""

    def begin(self) -> None:
        if not self.durable:
            self.journal = SimJournal()
            self.forget()
        self.connection = None
        self.core = ClientCore(self.journal, self.world.random64)
        self.core.signals = self.understands_signals
        if not self.tells_start:
            self.core._start = 0
        self._unnumbered = [*self.core.doubtful.values(), *self.core._drafts]
        for outgoing in list(self.core.doubtful.values()):
            self._answer(outgoing)
        self.core.ORDER_WAIT_S = self.core._receiving._order_wait_s = self.cluster.order_wait_s
        self.core._syncs._timeout_s = 4.0
        self.core._outbox.FIRST_RESEND_S = self.cluster.resend_s
        self.core.time(self.world.now)
        self._happened, self._wake = True, None

    def event(self, call: Callable[[], None], life: int | None = None) -> None:
        def happens() -> None:
            self._happened = True
            call()

        super().event(happens, life)

    def clock(self) -> None:
        if hasattr(self, "core"):
            self.core.time(self.world.now)

    def tick(self) -> None:
        if self.removed:
            return
        if self.connection is None:
            if self.wants and self.world.now >= max(self._retry_at, self.usable_from):
                self._connect()
        elif self.world.now - self.core.heard > 6.0:
            self._disconnect()
        elif self.world.now - self.core.heard > 3.0 and self.core.logged_in:
            self.core.ping()
            self._happened = True

    def hold_acks(self, hold: bool) -> None:
        """Its application has enough to do, or has done it."""
        self.core.hold_acks = hold

    def forget(self) -> None:
        """Its memory is not what it was."""
        self.excused = True
        self.forgot_at = self.world.now
        self.cluster.checker.forgot(self)

    def restore(self, backup: SimJournal) -> None:
        """A phone comes back from a backup."""
        if self.alive:
            self.kill()
        self.journal = copy.deepcopy(backup)
        self.forget()
        self.start()

    def _connect(self) -> None:
        alive = [connector for connector in self.cluster.connectors if connector.alive]
        self._retry_at = self.world.now + 0.2 + self.world.random.random() * 0.3
        if not alive:
            return
        connection = self.connection = Connection(self.world, self, self.world.random.choice(alive))
        connection.slow_s, connection.up_slow_s = self.slow_s, self.up_slow_s
        connector = connection.connector
        connector.event(lambda: connector.accept(connection), connector.life)
        self.session_login = self.login
        self.core.connected(f"{self.name}/{self.login}", "simulation")
        self._happened = True

    def _disconnect(self) -> None:
        if self.connection is not None:
            self.connection.close_from_client()
            self._forget()

    def _forget(self) -> None:
        self.connection = None
        self.core.disconnected()
        self._happened = True
        self._retry_at = self.world.now + 0.05 + self.world.random.random() * 0.3

    def received(self, connection: Connection, data: bytes) -> None:
        if connection is self.connection:
            self.core.data(data)
            if self.core.broken is not None:
                self.cluster.checker.fail(f"{self.name}: the server broke the protocol: {self.core.broken}")

    def lost(self, connection: Connection) -> None:
        if connection is self.connection:
            self._forget()

    def send(
        self, dest: str, kind: int, body: bytes, about: About | None = None, revision: int = 0, mark: int = 0
    ) -> None:
        self._unnumbered.append(self.core.send(dest, kind, body, about, revision=revision, mark=mark))

    def server_stamp(self) -> int:
        """Now, as a server might stamp it."""
        return self.wall_ms << STAMP_SHIFT

    def page(self, peer: str) -> None:
        """Read all of a conversation over HTTP; the answer is on its way for a while."""
        conversation = conversation_of(self.user, peer)
        found, life = self.cluster.database.timelines.page(conversation, self.user), self.life
        self.world.after(self.world.delay(0.01, 2.0), lambda: self.event(lambda: self._paged(found), life))

    def _paged(self, found: Sequence[KeptMessage]) -> None:
        # What has come in this turn is about to be shown.
        coming = [message_key(event.item) for event in self.core._events if isinstance(event, Shown)]
        for message in found:
            name: MessageName = tuple(message.name)
            if (name[:3], name[3]) in coming or name[:2] == (self.user, self.device):
                continue
            if self.cluster.checker.paged(self, name):
                self.journal.pages.add(name)
        self.core.paged()

    def flush(self) -> None:
        wake, now = self._wake, self.world.now
        early = not self._happened and (wake is None or wake > now)
        if early and self.cluster.pace.random() > 0.1:
            return
        self._happened = False
        data, events = self.core.flush()
        if early and data and (wake is None or wake > now + self.core.BLOCKED_TICK_S):
            self.cluster.checker.fail(f"{self.name} had something to say, and did not want to be woken")
        self._wake = self.core.next_wake()
        numbered = [outgoing for outgoing in self._unnumbered if outgoing.id]
        self._unnumbered = [outgoing for outgoing in self._unnumbered if not outgoing.id]
        for outgoing in numbered:
            self.cluster.checker.submitted(self, outgoing)
        if data and self.connection is not None:
            self.connection.to_server(data)
        for event in events:
            if isinstance(event, Goodbye):
                self.world.trace(self.name, f"goodbye {event.code} {event.text}")
                if event.code == Goodbye.REPLACED and self.tells_start and self.life == 1:
                    self.cluster.checker.fail(f"{self.name} was replaced by nobody")
                if event.code in (Goodbye.MALFORMED, Goodbye.WINDOW_EXCEEDED, Goodbye.FRAME_TOO_LARGE):
                    self.cluster.checker.fail(f"{self.name}: goodbye {event.code} {event.text}")
            elif isinstance(event, Doubtful):
                for outgoing in event.outgoing:
                    self._answer(outgoing)
                self._happened = True
            elif isinstance(event, Signal):
                self.cluster.checker.signals.came(self, event)
            elif not isinstance(event, LoggedIn):
                self.cluster.checker.happened(self, event)

    def _answer(self, outgoing: Outgoing) -> None:
        """A person says what is to become of a text that may have been sent. Who was restored thinks that it was."""
        if self.excused:
            self.core.give_up(outgoing)
            self._unnumbered = [each for each in self._unnumbered if each is not outgoing]
        else:
            self.core.send_again(outgoing)

    def died(self) -> None:
        if self.connection is not None:
            self.connection.close_from_client()
            self.connection = None
