"""The broker's core put together: what each record means, and what becomes of a batch that cannot be sent.

Owns the order of things. Effects leave at `flush`, one batch a connector.
"""

from __future__ import annotations

from collections.abc import Collection

from broker.core.archive import Archive
from broker.core.asks import Asks, SendAnswer
from broker.core.cached import Freshness
from broker.core.closings import Closings
from broker.core.devices import Devices
from broker.core.group_pages import GroupPages
from broker.core.group_routing import GroupRouting
from broker.core.hiding import Hiding
from broker.core.inbox import InboxRequests
from broker.core.logins import Registrations
from broker.core.looks import Looks
from broker.core.memberships import Memberships
from broker.core.notifier import Notifier
from broker.core.outcomes import Outcomes
from broker.core.policy import Policy
from broker.core.quota import Quota
from broker.core.routing import Routing
from broker.core.signals import Signals
from broker.core.state import Location, Ports, Presence, StorePort, Storing, Turn
from broker.core.storing import Storage
from broker.settings import BrokerSettings
from fabric import records
from fabric.authorship import author_of
from fabric.control import Evict, Evicted
from fabric.heartbeats import Heartbeat, HeartbeatReply
from fabric.records import BODY, COPY, FLAGS, KIND, ORIGIN, OUTCOMES, RECEIPT, ROUTE, TO, Record, encode
from protocol.ids import split_address
from store.settings import HistorySettings
from store.timelines import HistoryTerms

LOG_INTERVAL_S = 10.0
"""Seconds between two lines of the log about what cannot be read."""


