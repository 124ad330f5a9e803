"""Signals of a run: who sends some, and who may be given which (docs/design/signals.md).

Owns what was sent and what came. Signals may get lost: nothing here asks for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from protocol.allowed import FIRST_OWN_KIND, PRESENCE_SIGNALS, carries_signal
from protocol.sparrow_pb2 import Signal
from store.groups import Membership
from tests.simulation.groups import is_group

if TYPE_CHECKING:
    from tests.simulation.checker import Checker
    from tests.simulation.cluster import Cluster
    from tests.simulation.nodes import SimClient

KINDS = (Signal.TYPING, Signal.TYPING, Signal.STOPPED_TYPING, FIRST_OWN_KIND, FIRST_OWN_KIND, 3)
"""The last is of a later release."""


@dataclass(frozen=True)
class SentSignal:
    """One that a client has given to its connection."""

    author: str
    user: str
    device: str
    dest: str
    kind: int
    at: float


class SignalStory:
    """Who signals what to whom."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._chance = Random(f"signals {cluster.world.seed}")
        # Other emphases are played as they were before there were signals.
        self.plays = "signals" in cluster.emphasis or (not cluster.emphasis and self._chance.random() < 0.4)
        self._count = 0

    def understands(self) -> bool:
        """Whether another client does."""
        return self.plays and self._chance.random() < 0.8

    def is_old(self) -> bool:
        """Whether another connector or broker is of a release that knew none."""
        return self.plays and self._chance.random() < (0.5 if "older servers" in self._cluster.emphasis else 0.05)

    def plan(self) -> None:
        """Everybody types now and then."""
        cluster, chance = self._cluster, self._chance
        for client in list(cluster.clients) if self.plays else ():
            for _ in range(chance.choice((5, 20, 60))):
                at = chance.uniform(1.0, cluster.active_s)
                cluster.world.at(at, lambda client=client: client.event(lambda: self._signal(client)))  # type: ignore[misc]

    def _signal(self, client: SimClient) -> None:
        cluster, chance = self._cluster, self._chance
        dest = chance.choice([*cluster.database.users, "nobody"])
        if cluster.has_groups and chance.random() < 0.5:
            dest = chance.choice(sorted(cluster.database.groups.groups))
        kind, self._count = chance.choice(KINDS), self._count + 1
        body = b"signal %d" % self._count
        if client.core.signal(dest, kind, body):
            sent = SentSignal(client.name, client.user, client.device, dest, kind, cluster.world.now)
            cluster.checker.signals.sent[body] = sent


class SignalChecker:
    """What comes of signals."""

    def __init__(self, cluster: Cluster, checker: Checker) -> None:
        self._cluster = cluster
        self._checker = checker
        self.sent: dict[bytes, SentSignal] = {}
        self._seen: set[tuple[str, int, bytes]] = set()
        """(device, session, body)"""
        self._apart: dict[tuple[str, str], float] = {}
        """(author, receiver) → since when all brokers know that one of them has blocked the other."""
        self.received = 0

    def now_apart(self, author: str, receiver: str) -> None:
        """All brokers were told of a block: T later none goes by what it knew before."""
        self._apart.setdefault((author, receiver), self._cluster.world.now + self._cluster.answer_after_s)

    def came(self, client: SimClient, signal: Signal) -> None:
        """A client is given one."""
        self.received += 1
        sent = self.sent.get(signal.body)
        self._cluster.world.trace(client.name, f"is given {signal.body.decode()} of {signal.from_id}")
        if sent is None:
            self._fail(client, signal, "which nobody sent")
            return
        told = (signal.from_id, signal.from_device, signal.dest_id, signal.kind)
        if told != (sent.user, sent.device, sent.dest, sent.kind):
            self._fail(client, signal, "which is not what was sent")
        once = (client.name, client.core._known_session, signal.body)
        if once in self._seen:
            self._fail(client, signal, "for a second time")
        self._seen.add(once)
        if not client.understands_signals:
            self._fail(client, signal, "and cannot read it")
        if client.name == sent.author:
            self._fail(client, signal, "its own")
        if not carries_signal(sent.kind):
            self._fail(client, signal, "of a kind that this release does not know")
        if sent.kind in PRESENCE_SIGNALS and sent.user in self._cluster.database.hiding:
            self._fail(client, signal, f"though {sent.user} hides")
        if self._is_for(client, sent):
            since = self._apart.get((sent.user, client.user))
            if since is not None and sent.at > since:
                self._fail(client, signal, "though one has blocked the other")
        else:
            self._fail(client, signal, "which is not for them")

    def _is_for(self, client: SimClient, sent: SentSignal) -> bool:
        if not is_group(sent.dest):
            return client.user == sent.dest
        return self._is_member(sent.dest, client.user, sent.at) and self._is_member(sent.dest, sent.user, sent.at)

    def _is_member(self, group: str, user: str, at: float) -> bool:
        """Whether they are, or have left so lately that not everybody knows (G5)."""
        story = self._cluster.story
        heard, known = story.heard_by(group, at), story.kept.intervals.get((group, user), Membership())
        return any(not each.until or each.until > heard for each in known.intervals)

    def _fail(self, client: SimClient, signal: Signal, why: str) -> None:
        self._checker.fail(f"{client.name} is given {signal.body!r}, {why}")
