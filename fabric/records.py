"""Fabric records: what connectors and brokers say to each other (docs/design.md, "Records").

Owns the format, and how it grows (docs/design.md, "Versions"). A batch is one version byte and any number of records;
a record is a fixed header, two short addresses and an opaque body. Bodies of messages are never parsed on the way.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from protocol.allowed import FIRST_OWN_KIND
from protocol.errors import InvalidIdError, RecordError

VERSION: Final = b"\x01"
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024

CONNECTOR: Final = b"c"
USER_API: Final = b"u"
"""First byte of a peer's ZeroMQ routing id; eight of its own follow."""

HEADER: Final = struct.Struct("<BBHHBBQQQI")
"""kind, flags, index, count, len(to), len(by), origin, attempt, session, len(body)."""
HEADER_BYTES: Final = HEADER.size

# Kinds. "origin" is the incarnation of a connector, "session" a session's number.
HEARTBEAT: Final = 1  # up: origin, attempt = lease, count = number of the beat.
# up, too: flags KNOWS_GROUPS, KNOWS_SIGNALS, LINKED
# down: origin = broker, attempt = lease, session = lease asked, count = number of the beat (0.1: 0), by = the broker's
# Unix time in ms (0.1: nothing), to = `clear` in Unix ms, body, flags UNWELL and the three KNOWS_…
ONLINE: Final = 2  # up: to, session, attempt = lease, flags AGAIN, body = login, start and tries (0.1: nothing)
ONLINE_REPLY: Final = 3  # down: to, session, attempt = previous session, flags = result, body = terms (0.1: nothing)
OFFLINE: Final = 4  # up: to, session
ROUTE: Final = 5  # up: to = user, by = author's address, attempt, body; flags RECEIPT
COPY: Final = 6  # down: to = address, origin, attempt, index, count, session, body, flags
STORE: Final = 7  # up: a COPY that comes back
OUTCOMES: Final = 8  # up and down: origin, body of OUTCOME entries
STORED: Final = 9  # down: session, attempt = how many of its returned copies are settled
PAGE: Final = 10  # up: to, session, attempt = request, by = cursor, count = limit, flags FRESH
ROWS: Final = 11  # down: session, attempt = request, by = cursor, body, flags END, FAILED
REMOVE: Final = 12  # up: to, body of keys
NOTIFY: Final = 13  # down: to, session, attempt = number of the notification
NOTIFIED: Final = 14  # up: the same, confirmed
EVICT: Final = 15  # down: to, session = old; origin and attempt = connector and session that replaced it, or 0
EVICTED: Final = 16  # up and down: origin and attempt of the EVICT
CLOSE: Final = 17  # down: to, session, flags = Goodbye code, attempt = number of the closing, body = whom to spare.
# From the user API: to = address or user, flags, attempt, body
HINT: Final = 18  # down: to, session, body = an encoded Hint. From the user API: to = user, attempt, body
CHANGED: Final = 19  # from the user API: attempt = request, body = users
WHERE: Final = 20  # from the user API: attempt = request, body = users
ANSWER: Final = 21  # to the user API: attempt = request, flags FAILED, body
CLOSED: Final = 22  # up: to, session and attempt of the CLOSE: there is no such session (any more), or it is spared
GROUP_COPY: Final = 23  # down: to = group, by = author's address, attempt = number, session = stamp,
# body = sessions and an encoded Message
GROUP_LOOK: Final = 24  # down: to = group or nothing (all), attempt = number, session = lowest stamp, body = sessions
GROUP_HEARD: Final = 25  # up: body = numbers of GROUP_COPY and GROUP_LOOK
GROUP_PAGE: Final = 26  # up: to = address, session, attempt = request, origin = when the scan began, by = cursor,
# count = limit, body = group and stamp
GROUP_ROWS: Final = 27  # down: session, attempt = request, origin = when the scan began, by = cursor, flags END,
# FAILED, body = rows
CHECKPOINT: Final = 28  # up: to = address, attempt = Unix ms
SIGNAL: Final = 29  # up: to = user or group, by = author's address, flags PRESENT, body = an encoded Signal
# down: by = author's address, body = sessions and an encoded Signal
LAST_KIND: Final = 29
"""The last that this release knows. Whoever gets a record of any other passes over it."""

