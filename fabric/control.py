"""Control records: every kind but those of messages (ROUTE, COPY, STORE, OUTCOMES), each with names of its own.

Owns what the fields of a record mean in each of these kinds: `attempt` is a lease in one and a request in another, and
nobody else needs to know. `of` reads a parsed record, `encode` writes one. The format is `fabric.records`' affair;
messages, of which there are many, are used there as the tuples they are.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    pack_keys,
    pack_login,
    pack_terms,
    record,
    unpack_keys,
    unpack_login,
    unpack_rows,
    unpack_spared,
    unpack_terms,
)


class Online(NamedTuple):
    """ONLINE: a session wants its place in presence."""

    address: bytes
    session: int
    lease: int
    """The lease of its connector."""
    again: bool
    """The session had its place before."""
    login: str
    """Empty: not told."""
    start: int
    """Number of the client's start; 0: not told."""
    tries: int
    """Which of that start's tries this is, from 1; 0: not told."""

    @classmethod
    def of(cls, rec: Record) -> Online:
        """Raises `RecordError`."""
        again = bool(rec[FLAGS] & records.AGAIN)
        return cls(rec[TO], rec[SESSION], rec[ATTEMPT], again, *unpack_login(rec[BODY]))

    def encode(self) -> bytes:
        return record(
            records.ONLINE,
            flags=records.AGAIN if self.again else 0,
            to=self.address,
            session=self.session,
            attempt=self.lease,
            body=pack_login(self.login, self.start, self.tries),
        )


class OnlineReply(NamedTuple):
    """ONLINE_REPLY: what became of it."""

    address: bytes
    session: int
    result: int
    """OK, PREDECESSOR, NO_DEVICE …"""
    previous: int
    """The device's session before; 0: none, or not asked for."""
    inbox_ttl_ms: int
    """How long a message waits for a device, in milliseconds; 0: not told."""
    edit_hours: int = 0
    """How long a text may be edited; 0: not told, or for as long as it is kept."""

    @classmethod
    def of(cls, rec: Record) -> OnlineReply:
        """Raises `RecordError`."""
        return cls(rec[TO], rec[SESSION], rec[FLAGS], rec[ATTEMPT], *unpack_terms(rec[BODY]))

    def encode(self) -> bytes:
        return record(
            records.ONLINE_REPLY,
            flags=self.result,
            to=self.address,
            session=self.session,
            attempt=self.previous,
            body=pack_terms(self.inbox_ttl_ms, self.edit_hours),
        )


class Offline(NamedTuple):
    """OFFLINE: a session has ended."""

    address: bytes
    session: int

    @classmethod
    def of(cls, rec: Record) -> Offline:
        return cls(rec[TO], rec[SESSION])

    def encode(self) -> bytes:
        return record(records.OFFLINE, to=self.address, session=self.session)


class Stored(NamedTuple):
    """STORED: so many of the copies that a session has returned are settled."""

    session: int
    copies: int

    @classmethod
    def of(cls, rec: Record) -> Stored:
        return cls(rec[SESSION], rec[ATTEMPT])

    def encode(self) -> bytes:
        return record(records.STORED, session=self.session, attempt=self.copies)


class PageRequest(NamedTuple):
    """PAGE: the next rows of a session's inbox, please."""

    address: bytes
    session: int
    request: int
    """Number of the request, by which its answer is known."""
    cursor: bytes
    """Where the page before ended; opaque to all but the store."""
    limit: int
    """Rows, at most."""
    fresh: bool
    """A scan begins: from wherever a row may have been missed."""

    @classmethod
    def of(cls, rec: Record) -> PageRequest:
        fresh = bool(rec[FLAGS] & records.FRESH)
        return cls(rec[TO], rec[SESSION], rec[ATTEMPT], rec[BY], rec[COUNT], fresh)

    def encode(self) -> bytes:
        return record(
            records.PAGE,
            flags=records.FRESH if self.fresh else 0,
            count=self.limit,
            to=self.address,
            by=self.cursor,
            session=self.session,
            attempt=self.request,
        )


class Rows(NamedTuple):
    """ROWS: a page of an inbox."""

    session: int
    request: int
    """The number of the PAGE that it answers."""
    cursor: bytes = b""
    """Where this page ends; opaque to all but the store."""
    end: bool = False
    """Nothing is behind this page."""
    failed: bool = False
    """The store could not be read: ask again."""
    body: bytes = b""
    """The rows, packed (`pack_rows`)."""

    @classmethod
    def of(cls, rec: Record) -> Rows:
        flags = rec[FLAGS]
        end, failed = bool(flags & records.END), bool(flags & records.FAILED)
        return cls(rec[SESSION], rec[ATTEMPT], rec[BY], end, failed, rec[BODY])

    def rows(self) -> Iterator[tuple[bytes, int, bytes]]:
        """(key, row kind, body) of each. Raises `RecordError` at the first that cannot be read."""
        return unpack_rows(self.body)

    def encode(self) -> bytes:
        flags = (records.END if self.end else 0) | (records.FAILED if self.failed else 0)
        return record(
            records.ROWS, flags=flags, by=self.cursor, session=self.session, attempt=self.request, body=self.body
        )


