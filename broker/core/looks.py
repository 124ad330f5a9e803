"""What connectors have been handed of groups, until they confirm it: as a copy, then as a look that is repeated.

Owns what is unconfirmed, and which connectors know groups (docs/design/groups.md, rule G1) and signals.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import count

from broker.core.state import Turn
from broker.settings import BrokerSettings
from fabric.group_records import GroupCopy, GroupHeard, GroupLook
from fabric.heartbeats import Heartbeat
from fabric.records import Record

SILENT = 2.0
"""A connector that was not heard for so many leases has lost its own, or this broker: either way its sessions read
all their groups anew before they go on."""
ALL = b""


@dataclass(slots=True)
class Owed:
    """What a connector has not confirmed: rows of a group for some of its sessions."""

    group: bytes
    """`ALL`: of any group."""
    stamp: int
    """The lowest of these rows'."""
    began_ms: int
    """When the first of them began to be appended."""
    sessions: Collection[int]
    due: float
    number: int = 0


@dataclass(slots=True)
class Peer:
    """A connector that links here."""

    heard: float
    knows_groups: bool = False
    knows_signals: bool = False
    linked: bool = False
    """It has counted this broker among those that are up."""
    copies: dict[int, Owed] = field(default_factory=dict)
    """Copies that are not confirmed, by number, oldest first."""
    looks: dict[bytes, Owed] = field(default_factory=dict)


class Looks:
    """All connectors of a broker, and what they are owed."""

    def __init__(self, settings: BrokerSettings, turn: Turn) -> None:
        self._settings = settings
        self._turn = turn
        self._peers: dict[int, Peer] = {}
        self._numbers = count(1)
        self._heard: dict[int, list[int]] = {}
        self.sent = 0
        """Looks that were sent, repeats among them."""

    def heartbeat(self, connector: int, beat: Heartbeat) -> None:
        """A connector is alive."""
        peer = self._peers.get(connector)
        if peer is None:
            peer = self._peers[connector] = Peer(self._turn.now)
        peer.heard, peer.knows_groups, peer.knows_signals = self._turn.now, beat.knows_groups, beat.knows_signals
        peer.linked = peer.linked or beat.linked

    def takes(self, connector: int) -> bool | None:
        """Whether this connector can be handed something, and will look for itself should this broker die before it has
        come; None: it knows no groups, so none of its sessions waits for anything."""
        peer = self._peers.get(connector)
        if peer is None or self._turn.now - peer.heard > SILENT * self._settings.lease_s:
            return False
        return peer.linked if peer.knows_groups else None

    def knows_signals(self, connector: int) -> bool:
        """Whether this connector has said so; one that has not is handed none."""
        peer = self._peers.get(connector)
        return peer is not None and peer.knows_signals

    def number(self) -> int:
        """For another copy."""
        return next(self._numbers)

    def hand(self, connector: int, copy: GroupCopy, began_ms: int) -> None:
        """Hand a message, whose append began at this Unix time, to the connector, and owe it until it is confirmed."""
        self._turn.push(connector, copy.encode())
        peer = self._peers.get(connector)
        if peer is not None:
            group, _, number, stamp, sessions, _ = copy
            due = self._turn.now + self._settings.group_look_s
            peer.copies[number] = Owed(group, stamp, began_ms, sessions, due, number)

    def confirmed(self, connector: int, rec: Record) -> None:
        """These are in hand there. Raises `RecordError`."""
        peer = self._peers.get(connector)
        if peer is None:
            return
        for number in GroupHeard.of(rec).numbers:
            if peer.copies.pop(number, None) is None:
                for group, owed in peer.looks.items():
                    if owed.number == number:
                        del peer.looks[group]
                        break

    def clear_ms(self, connector: int, now_ms: int) -> int:
        """What began to be appended before this Unix time, this connector has confirmed; at most `now_ms`."""
        peer = self._peers.get(connector)
        if peer is None:
            return now_ms
        oldest = deque(owed.began_ms for owed in peer.looks.values())
        oldest.extend(owed.began_ms for owed in peer.copies.values())
        return min(now_ms, min(oldest, default=now_ms))

    def tick(self) -> None:
        """What was not confirmed in time is looked for; who is gone is owed nothing."""
        now = self._turn.now
        for connector, peer in list(self._peers.items()):
            if now - peer.heard > SILENT * self._settings.lease_s:
                del self._peers[connector]
                continue
            self._turn_to_looks(peer)
            for look in peer.looks.values():
                if look.due <= now:
                    self._send(connector, look)

    def _turn_to_looks(self, peer: Peer) -> None:
        now = self._turn.now
        late = []
        for number, owed in peer.copies.items():
            if owed.due > now:
                break
            late.append(number)
        for number in late:
            self._owe(peer, peer.copies.pop(number))
        if len(peer.looks) > self._settings.max_group_looks:
            owed = Owed(ALL, *_lowest(peer.looks.values()), (), now)
            peer.looks = {ALL: owed}

    def _owe(self, peer: Peer, owed: Owed) -> None:
        look = peer.looks.get(ALL) or peer.looks.get(owed.group)
        if look is None:
            look = peer.looks[owed.group] = Owed(owed.group, owed.stamp, owed.began_ms, (), self._turn.now)
        look.stamp = min(look.stamp, owed.stamp)
        look.began_ms = min(look.began_ms, owed.began_ms)
        if look.group != ALL:
            look.sessions = {*look.sessions, *owed.sessions}
        look.number = 0  # the answer to an earlier one says nothing about these rows
        look.due = min(look.due, self._turn.now)

    def _send(self, connector: int, look: Owed) -> None:
        self.sent += 1
        look.number = next(self._numbers)
        look.due = self._turn.now + self._settings.group_look_s
        encoded = GroupLook(look.group, look.number, look.stamp, sorted(look.sessions)).encode()
        self._turn.push(connector, encoded)

    @property
    def owed(self) -> int:
        """Copies and looks that no connector has confirmed."""
        return sum(len(peer.copies) + len(peer.looks) for peer in self._peers.values())


def _lowest(looks: Iterable[Owed]) -> tuple[int, int]:
    known = list(looks)
    return min(look.stamp for look in known), min(look.began_ms for look in known)