# Flags of ROUTE, COPY, STORE.
RECEIPT: Final = 1  # the body is a Receipt, for the devices of `to` but `by`
OWN: Final = 2  # a copy for another device of the author: its ack does not mean DELIVERED
OTHERS: Final = 4  # the author has other devices
QUIET: Final = 8  # nobody is told DELIVERED of it: a READ, or what UNSEEN makes so
TRACED: Final = 16  # whoever has it in hand says so (docs/operations.md, "Tracing"); the same for all else
UNSEEN: Final = 32  # of ROUTE: the message (by whom: `by`), or what the receipt is about (who got it: `by`), may be of
# a kind of which nobody shows anything: DELIVERED of it is for friends only, as it tells that they are there
FIRST_UNSEEN_KIND: Final = FIRST_OWN_KIND
CHANGE: Final = 64  # of ROUTE, with QUIET: an EDIT or ERASE. QUIET without it: a READ
# Flags of the others.
UNWELL: Final = 1  # of a HEARTBEAT down: the broker's store does not answer, other brokers are better
KNOWS_CHANGES: Final = 2  # of a HEARTBEAT down: the broker knows what CHANGE is
KNOWS_GROUPS: Final = 4  # of a HEARTBEAT: who says it knows groups
LINKED: Final = 8  # of a HEARTBEAT up: the connector counts this broker among those that are up
KNOWS_SIGNALS: Final = 16  # of a HEARTBEAT: who says it knows signals
PRESENT: Final = 1  # of a SIGNAL up: it tells that its author is there
AGAIN: Final = 1
FRESH: Final = 1
END: Final = 1
FAILED: Final = 2
# Results in ONLINE_REPLY.
OK: Final = 0
PREDECESSOR: Final = 1  # ok; an EVICTED for the session before will follow
NO_DEVICE: Final = 2
TAKEN: Final = 3  # registering again: somebody newer is there
AWAY: Final = 4
LOGIN_ENDED: Final = 5  # the login has ended
DISABLED: Final = 6  # the account is
LATE: Final = 7  # a later try of the same start of the client is there
# Body of the ANSWER to a CLOSE.
UNCONFIRMED: Final = b"\x01"  # it goes on; a connector has not confirmed yet

# States of an outcome, with OTHERS_BIT or'ed in.
OUTCOME: Final = struct.Struct("<QHHB")
"""attempt, index, count, state."""
DELIVERED: Final = 1
SAFE: Final = 2
UNAVAILABLE: Final = 3
NO_SUCH_USER: Final = 4
BLOCKED: Final = 5  # by the receiver
BLOCKS: Final = 6  # the author has blocked the receiver
NOT_FRIEND: Final = 7
INBOX_FULL: Final = 8  # as much waits as may: for as long as nobody comes
INBOX_BUSY: Final = 9  # the same, of a device that is there and about to take it
NO_SPACE: Final = 10  # the store's disk is nearly full
HISTORY_FULL: Final = 11  # as much as may be kept of this author is kept
NOT_ALLOWED: Final = 12  # another body under the same name, or a change that may not be made
GROUP_BUSY: Final = 13  # so many sessions cannot be reached so often
NOT_MEMBER: Final = 14  # of the group; or there is none
ADMINS_ONLY: Final = 15  # the group's admins alone may write there
OTHERS_BIT: Final = 0x80
_OUTCOMES: Final = {
    DELIVERED: "DELIVERED",
    SAFE: "SAFE",
    UNAVAILABLE: "UNAVAILABLE",
    NO_SUCH_USER: "NO_SUCH_USER",
    BLOCKED: "BLOCKED",
    BLOCKS: "BLOCKS",
    NOT_FRIEND: "NOT_FRIEND",
    INBOX_FULL: "INBOX_FULL",
    INBOX_BUSY: "INBOX_BUSY",
    NO_SPACE: "NO_SPACE",
    HISTORY_FULL: "HISTORY_FULL",
    NOT_ALLOWED: "NOT_ALLOWED",
    GROUP_BUSY: "GROUP_BUSY",
    NOT_MEMBER: "NOT_MEMBER",
    ADMINS_ONLY: "ADMINS_ONLY",
}

UNREADABLE: Final = (RecordError, InvalidIdError, UnicodeDecodeError)
"""What one bad record raises where it is used. It is passed over and counted: the others of its batch are of others."""

