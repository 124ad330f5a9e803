"""Records of signals: on their way to a broker, and from there to sessions (docs/design/signals.md).

Owns what the fields of a SIGNAL mean each way, like `fabric.control` of other records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fabric import records
from fabric.group_records import pack_sessions, unpack_sessions
from fabric.records import BODY, BY, FLAGS, TO, Record, record
from protocol.ids import check_dest_id


class SignalUp(NamedTuple):
    """SIGNAL up: a client has one for a user or a group."""

    dest: str
    """The user, or the group."""
    author: bytes
    """The address of the device that it is from."""
    tells_presence: bool
    """It tells that its author is there."""
    signal: bytes
    """Encoded, with its author in it."""

    @classmethod
    def of(cls, rec: Record) -> SignalUp:
        """Raises `InvalidIdError` and `UnicodeDecodeError`."""
        return cls(check_dest_id(rec[TO].decode()), rec[BY], bool(rec[FLAGS] & records.PRESENT), rec[BODY])

    def encode(self) -> bytes:
        return record(
            records.SIGNAL,
            flags=records.PRESENT if self.tells_presence else 0,
            to=self.dest.encode(),
            by=self.author,
            body=self.signal,
        )


class SignalDown(NamedTuple):
    """SIGNAL down: a broker has one for sessions."""

    author: bytes
    """The address of the device that it is from."""
    sessions: Sequence[int]
    signal: bytes
    """Encoded, with its author in it."""

    @classmethod
    def of(cls, rec: Record) -> SignalDown:
        """Raises `RecordError`."""
        return cls(rec[BY], *unpack_sessions(rec[BODY]))

    def encode(self) -> bytes:
        return record(records.SIGNAL, by=self.author, body=pack_sessions(self.sessions) + self.signal)
