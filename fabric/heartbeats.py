"""Heartbeats of connectors, and what brokers answer: who is alive, who knows what, and how far groups are clear.

Owns what the fields of a HEARTBEAT mean, like `fabric.control` of other records.
"""

from __future__ import annotations

from typing import NamedTuple

from fabric import records
from fabric.records import (
    ATTEMPT,
    BODY,
    BY,
    COUNT,
    FLAGS,
    ORIGIN,
    SESSION,
    TO,
    Record,
    pack_members,
    record,
    unpack_members,
)
from protocol.errors import RecordError


class Heartbeat(NamedTuple):
    """HEARTBEAT up: a connector is alive, and wants its lease kept."""

    connector: int
    """Incarnation of the connector."""
    lease: int
    """0: none yet."""
    beat: int
    """1 to 65,535, then 1 again; 0: a connector of 0.1, which does not number them."""
    knows_groups: bool = False
    """It knows what groups are."""
    linked: bool = False
    """This broker is up, as the connector sees it: should the broker leave, the connector's sessions look again."""
    knows_signals: bool = False
    """It knows what signals are."""

    @classmethod
    def of(cls, rec: Record) -> Heartbeat:
        flags = rec[FLAGS]
        knows_groups, linked = bool(flags & records.KNOWS_GROUPS), bool(flags & records.LINKED)
        knows_signals = bool(flags & records.KNOWS_SIGNALS)
        return cls(rec[ORIGIN], rec[ATTEMPT], rec[COUNT], knows_groups, linked, knows_signals)

    def encode(self) -> bytes:
        flags = (records.KNOWS_GROUPS if self.knows_groups else 0) | (records.LINKED if self.linked else 0)
        flags |= records.KNOWS_SIGNALS if self.knows_signals else 0
        return record(records.HEARTBEAT, flags=flags, origin=self.connector, attempt=self.lease, count=self.beat)


class HeartbeatReply(NamedTuple):
    """HEARTBEAT down: the broker's answer."""

    broker: int
    """Incarnation of the broker."""
    lease: int
    """The one that holds now."""
    asked: int
    """The lease that the connector named."""
    beat: int
    """Number of the heartbeat; 0: a broker of 0.1."""
    unwell: bool
    """The broker's store, or its presence, does not answer: others are better."""
    members: dict[int, str]
    """All brokers that it knows to be alive, incarnation → endpoint."""
    knows_changes: bool = False
    """It knows what an EDIT and an ERASE are."""
    wall_ms: int = 0
    """Its Unix time; 0: not told."""
    knows_groups: bool = False
    """It knows what groups are."""
    clear_ms: int = 0
    """Unix time: of groups, whatever began to be appended before is with this connector (docs/design/groups.md); 0: not
    told."""
    knows_signals: bool = False
    """It knows what signals are."""

    @classmethod
    def of(cls, rec: Record) -> HeartbeatReply:
        """Raises `RecordError`."""
        members, flags = dict(unpack_members(rec[BODY])), rec[FLAGS]
        if len(rec[BY]) not in (0, 8) or len(rec[TO]) not in (0, 8):
            raise RecordError("a broker's time cannot be read")
        return cls(
            rec[ORIGIN],
            rec[ATTEMPT],
            rec[SESSION],
            rec[COUNT],
            bool(flags & records.UNWELL),
            members,
            bool(flags & records.KNOWS_CHANGES),
            int.from_bytes(rec[BY], "little"),
            bool(flags & records.KNOWS_GROUPS),
            int.from_bytes(rec[TO], "little"),
            bool(flags & records.KNOWS_SIGNALS),
        )

    def encode(self) -> bytes:
        flags = records.UNWELL if self.unwell else 0
        flags |= records.KNOWS_CHANGES if self.knows_changes else 0
        flags |= records.KNOWS_GROUPS if self.knows_groups else 0
        flags |= records.KNOWS_SIGNALS if self.knows_signals else 0
        return record(
            records.HEARTBEAT,
            flags=flags,
            to=self.clear_ms.to_bytes(8, "little") if self.clear_ms else b"",
            by=self.wall_ms.to_bytes(8, "little") if self.wall_ms else b"",
            count=self.beat,
            origin=self.broker,
            attempt=self.lease,
            session=self.asked,
            body=pack_members(self.members.items()),
        )