Record = tuple[int, int, int, int, bytes, bytes, int, int, int, bytes]
"""kind, flags, index, count, to, by, origin, attempt, session, body. A plain tuple, since there are many: making one
with attributes costs 4 % of a message. Where three fields are wanted, unpack it; for one or two there are the indexes.
What the fields mean in rare kinds is `fabric.control`'s affair."""

KIND: Final = 0
FLAGS: Final = 1
INDEX: Final = 2
COUNT: Final = 3
TO: Final = 4
BY: Final = 5
ORIGIN: Final = 6
ATTEMPT: Final = 7
SESSION: Final = 8
BODY: Final = 9
"""Where each field of a `Record` stands."""


def record(
    kind: int,
    *,
    flags: int = 0,
    index: int = 0,
    count: int = 0,
    to: bytes = b"",
    by: bytes = b"",
    origin: int = 0,
    attempt: int = 0,
    session: int = 0,
    body: bytes = b"",
) -> bytes:
    """One encoded record."""
    head = HEADER.pack(kind, flags, index, count, len(to), len(by), origin, attempt, session, len(body))
    return head + to + by + body


def encode(parsed: Record) -> bytes:
    """The bytes of a parsed record."""
    kind, flags, index, count, to, by, origin, attempt, session, body = parsed
    head = HEADER.pack(kind, flags, index, count, len(to), len(by), origin, attempt, session, len(body))
    return head + to + by + body


def batch(encoded: Iterable[bytes]) -> bytes:
    """Records as one ZeroMQ message."""
    return VERSION + b"".join(encoded)


def batches(encoded: list[bytes]) -> list[bytes]:
    """Records as few ZeroMQ messages as `MAX_BATCH_BYTES` allows; a longer record goes alone."""
    data = batch(encoded)
    if len(data) <= MAX_BATCH_BYTES or len(encoded) < 2:
        return [data]
    found: list[bytes] = []
    begin = size = 0
    for at, one in enumerate(encoded):
        if at > begin and size + len(one) > MAX_BATCH_BYTES - len(VERSION):
            found.append(batch(encoded[begin:at]))
            begin, size = at, 0
        size += len(one)
    found.append(batch(encoded[begin:]))
    return found


def parse(data: bytes, forwarded: int = -1) -> list[Record]:
    """The records of a batch, of whatever kinds. Raises `RecordError`; then nothing of the batch may be used.

    Those of the kind `forwarded` are only to be passed on: in place of its body, each has all its bytes as they came,
    and no addresses.
    """
    if data[:1] != VERSION:
        raise RecordError("a batch of another version; run neighbouring releases on connectors and brokers")
    found: list[Record] = []
    offset, size = 1, len(data)
    unpack = HEADER.unpack_from
    while offset < size:
        start = offset + HEADER_BYTES
        if start > size:
            raise RecordError("a record's header is cut off")
        kind, flags, index, count, to_len, by_len, origin, attempt, session, body_len = unpack(data, offset)
        by_at = start + to_len
        body_at = by_at + by_len
        offset = body_at + body_len
        if offset > size:
            raise RecordError("a record's body is cut off")
        if kind == forwarded:
            whole = data[start - HEADER_BYTES : offset]
            found.append((kind, flags, index, count, b"", b"", origin, attempt, session, whole))
            continue
        found.append(
            (
                kind,
                flags,
                index,
                count,
                data[start:by_at],
                data[by_at:body_at],
                origin,
                attempt,
                session,
                data[body_at:offset],
            )
        )
    return found


_ROW = struct.Struct("<BBI")


def pack_rows(rows: Iterable[tuple[bytes, int, bytes]]) -> bytes:
    """Body of ROWS from (key, row kind, body)."""
    return b"".join(_ROW.pack(len(key), kind, len(body)) + key + body for key, kind, body in rows)


