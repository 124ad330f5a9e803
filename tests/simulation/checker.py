"""The promise, checked: for every message and every device, while it runs and when all is quiet.

Owns what was sent, SENT, delivered and shown. Sees clients' events, journals and the database; changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from client.state import Delivered, Event, Refused, Settled
from client.streams import stream_key
from fabric.records import FIRST_UNSEEN_KIND
from protocol.allowed import CHANGES, SILENT_KINDS
from protocol.inbound import Shown
from protocol.outbound import Outgoing
from protocol.sparrow_pb2 import ERASE, READ, TEXT, Failed, Message
from store.timelines import Name as TimelineName
from tests.simulation.groups import GroupChecker, is_group
from tests.simulation.history import HistoryChecker, conversation
from tests.simulation.services import are_friends
from tests.simulation.signals import SignalChecker

if TYPE_CHECKING:
    from broker.core import BrokerCore
    from connector.core import ConnectorCore
    from tests.simulation.cluster import Cluster
    from tests.simulation.nodes import SimClient

FOR_NOW = (Failed.UNAVAILABLE, Failed.TOO_FAST, Failed.INBOX_FULL, Failed.NO_SPACE)
"""Codes that time may cure."""
LOOK_EACH = 8
"""In which turns cores are looked into: each takes half as long as the turn itself."""
Name: TypeAlias = tuple[str, str, int, int]
"""from_id, from_device, stream, id."""


@dataclass
class Sent:
    """One message of the run."""

    name: Name
    dest: str
    kind: int
    author: str
    at: float
    author_life: int
    target: tuple[str, str, int, int] | None = None
    """Of a change: what it changes."""
    revision: int = 0
    body: bytes = b""
    login: str = ""
    """By which login it was written."""
    version: int = 0
    """Of a group's: the version in which it was SENT."""
    sent_at: float | None = None
    delivered: bool = False
    failed: bool = False
    others_delivered: set[str] = field(default_factory=set)