class Remove(NamedTuple):
    """REMOVE: rows that are to go from a device's inbox."""

    address: bytes
    keys: list[bytes]

    @classmethod
    def of(cls, rec: Record) -> Remove:
        """Raises `RecordError`."""
        return cls(rec[TO], unpack_keys(rec[BODY]))

    def encode(self) -> bytes:
        return record(records.REMOVE, to=self.address, body=pack_keys(self.keys))


class Notify(NamedTuple):
    """NOTIFY: a row stands in the inbox of a session; NOTIFIED, up, is the same: it has been heard."""

    address: bytes
    session: int
    number: int
    """Number of the notification; each has its own, so that the answer to an earlier one says nothing of a later."""

    @classmethod
    def of(cls, rec: Record) -> Notify:
        return cls(rec[TO], rec[SESSION], rec[ATTEMPT])

    def encode(self) -> bytes:
        return record(records.NOTIFY, to=self.address, session=self.session, attempt=self.number)

    def encode_heard(self) -> bytes:
        """The NOTIFIED that answers it."""
        return record(records.NOTIFIED, to=self.address, session=self.session, attempt=self.number)


class Evict(NamedTuple):
    """EVICT: presence names another session than this one. Whoever replaced it may wait for an EVICTED."""

    address: bytes
    session: int
    by_connector: int = 0
    """Incarnation of the connector that waits; 0: nobody does."""
    by_session: int = 0
    """The session there that replaced this one."""

    @classmethod
    def of(cls, rec: Record) -> Evict:
        return cls(rec[TO], rec[SESSION], rec[ORIGIN], rec[ATTEMPT])

    def encode(self) -> bytes:
        return record(
            records.EVICT, to=self.address, session=self.session, origin=self.by_connector, attempt=self.by_session
        )


class Evicted(NamedTuple):
    """EVICTED, up and on down: the session that this one replaced has stored what it had in hand."""

    connector: int
    """Incarnation of the connector that waits for it."""
    session: int
    """The one that replaced the other."""

    @classmethod
    def of(cls, rec: Record) -> Evicted:
        return cls(rec[ORIGIN], rec[ATTEMPT])

    def encode(self) -> bytes:
        return record(records.EVICTED, origin=self.connector, attempt=self.session)


class Close(NamedTuple):
    """CLOSE: a session ends, unless it is of the login that is spared. From the user API, without a session's number:
    all sessions of a user or a device; `number` is the request's then."""

    address: bytes
    """An address without a device, which only the user API gives, means all of that user's."""
    session: int
    code: int
    """`Goodbye.Code` for the client."""
    number: int
    """Number of the closing; 0: a broker of 0.1, which wants no answer."""
    spare: bytes
    """The login that is spared, packed (`pack_spared`), and what a later release may have put behind it."""

    @classmethod
    def of(cls, rec: Record) -> Close:
        return cls(rec[TO], rec[SESSION], rec[FLAGS], rec[ATTEMPT], rec[BODY])

    def spared(self) -> bytes:
        """The login whose session goes on; empty: none. Raises `RecordError`."""
        return unpack_spared(self.spare)

    def encode(self) -> bytes:
        return record(
            records.CLOSE,
            flags=self.code,
            to=self.address,
            session=self.session,
            attempt=self.number,
            body=self.spare,
        )


class Closed(NamedTuple):
    """CLOSED: there is no such session (any more), or it is spared."""

    address: bytes
    session: int
    number: int
    """The number of the CLOSE."""

    @classmethod
    def of(cls, rec: Record) -> Closed:
        return cls(rec[TO], rec[SESSION], rec[ATTEMPT])

    def encode(self) -> bytes:
        return record(records.CLOSED, to=self.address, session=self.session, attempt=self.number)


class Hint(NamedTuple):
    """HINT: for a session's client. From the user API, without a session's number: for all sessions of a user."""

    to: bytes
    """The session's device; from the user API, the user."""
    session: int
    hint: bytes
    """An encoded `Hint` of the client protocol."""

    @classmethod
    def of(cls, rec: Record) -> Hint:
        return cls(rec[TO], rec[SESSION], rec[BODY])

    def encode(self) -> bytes:
        return record(records.HINT, to=self.to, session=self.session, body=self.hint)


class Answer(NamedTuple):
    """ANSWER: to any request of the user API."""

    request: int
    done: bool
    """Otherwise it may be asked again, here or of another broker."""
    body: bytes = b""

    @classmethod
    def of(cls, rec: Record) -> Answer:
        return cls(rec[ATTEMPT], not rec[FLAGS] & records.FAILED, rec[BODY])

    def encode(self) -> bytes:
        flags = records.OK if self.done else records.FAILED
        return record(records.ANSWER, flags=flags, attempt=self.request, body=self.body)


def request_of(rec: Record) -> int:
    """The number of a request of the user API (CHANGED, CLOSE, HINT, WHERE, or of a later release's kinds)."""
    return rec[ATTEMPT]
