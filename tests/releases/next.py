"""The next release, as far as others can see it: `python -m tests.releases.next broker …` is `sparrow broker …` that
says more than this release knows, wherever docs/design.md ("Versions") lets a release do so.

Owns what it says more. Patches our modules before anything else imports them, so nothing of it is in the program.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from fabric import records
from protocol import server, sparrow_pb2
from protocol.framing import delimit

UNKNOWN_FIELD = b"\xfa\x3f\x05later"
"""Field 1023, length-delimited: no message has it."""
UNKNOWN_FRAME = delimit(UNKNOWN_FIELD)
UNKNOWN_FLAGS = 0x80
UNKNOWN_ROW_KIND = 77
UNKNOWN_KIND = records.LAST_KIND + 1
EVERY_ROWS = 10
"""So many rows of kinds that are known, then one that is not."""

_NO_FLAGS = {records.ONLINE_REPLY, records.CLOSE, records.ANSWER}
"""Kinds whose flags are a code, a result, or said to one who asks."""
_SPARE_BODY = {
    records.OFFLINE,
    records.STORED,
    records.PAGE,
    records.NOTIFY,
    records.NOTIFIED,
    records.EVICT,
    records.EVICTED,
    records.CLOSED,
    records.CHECKPOINT,
}
"""Kinds that have no body in this release."""
_LISTS = {records.ONLINE, records.ONLINE_REPLY, records.CLOSE}
"""Kinds whose body is a list that a later release may go on with."""
_GROUPS = {records.GROUP_COPY, records.GROUP_PAGE, records.GROUP_ROWS}
_USES_BY = {records.HEARTBEAT, records.ROUTE, records.PAGE, records.ROWS, records.SIGNAL} | _GROUPS
_USES_INDEX_AND_COUNT = {records.COPY, records.STORE, records.PAGE, records.GROUP_PAGE}


def more(encoded: bytes) -> bytes:
    """The same record, with something in every field that its kind does not use."""
    ((kind, flags, index, count, to, by, origin, attempt, session, body),) = records.parse(records.VERSION + encoded)
    if kind not in _NO_FLAGS:
        flags |= UNKNOWN_FLAGS
    if kind not in _USES_INDEX_AND_COUNT:
        index = 0xAAAA
        count = count if kind == records.HEARTBEAT else 0xBBBB
    if kind not in _USES_BY:
        by = b"later"
    if kind in _SPARE_BODY or (kind == records.HEARTBEAT and not body):
        body = b"\xff later"
    elif kind in _LISTS:
        body = (body or records.pack_keys([b"", b""])) + records.pack_keys([b"\xff later"])
    return records.encode((kind, flags, index, count, to, by, origin, attempt, session, body))


def strange(role: str) -> list[bytes]:
    """Records of a kind that nobody knows, and of one that is known, going another way."""
    what: dict[str, Any] = {
        "flags": 0xFF,
        "to": b"no/such",
        "by": b"\xff",
        "attempt": 1,
        "session": 2,
        "body": b"\xff" * 9,
    }
    other_way = records.HINT if role == "connector" else records.WHERE
    return [records.record(UNKNOWN_KIND, **what), records.record(other_way, **what), records.record(255, **what)]


def patch_records(role: str) -> None:
    """Every batch."""
    batch, strangers = records.batch, itertools.cycle(strange(role))

    def longer(encoded: Iterable[bytes]) -> bytes:
        said = [more(one) for one in encoded]
        return batch([next(strangers), *said[:1], next(strangers), *said[1:], next(strangers)])

    records.batch = longer


def patch_frames() -> None:
    """What a connector says to clients: unknown frames, fields and codes."""
    session = server.ServerSession
    message, failed, data_to_send = session.message, session.failed, session.data_to_send

    def longer_message(self: server.ServerSession, encoded: bytes) -> None:
        message(self, encoded + UNKNOWN_FIELD)

    def other_code(self: server.ServerSession, stream: int, number: int, code: Any, text: str, retry: int = 0) -> None:
        failed(self, stream, number, 99 if retry else code, text, retry)  # type: ignore[arg-type]

    def more_frames(self: server.ServerSession) -> bytes:
        data = data_to_send(self)
        return UNKNOWN_FRAME + data if data else data

    def welcome(self: server.ServerSession, frame: sparrow_pb2.LoggedIn) -> None:
        frame.MergeFromString(UNKNOWN_FIELD)
        logged_in(self, frame)

    logged_in = session.logged_in
    for name, patched in {
        "message": longer_message,
        "failed": other_code,
        "data_to_send": more_frames,
        "logged_in": welcome,
    }.items():
        setattr(session, name, patched)


def patch_presence() -> None:
    """What a broker writes into etcd."""
    from broker import members
    from broker.etcd import api_pb2 as api
    from broker.presence import etcd, swaps

    encode = swaps.encode_location
    swaps.encode_location = etcd.encode_location = lambda *location: encode(*location) + b" later=1"  # type: ignore[attr-defined]

    def put(key: bytes, value: bytes, lease: int) -> api.PutRequest:
        return api.PutRequest(key=key, value=value + b" later=1", lease=lease)

    names = ("KeyValue", "LeaseGrantRequest", "LeaseRevokeRequest")
    members.api = SimpleNamespace(PutRequest=put, **{name: getattr(api, name) for name in names})  # type: ignore[attr-defined]


def patch_rows() -> None:
    """What a broker keeps: now and then a row of a kind that nobody knows."""
    from broker.server import StoreCalls
    from store.interface import NewRow

    append = StoreCalls.append
    counted = itertools.count(1)

    def more_rows(self: StoreCalls, rows: Any, done: Callable[[bool], None]) -> None:
        extra = [
            NewRow(row.user, row.device, UNKNOWN_ROW_KIND, b"\xff later")
            for row in rows
            if not next(counted) % EVERY_ROWS
        ]
        append(self, [*rows, *extra], done)

    StoreCalls.append = more_rows  # type: ignore[method-assign]


def main() -> int:
    """Be the next release's `sparrow`."""
    role = sys.argv[1]
    patch_records(role)
    patch_frames()
    if role == "broker":
        patch_presence()
        patch_rows()
    from sparrow.cli import main as run

    return run()


if __name__ == "__main__":
    raise SystemExit(main())