def unpack_rows(body: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """(key, row kind, body) of ROWS. Raises `RecordError`."""
    offset = 0
    while offset < len(body):
        if offset + _ROW.size > len(body):
            raise RecordError("a row is cut off")
        key_len, kind, length = _ROW.unpack_from(body, offset)
        key_at = offset + _ROW.size
        body_at = key_at + key_len
        offset = body_at + length
        if offset > len(body):
            raise RecordError("a row is cut off")
        yield body[key_at:body_at], kind, body[body_at:offset]


def pack_keys(keys: Iterable[bytes]) -> bytes:
    """Body of REMOVE, and of all that lists users; none is longer than 255 bytes."""
    return b"".join(bytes((len(key),)) + key for key in keys)


def unpack_keys(body: bytes) -> list[bytes]:
    """What `pack_keys` has packed. Raises `RecordError`."""
    keys, offset = [], 0
    while offset < len(body):
        end = offset + 1 + body[offset]
        if end > len(body):
            raise RecordError("a row key or a name is cut off")
        keys.append(body[offset + 1 : end])
        offset = end
    return keys


_TRY = struct.Struct("<QQ")


def pack_login(login: str, start: int, tries: int) -> bytes:
    """Body of ONLINE; a later release may put more behind it."""
    return pack_keys((login.encode(), _TRY.pack(start, tries)))


_TERMS = struct.Struct("<Q")
_EDIT_HOURS = struct.Struct("<I")


def pack_terms(inbox_ttl_ms: int, edit_hours: int = 0) -> bytes:
    """Body of ONLINE_REPLY: how long a message waits, in ms, and a text may be edited; 0: not told. A later release may
    put more behind it."""
    if not inbox_ttl_ms and not edit_hours:
        return b""
    return pack_keys((_TERMS.pack(inbox_ttl_ms), *((_EDIT_HOURS.pack(edit_hours),) if edit_hours else ())))


def unpack_terms(body: bytes) -> tuple[int, int]:
    """`inbox_ttl_ms` and `edit_hours` of ONLINE_REPLY; of what is not there, 0. Raises `RecordError`."""
    told = [*unpack_keys(body), b"", b""]
    if len(told[0]) not in (0, _TERMS.size) or len(told[1]) not in (0, _EDIT_HOURS.size):
        raise RecordError("a session's terms cannot be read")
    return int.from_bytes(told[0], "little"), int.from_bytes(told[1], "little")


def pack_spared(login: str) -> bytes:
    """Body of CLOSE: the login whose session goes on; empty for none. A later release may put more behind it."""
    return pack_keys((login.encode(),)) if login else b""


def unpack_spared(body: bytes) -> bytes:
    """The login of CLOSE's body; empty for none. Raises `RecordError`."""
    return unpack_keys(body)[0] if body else b""


def unpack_login(body: bytes) -> tuple[str, int, int]:
    """(login, start, tries) of ONLINE; of nothing, as 0.1 sends it, ("", 0, 0). Raises `RecordError`."""
    if not body:
        return "", 0, 0
    try:
        login, tried, *_ = unpack_keys(body)
        return (login.decode(), *_TRY.unpack(tried))
    except (ValueError, struct.error) as error:
        raise RecordError("a session's login cannot be read") from error


_MEMBER = struct.Struct("<QH")


def pack_members(members: Iterable[tuple[int, str]]) -> bytes:
    """Body of a broker's HEARTBEAT: (incarnation, endpoint) of all brokers it knows to be alive."""
    encoded = ((incarnation, endpoint.encode()) for incarnation, endpoint in members)
    return b"".join(_MEMBER.pack(incarnation, len(endpoint)) + endpoint for incarnation, endpoint in encoded)


def unpack_members(body: bytes) -> list[tuple[int, str]]:
    """(incarnation, endpoint) of each broker in a HEARTBEAT. Raises `RecordError`."""
    members, offset = [], 0
    while offset < len(body):
        start = offset + _MEMBER.size
        if start > len(body):
            raise RecordError("a list of brokers is cut off")
        incarnation, length = _MEMBER.unpack_from(body, offset)
        offset = start + length
        if offset > len(body):
            raise RecordError("a list of brokers is cut off")
        try:
            members.append((incarnation, body[start:offset].decode()))
        except UnicodeDecodeError as error:
            raise RecordError("a broker's endpoint is no text") from error
    return members


def unpack_outcomes(body: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(attempt, index, count, state) of OUTCOMES. Raises `RecordError`."""
    if len(body) % OUTCOME.size:
        raise RecordError("a list of outcomes is cut off")
    return OUTCOME.iter_unpack(body)


def outcome_name(state: int) -> str:
    """For metrics and traces; one of a later release by its number."""
    return _OUTCOMES.get(state, f"outcome {state}")