class Checker:
    """What was promised, and what was kept."""

    SILENT = SILENT_KINDS

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.messages: dict[Name, Sent] = {}
        self.shown: dict[str, dict[Name, bool]] = {}
        """device → message → late."""
        self._texts: dict[tuple[str, bytes], Name] = {}
        self._highest: dict[tuple[str, str, str, int], int] = {}
        self._in_order: dict[tuple[str, str, str, int], list[tuple[int, float]]] = {}
        """(device, stream) → ids that it has shown in their order, and when each was written."""
        self.failures: list[str] = []
        self._before: dict[str, set[Name]] = {}
        """What earlier lives of a client that keeps nothing have shown."""
        self.history = HistoryChecker(cluster, self)
        self.groups = GroupChecker(cluster, self)
        self.signals = SignalChecker(cluster, self)
        self._turns = 0
        self.late = 0
        self.refused = 0
        self.ended: dict[tuple[str, str], float | None] = {}
        """(device, login) that has ended → since when that is confirmed."""

    def fail(self, text: str) -> None:
        """The promise is broken."""
        world = self._cluster.world
        self.failures.append(f"at {world.now:.4f}: {text}")
        world.trace("CHECKER", text)

    def holds(self, core: BrokerCore | ConnectorCore, name: str) -> None:
        """What a core counts is what is there, and its sessions' phases are what they say. Not looked at in every turn:
        what is wrong once stays wrong."""
        self._turns += 1
        if self._turns % LOOK_EACH:
            return
        try:
            core.check()
        except AssertionError as error:
            self.fail(f"{name}: {error}")

    # Logins.

    def has_ended(self, device: str, login: str) -> bool:
        """Whether it is confirmed that nothing of this login goes on."""
        return self.ended.get((device, login)) is not None

    def _finish_logins(self) -> None:
        for (device, login), confirmed in self.ended.items():
            if confirmed is None:
                self.fail(f"nobody ever said that login {login} of {device} has ended")
        for connector in self._cluster.connectors:
            for session in connector.core.sessions.values():
                if (session.key.decode(), session.login) in self.ended:
                    self.fail(f"{session.key.decode()} has a session of {session.login}, which has ended")

    def _finish_presence(self) -> None:
        for where, session in self._cluster.absent():
            self.fail(f"presence names session {session} of {where}, which has ended")

    # What happens.

    def was_sent(self, name: Name, author: SimClient, group: str, at: float, body: bytes, version: int) -> None:
        """A text of before the run."""
        sent = Sent(name, group, TEXT, author.name, at, author.life, body=body, version=version, sent_at=at)
        self.messages[name] = sent

    def submitted(self, client: SimClient, outgoing: Outgoing) -> None:
        """A client has taken a message to send."""
        assert outgoing.stream is not None
        name = (client.user, client.device, outgoing.stream.number, outgoing.id)
        if name in self.messages:
            self.fail(f"{client.name} gives {name} to a second message")
        now, about = self._cluster.world.now, outgoing.about
        sent = Sent(name, outgoing.dest, outgoing.kind, client.name, now, client.life, login=client.session_login)
        if outgoing.kind in CHANGES and about is not None:
            sent.target = client.user, about.from_device, about.stream, about.ids[0]
            sent.revision, sent.body = outgoing.revision, outgoing.body
            if outgoing.kind == ERASE:
                self.history.erased.add((conversation(sent), TimelineName(*sent.target)))
        self.messages[name] = sent

    def happened(self, client: SimClient, event: Event) -> None:
        """A client's event, after it was kept."""
        if isinstance(event, Shown):
            self._show(client, event.item, event.late)
        elif isinstance(event, Settled):
            self._settled(client, event)
        elif isinstance(event, Delivered):
            self._delivered(client, event)
        elif isinstance(event, Refused):
            self._cluster.world.trace(client.name, f"refused {event.outgoing.id} {event.text} final={event.final}")
            self.refused += 1
            if event.final:
                self.messages[self._name(client, event.outgoing)].failed = True
                if event.code in FOR_NOW:
                    self.fail(f"{client.name} was refused for good for want of room: {event.outgoing.id}")

    @staticmethod
    def _name(client: SimClient, outgoing: Outgoing) -> Name:
        assert outgoing.stream is not None
        return client.user, client.device, outgoing.stream.number, outgoing.id

    def _settled(self, client: SimClient, event: Settled) -> None:
        name = self._name(client, event.outgoing)
        self._cluster.world.trace(client.name, f"SENT {name[2:]} delivered={event.delivered}")
        sent = self.messages[name]
        ended = self.ended.get((client.name, client.session_login))
        if ended is not None and sent.login == client.session_login and sent.at > ended:
            self.fail(f"{client.name} saw SENT for what it wrote after its login {sent.login} had ended")
        if sent.sent_at is None:
            sent.sent_at = self._cluster.world.now
        if is_group(sent.dest):
            if event.delivered:
                self.fail(f"{client.name} was told DELIVERED of {name[2:]}, in a group")
            self.groups.settled(sent)
            return
        sent.delivered = sent.delivered or event.delivered
        self.history.settled(sent, event.stamp)
        for device in self._receivers(sent):
            if not device.excused and not self._kept(device, name):
                self.fail(f"{client.name} saw SENT for {name[2:]} but {device.name} has it neither nor in its inbox")
        if event.delivered and self._unseen(sent):
            self.fail(f"{client.name} was told DELIVERED of {name[2:]}, which {sent.dest} may not have seen")
        if event.delivered and not self._shown_by_dest(sent) and sent.kind != READ:
            self.fail(f"{client.name} saw DELIVERED for {name[2:]} but no device of {sent.dest} has it")

    def _delivered(self, client: SimClient, event: Delivered) -> None:
        for number in event.ids:
            sent = self.messages.get((client.user, event.from_device, event.stream, number))
            if sent is None:
                continue
            if client.name == sent.author:
                sent.delivered = True
            else:
                sent.others_delivered.add(client.name)
            if self._unseen(sent):
                self.fail(f"{client.name} was told DELIVERED of {sent.name[2:]}, which {sent.dest} may not have seen")
            if not self._shown_by_dest(sent) and not event.early:
                self.fail(f"{client.name} was told DELIVERED of {sent.name[2:]} but no device of {sent.dest} has it")

    @staticmethod
    def _unseen(sent: Sent) -> bool:
        """Of a kind of clients' own, to somebody who is no friend: that they are there is not to be told."""
        author = sent.name[0]
        return sent.kind >= FIRST_UNSEEN_KIND and sent.dest != author and not are_friends(author, sent.dest)

    def _may_be_untold(self, sent: Sent) -> bool:
        """The same, or they have been friends until the author blocked whom it is for."""
        ended = (sent.dest, sent.name[0]) in self._cluster.database.blocked
        return self._unseen(sent) or (sent.kind >= FIRST_UNSEEN_KIND and ended)

    def _show(self, client: SimClient, message: Message, late: bool) -> None:
        name = (message.from_id, message.from_device, message.stream, message.id)
        self._cluster.world.trace(client.name, f"shows {name} late={late}")
        seen = self.shown.setdefault(client.name, {})
        if name in seen:
            self.fail(f"{client.name} shows {name} twice")
        seen[name] = late
        if message.kind not in self.SILENT and message.body:
            first = self._texts.setdefault((client.name, message.body), name)
            if first != name:
                self.fail(f"{client.name} shows one text under two names, {first} and {name}")
        sent = self.messages.get(name)
        if sent is None:
            self.fail(f"{client.name} shows {name}, which nobody sent")
            return
        if is_group(sent.dest):
            self.groups.shown(client, sent, message)
        if self.hidden(sent) and client.user != name[0]:
            self.fail(f"{client.name} learns what {name[0]} has read, who hides")
        stream = (client.name, *stream_key(message))
        highest = self._highest.get(stream, 0)
        if late:
            self.late += 1
            # It was gone past by the first later one; that one shows that it need not have been (R6, R7).
            shown = self._in_order.get(stream, [])
            _, written_at = next((later for later in shown if later[0] > message.id), (0, 0.0))
            if sent.sent_at is not None and sent.sent_at < written_at:
                self.fail(f"{client.name} shows {name} late, though it was SENT when the one before it was written")
        elif message.id < highest:
            self.fail(f"{client.name} shows {name} after {highest} and does not say so")
        else:
            self._highest[stream] = message.id
            self._in_order.setdefault(stream, []).append((message.id, sent.at))

    def paged(self, client: SimClient, name: Name) -> bool:
        """A page shows a message; whether it was not shown before."""
        seen = self.shown.setdefault(client.name, {})
        if name in seen:
            return False
        seen[name] = True
        return True

    def forgot(self, client: SimClient) -> None:
        """A client that keeps nothing has been restarted."""
        self.shown.setdefault(client.name, {})
        seen = self.shown[client.name]
        self._before.setdefault(client.name, set()).update(seen)
        seen.clear()
        for stream in [stream for stream in self._highest if stream[0] == client.name]:
            del self._highest[stream]
            self._in_order.pop(stream, None)

    # Who should have it.

    def _receivers(self, sent: Sent) -> list[SimClient]:
        """Devices that must have a message: the destination's and the author's others, if they could log in by then."""
        return [
            client
            for client in self._cluster.clients
            if client.user in (sent.dest, sent.name[0])
            and client.name != sent.author
            and not (client.user == sent.dest and (self.blocked(sent) or self.hidden(sent)))
            and not client.removed
            and client.usable_from <= sent.at
        ]

    def hidden(self, sent: Sent) -> bool:
        """A READ of somebody who hides their presence: it is for their own devices alone (P5)."""
        return sent.kind == READ and sent.name[0] in self._cluster.database.hiding

    def blocked(self, sent: Sent) -> bool:
        """The exception to the promise: a block, before or after, drops what waits from its author."""
        return (sent.name[0], sent.dest) in self._cluster.database.blocked

    def has_shown(self, client: SimClient, name: Name) -> bool:
        return name in self.shown.get(client.name, {}) or name in self._before.get(client.name, set())

    def _kept(self, client: SimClient, name: Name) -> bool:
        if self.has_shown(client, name) or (name[:3], name[3]) in client.journal.parked:
            return True
        if self.history.is_erased(self.messages[name]):
            return True
        return self._cluster.database.holds(client.user, client.device, name)

    def _shown_by_dest(self, sent: Sent) -> bool:
        return any(
            self.has_shown(client, sent.name) or client.journal.holds(sent.name) or client.removed or client.excused
            for client in self._cluster.clients
            if client.user == sent.dest
        )

    # When all is quiet.

    def finish(self) -> None:
        """Everything that was sent must have come to something, everywhere."""
        self._finish_logins()
        self._finish_presence()
        self.history.finish()
        for sent in self.messages.values():
            author = self._cluster.client(sent.author)
            forgotten = author.removed or (author.excused and author.life != sent.author_life)
            if sent.failed:
                continue
            if sent.sent_at is None:
                if not forgotten and not self._full_for_ever(sent):
                    self.fail(f"{sent.author} never saw SENT for {sent.name[2:]} to {sent.dest}")
                continue
            if self.history.is_erased(sent):
                continue
            if is_group(sent.dest):
                self.groups.finish(sent)
                continue
            for device in self._receivers(sent):
                if sent.at > device.forgot_at and not self.has_shown(device, sent.name):
                    self.fail(f"{sent.name} was SENT, and {device.name} never showed it")
            if not self._somewhere(sent):
                self.fail(f"{sent.name} was SENT, no device of {sent.dest} showed it, and no inbox holds it")
            told = sent.kind not in self.SILENT and sent.dest != sent.name[0] and not forgotten
            if told and not self._may_be_untold(sent):
                self._finish_delivered(sent)

    def _full_for_ever(self, sent: Sent) -> bool:
        """What waits for somebody who has no device (any more) leaves no room, and nobody takes it."""
        devices = [client for client in self._cluster.clients if client.user == sent.dest]
        return bool(self._cluster.inboxes) and all(client.removed for client in devices)

    def _somewhere(self, sent: Sent) -> bool:
        """Also of a destination whose every device came later or is gone, something must be left."""
        devices = [client for client in self._cluster.clients if client.user == sent.dest]
        return (
            sent.dest == sent.name[0]
            or self.blocked(sent)
            or self.hidden(sent)
            or any(
                client.excused
                or self.has_shown(client, sent.name)
                or client.journal.holds(sent.name)
                or self._cluster.database.holds(client.user, "" if client.removed else client.device, sent.name)
                for client in devices
            )
        )

    def _finish_delivered(self, sent: Sent) -> None:
        readers = [client for client in self._cluster.clients if client.user == sent.dest]
        if self.blocked(sent):
            return
        if any(client.removed or client.excused for client in readers) or not self._receivers(sent):
            return
        if not any(client.user == sent.dest and client.usable_from <= sent.at for client in readers):
            return
        if not sent.delivered:
            self.fail(f"{sent.author} never saw DELIVERED for {sent.name[2:]}")