class BrokerCore:
    """One broker. Call `time` before events, `flush` at the end of the turn, `tick` every 0.1 s."""

    def __init__(
        self,
        ports: Ports,
        presence: Presence,
        store: StorePort,
        settings: BrokerSettings,
        incarnation: int,
        inbox_ttl_ms: int = 0,
        history: HistorySettings | None = None,
    ) -> None:
        """`inbox_ttl_ms` is how long a message waits in the store, for clients to be told; 0: they are not. Nothing is
        kept of conversations before `history_terms` says so."""
        history = history or HistorySettings()
        self._ports = ports
        self._presence = presence
        self.turn = turn = Turn()
        self.incarnation = incarnation
        self.freshness = Freshness(settings, turn, presence)
        self.devices = Devices(settings, turn, self.freshness, store)
        self.policy = Policy(settings, turn, self.freshness, store)
        self.hiding = Hiding(settings, turn, self.freshness, store)
        self.notifier = Notifier(settings, turn, presence)
        self.quota = Quota(settings, turn, presence, store)
        self.outcomes = Outcomes(turn)
        self.storage = Storage(settings, turn, presence, store, self.notifier, self.quota, self.outcomes)
        self.archive = Archive(settings, history, turn, store, self.quota, self.outcomes)
        self.memberships = Memberships(settings, turn, self.freshness, store)
        self.looks = Looks(settings, turn)
        self.groups = GroupRouting(settings, turn, presence, self.memberships, self.archive, self.looks, self.outcomes)
        self.group_pages = GroupPages(settings, turn, store)
        members_policy = Policy(settings, turn, self.freshness, store)
        self.signals = Signals(
            settings, turn, presence, self.policy, members_policy, self.hiding, self.memberships, self.looks
        )
        self.routing = Routing(
            settings, turn, presence, self.devices, self.policy, self.hiding, self.storage, self.archive, self.groups
        )
        self.closings = Closings(settings, turn, presence)
        self.logins = Registrations(settings, turn, presence, store, self.closings, inbox_ttl_ms, history)
        self.asks = Asks(turn, presence, self.closings)
        self.inbox = InboxRequests(settings, turn, store)
        self.batches = self.records = 0
        """Batches, and records in them, sent to connectors."""
        self.records_unreadable = 0
        """Records that were passed over."""
        self._log_at = 0.0
        self._strange: set[int] = set()
        """Kinds of records that were passed over."""

    def time(self, now: float, wall_ms: int) -> None:
        """The time of the events that follow: seconds of a steady clock, and Unix time in ms."""
        self.turn.now = now
        self.turn.wall_ms = wall_ms

    def history_terms(self, terms: HistoryTerms) -> None:
        """What the store says of history, as often as it is asked."""
        self.archive.terms(terms)

    def batch(self, connector: int, data: bytes) -> None:
        """A batch from a connector. Raises `RecordError` for what is no batch; then nothing of it was used.

        A record that is not for this release to understand, or cannot be read, is as good as lost on the way, which
        whoever sent it can bear; the other records are of other people.
        """
        for rec in records.parse(data, OUTCOMES):
            kind = rec[KIND]
            try:
                if kind == ROUTE:
                    self.routing.route(connector, rec)
                elif kind == OUTCOMES:
                    self.turn.push(rec[ORIGIN], rec[BODY])  # all of it, as it came
                else:
                    self._rare_record(connector, rec)
            except records.UNREADABLE as error:
                self._unreadable(f"connector {connector:016x}", kind, error)

    def ask(self, data: bytes, answer: SendAnswer) -> None:
        """A batch from a process of the user API, which `answer` answers. Raises `RecordError` as `batch` does."""
        for rec in records.parse(data):
            try:
                if not self.asks.ask(rec, answer):
                    self._pass_over("the user API", rec[KIND])
            except records.UNREADABLE as error:
                self._unreadable("the user API", rec[KIND], error)

    def _unreadable(self, sender: str, kind: int, error: Exception) -> None:
        self.records_unreadable += 1
        if self.turn.now >= self._log_at:
            self._log_at = self.turn.now + LOG_INTERVAL_S
            self._ports.log(
                f"a record of kind {kind} from {sender} cannot be read and is passed over ({error}); "
                f"{self.records_unreadable} of them so far"
            )

    def _rare_record(self, connector: int, rec: Record) -> None:
        kind = rec[KIND]
        if kind == records.STORE:
            self._store(connector, rec)
        elif kind == records.PAGE:
            self.inbox.page(connector, rec)
        elif kind == records.REMOVE:
            self.inbox.remove(rec)
        elif kind == records.NOTIFIED:
            self.notifier.confirmed(rec)
        elif kind == records.HEARTBEAT:
            self._heartbeat(connector, Heartbeat.of(rec))
        elif kind == records.ONLINE:
            self.logins.online(connector, rec)
        elif kind == records.OFFLINE:
            self.logins.offline(connector, rec)
        elif kind == records.EVICTED:
            self.turn.push(Evicted.of(rec).connector, encode(rec))
        elif kind == records.CLOSED:
            self.closings.confirmed(rec)
        elif kind == records.GROUP_HEARD:
            self.looks.confirmed(connector, rec)
        elif kind == records.GROUP_PAGE:
            self.group_pages.page(connector, rec)
        elif kind == records.CHECKPOINT:
            self.group_pages.checkpoint(rec)
        elif kind == records.SIGNAL:
            self.signals.route(rec)
        else:
            self._pass_over("a connector", kind)

    def _pass_over(self, sender: str, kind: int) -> None:
        if kind not in self._strange:
            self._strange.add(kind)
            self._ports.log(f"{sender} sends records of kind {kind}, of another release; they are passed over")

    def _store(self, returned_by: int, rec: Record) -> None:
        user, device = split_address(rec[TO])
        author = "" if rec[FLAGS] & RECEIPT else author_of(rec[BODY])
        self.storage.add(Storing(rec, user, device, returned_by, author))

    def _heartbeat(self, connector: int, beat: Heartbeat) -> None:
        self._presence.keep_alive(connector, beat.lease, lambda lease: self._beat_answered(connector, beat, lease))

    def _beat_answered(self, connector: int, beat: Heartbeat, lease: int | None) -> None:
        holds = beat.lease if lease is None else lease
        unwell, members = not self._ports.well(), dict(self._ports.members())
        self.looks.heartbeat(connector, beat)
        clear_ms = self.groups.clear_ms(connector)
        reply = HeartbeatReply(
            self.incarnation,
            holds,
            beat.lease,
            beat.beat,
            unwell,
            members,
            True,
            self.turn.wall_ms,
            True,
            clear_ms,
            True,
        )
        self.turn.push(connector, reply.encode())

    def superseded(self, user: str, device: str, old: Location) -> None:
        """The presence map has learnt that `old` is no longer the device's location, and somebody else is."""
        self.logins.superseded(user, device, old)

    def changed(self, users: Collection[str] | None) -> None:
        """What the store keeps of these users, and groups, is not what it was; None: of anybody."""
        self.devices.forget(users)
        self.policy.changed(users)
        self.hiding.forget(users)
        self.memberships.forget(users)
        self.signals.changed(users)
        self.logins.changed(users)

    def tick(self) -> None:
        """What is due by now."""
        self.freshness.tick()
        self.devices.tick()
        self.policy.tick()
        self.hiding.tick()
        self.memberships.tick()
        self.groups.tick()
        self.looks.tick()
        self.signals.tick()
        self.logins.tick()
        self.notifier.tick()
        self.closings.tick()
        self.quota.tick()
        self.archive.tick()

    def flush(self) -> None:
        """Send what the turn has left behind; what a link does not take is stored."""
        # What is not there is not called for: small turns would pay for it with each message.
        if self.logins.coming or self.logins.there:
            self.logins.flush()
        if self.inbox.asked or self.inbox.removals:
            self.inbox.flush()
        if self.devices.wanted:
            self.devices.flush()
        if self.policy.wanted:
            self.policy.flush()
        if self.hiding.wanted:
            self.hiding.flush()
        if self.memberships.wanted:
            self.memberships.flush()
        if self.quota.due:
            self.quota.flush()
        if self.notifier.new:
            self.notifier.flush()
        if self.storage.queue or self.storage.settled:
            self.storage.flush()
        if self.archive.queue:
            self.archive.flush()
        if self.groups.appended:
            self.groups.flush()
        if self.group_pages.waiting or self.group_pages.checkpoints:
            self.group_pages.flush()
        if self.outcomes.entries:
            self.outcomes.flush()
        if self.turn.out:
            self._send()

    def _send(self) -> None:
        turn = self.turn
        out, turn.out = turn.out, {}
        for connector, encoded in out.items():
            self.records += len(encoded)
            for data in records.batches(encoded):
                self.batches += 1
                if not self._ports.send(connector, data):
                    self._undeliverable(data)
        if turn.out:
            self.flush()

    def _undeliverable(self, data: bytes) -> None:
        """A connector is gone or choked: its copies go to the inbox; what waits for its answer gets one."""
        for rec in records.parse(data):
            if rec[KIND] == COPY:
                self._store(0, rec)
            elif rec[KIND] == records.EVICT:
                evict = Evict.of(rec)
                if evict.by_connector:
                    self.turn.push(evict.by_connector, Evicted(evict.by_connector, evict.by_session).encode())
        self.storage.flush()
        self.outcomes.flush()

    def check(self) -> None:
        """Assert what must hold between turns, after `flush`: for simulation and tests. Looks at everything."""
        self.storage.check()
        self.archive.check()
        self.routing.check()
        self.groups.check()
        self.notifier.check()
        self.closings.check()
        self.quota.check()

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight that a graceful stop should wait for."""
        return not self.storage.rows and not self.archive.rows and not self.routing.waiting and not self.groups.waiting
