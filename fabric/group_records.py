"""Records of groups, each with names of its own, like `fabric.control` (docs/design/groups.md, "Records").

Owns what their fields mean, and how sessions and rows are packed in their bodies.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

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
    pack_keys,
    pack_rows,
    record,
    unpack_keys,
    unpack_rows,
)
from protocol.errors import RecordError

_COUNT = struct.Struct("<I")
_U64 = 8
ROW_MESSAGE: Final = 1
"""Kind of a row in GROUP_ROWS: an encoded `Message`."""
ROW_SKIPPED: Final = 2
"""The key is a group with rows that are older than the scan goes back."""


def pack_sessions(sessions: Sequence[int]) -> bytes:
    """Numbers of sessions, and how many there are."""
    return struct.pack(f"<I{len(sessions)}Q", len(sessions), *sessions)


def unpack_sessions(body: bytes) -> tuple[tuple[int, ...], bytes]:
    """Numbers of sessions, and what is behind them. Raises `RecordError`."""
    if len(body) < _COUNT.size:
        raise RecordError("a list of sessions is cut off")
    (count,) = _COUNT.unpack_from(body)
    end = _COUNT.size + _U64 * count
    if end > len(body):
        raise RecordError("a list of sessions is cut off")
    return struct.unpack_from(f"<{count}Q", body, _COUNT.size), body[end:]


class GroupCopy(NamedTuple):
    """GROUP_COPY: a message for sessions of members."""

    group: bytes
    author: bytes
    """The address of the device that wrote it."""
    number: int
    """By which it is confirmed."""
    stamp: int
    sessions: Sequence[int]
    message: bytes
    """Encoded."""

    @classmethod
    def of(cls, rec: Record) -> GroupCopy:
        """Raises `RecordError`."""
        sessions, message = unpack_sessions(rec[BODY])
        return cls(rec[TO], rec[BY], rec[ATTEMPT], rec[SESSION], sessions, message)

    def encode(self) -> bytes:
        return record(
            records.GROUP_COPY,
            to=self.group,
            by=self.author,
            attempt=self.number,
            session=self.stamp,
            body=pack_sessions(self.sessions) + self.message,
        )


class GroupLook(NamedTuple):
    """GROUP_LOOK: there are rows for sessions of members, from a stamp on."""

    group: bytes
    """b"": in any of their groups."""
    number: int
    stamp: int
    sessions: Sequence[int]

    @classmethod
    def of(cls, rec: Record) -> GroupLook:
        """Raises `RecordError`."""
        return cls(rec[TO], rec[ATTEMPT], rec[SESSION], unpack_sessions(rec[BODY])[0])

    def encode(self) -> bytes:
        body = pack_sessions(self.sessions)
        return record(records.GROUP_LOOK, to=self.group, attempt=self.number, session=self.stamp, body=body)


class GroupHeard(NamedTuple):
    """GROUP_HEARD: these copies and looks are in hand."""

    numbers: Sequence[int]

    @classmethod
    def of(cls, rec: Record) -> GroupHeard:
        """Raises `RecordError`."""
        body = rec[BODY]
        if len(body) % _U64:
            raise RecordError("a list of numbers is cut off")
        return cls(struct.unpack(f"<{len(body) // _U64}Q", body))

    def encode(self) -> bytes:
        return record(records.GROUP_HEARD, body=struct.pack(f"<{len(self.numbers)}Q", *self.numbers))


class GroupPageRequest(NamedTuple):
    """GROUP_PAGE: the next rows that a device has to catch up with."""

    address: bytes
    session: int
    request: int
    group: str = ""
    """Empty: all groups of the user."""
    stamp: int = 0
    """From this one on; 0: from the device's checkpoint, less the trail."""
    began_ms: int = 0
    """When the scan began, as its first page told; 0: this is the first."""
    cursor: bytes = b""
    limit: int = 0

    @classmethod
    def of(cls, rec: Record) -> GroupPageRequest:
        """Raises `RecordError`."""
        told = unpack_keys(rec[BODY])
        if len(told) < 2 or len(told[1]) != _U64:
            raise RecordError("what a page of groups is asked of cannot be read")
        stamp = int.from_bytes(told[1], "little")
        address, session, request = rec[TO], rec[SESSION], rec[ATTEMPT]
        return cls(address, session, request, told[0].decode(), stamp, rec[ORIGIN], rec[BY], rec[COUNT])

    def encode(self) -> bytes:
        return record(
            records.GROUP_PAGE,
            count=self.limit,
            to=self.address,
            by=self.cursor,
            origin=self.began_ms,
            session=self.session,
            attempt=self.request,
            body=pack_keys((self.group.encode(), self.stamp.to_bytes(_U64, "little"))),
        )


class GroupRows(NamedTuple):
    """GROUP_ROWS: a page of what a device has to catch up with."""

    session: int
    request: int
    began_ms: int = 0
    """The broker's Unix time when the scan began."""
    cursor: bytes = b""
    end: bool = False
    failed: bool = False
    body: bytes = b""

    @classmethod
    def of(cls, rec: Record) -> GroupRows:
        end, failed = bool(rec[FLAGS] & records.END), bool(rec[FLAGS] & records.FAILED)
        return cls(rec[SESSION], rec[ATTEMPT], rec[ORIGIN], rec[BY], end, failed, rec[BODY])

    def rows(self) -> Iterator[tuple[bytes, int, bytes]]:
        """(skipped group, kind, encoded message) of each. Raises `RecordError` at the first that cannot be read."""
        return unpack_rows(self.body)

    def encode(self) -> bytes:
        return record(
            records.GROUP_ROWS,
            flags=(records.END if self.end else 0) | (records.FAILED if self.failed else 0),
            by=self.cursor,
            origin=self.began_ms,
            session=self.session,
            attempt=self.request,
            body=self.body,
        )


def pack_group_rows(skipped: Iterable[str], messages: Iterable[bytes]) -> bytes:
    """Body of GROUP_ROWS."""
    return pack_rows(
        (
            *((group.encode(), ROW_SKIPPED, b"") for group in skipped),
            *((b"", ROW_MESSAGE, message) for message in messages),
        )
    )


class Checkpoint(NamedTuple):
    """CHECKPOINT: a device has everything of its groups that was written before."""

    address: bytes
    ms: int  # Unix time

    @classmethod
    def of(cls, rec: Record) -> Checkpoint:
        return cls(rec[TO], rec[ATTEMPT])

    def encode(self) -> bytes:
        return record(records.CHECKPOINT, to=self.address, attempt=self.ms)
