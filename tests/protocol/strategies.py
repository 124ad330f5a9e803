"""What hypothesis draws for tests of `protocol`: byte streams cut anywhere, frames, messages, records.

Owns no test. Frames are built by protobuf's own code, not by ours, so that the two check each other.
"""

from __future__ import annotations

import itertools
from io import BytesIO

from google.protobuf import proto
from hypothesis import strategies as st

from fabric import records
from protocol.allowed import FIRST_OWN_KIND, MAX_ID
from protocol.ids import new_group_id
from protocol.sparrow_pb2 import (
    FILE,
    READ,
    TEXT,
    About,
    Ack,
    Failed,
    Frame,
    Goodbye,
    LoggedIn,
    Login,
    Logout,
    Message,
    Ping,
    Pong,
    Receipt,
    Sync,
    Synced,
)

U64 = st.integers(0, 2**64 - 1)
POSITIVE = st.integers(1, 2**64 - 1)


def delimited(frame: Frame) -> bytes:
    """One frame as protobuf itself delimits it."""
    out = BytesIO()
    proto.serialize_length_prefixed(frame, out)
    return out.getvalue()


def taken(event: object) -> tuple[Message, bytes]:
    """The message of a server session's event, and as it came; fails if the event is none."""
    assert isinstance(event, tuple), event
    message = Message.FromString(event[4])
    assert event[:4] == (message.stream, message.id, message.dest_id, message.kind)
    return message, event[4]


@st.composite
def pieces(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """`stream`, cut in any places; empty pieces are among them."""
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    edges = [0, *cuts, len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


def abouts() -> st.SearchStrategy[About]:
    """`about` of any content."""
    return st.builds(About, from_device=st.text(max_size=5), stream=U64, ids=st.lists(U64, max_size=5))


def _message(stream: int, low: int, more: int, dest: str, kind: int, body: bytes, about: About | None) -> Message:
    message = Message(stream=stream, settled=low, id=min(low + more, 2**64 - 1), dest_id=dest, body=body)
    message.kind = kind  # type: ignore[assignment]
    if about is not None:
        message.about.CopyFrom(about)
    return message


def readable_messages() -> st.SearchStrategy[Message]:
    """Messages that a server can read; most are of a kind that no client may send."""
    return st.builds(
        _message,
        POSITIVE,
        POSITIVE,
        st.integers(0, 255),
        st.text(max_size=10),
        st.integers(-(2**31), 2**31 - 1),
        st.binary(max_size=300),
        st.none() | abouts(),
    )


def group_ids() -> st.SearchStrategy[str]:
    """Ids of groups."""
    return st.builds(new_group_id, st.binary(min_size=15, max_size=15))


def client_messages() -> st.SearchStrategy[Message]:
    """Messages that a server takes, as far as they go: windows aside."""
    numbers = st.integers(1, MAX_ID - 255)
    dest = st.text(max_size=10) | group_ids()
    user = st.from_regex(r"[^~]{0,10}", fullmatch=True)
    ids = st.lists(st.integers(1, MAX_ID), min_size=1, max_size=256)
    device = st.from_regex(r"[a-z0-9]{1,32}", fullmatch=True)
    about = st.builds(About, from_device=device, stream=POSITIVE, ids=ids)
    any_about = st.none() | about
    more = st.integers(0, 255)
    texts = st.builds(str.encode, st.text(max_size=300))
    own = st.integers(FIRST_OWN_KIND, 2**31 - 1)
    blobs = st.binary(max_size=300)
    return st.one_of(
        st.builds(_message, POSITIVE, numbers, more, dest, st.just(int(TEXT)), texts, any_about),
        st.builds(_message, POSITIVE, numbers, more, dest, st.just(int(FILE)) | own, blobs, any_about),
        st.builds(_message, POSITIVE, numbers, more, user, st.just(int(READ)), st.just(b""), about),
    )


def client_frames() -> st.SearchStrategy[Frame]:
    """Any frame of a client; most are well-behaved, none is checked."""
    return st.one_of(
        st.builds(lambda token: Frame(login=Login(token=token)), st.text(max_size=20)),
        st.builds(lambda message: Frame(message=message), client_messages() | readable_messages()),
        st.builds(lambda n: Frame(ack=Ack(up_to=n)), st.integers(0, 3)),
        st.builds(lambda n, group: Frame(sync=Sync(n=n, group=group)), U64, st.just("") | group_ids()),
        st.builds(lambda n: Frame(ping=Ping(n=n)), U64),
        st.just(Frame(logout=Logout())),
        st.just(Frame()),
    )


def server_frames() -> st.SearchStrategy[Frame]:
    """Any frame of a server, in any order."""

    def incoming(message: Message) -> Frame:
        message.from_id, message.from_device, message.stamp = "bob", "b1", 1
        return Frame(message=message)

    receipts = st.builds(
        lambda stream, ids, sent: Receipt(stream=stream, ids=ids, sent=sent, delivered=not sent),
        POSITIVE,
        st.lists(POSITIVE, max_size=4),
        st.booleans(),
    )
    return st.one_of(
        st.just(Frame(logged_in=LoggedIn(session=1))),
        readable_messages().map(incoming),
        receipts.map(lambda receipt: Frame(receipt=receipt)),
        st.builds(lambda number, wait: Frame(failed=Failed(id=number, retry_after_ms=wait)), U64, st.integers(0, 9)),
        st.builds(lambda n: Frame(synced=Synced(n=n)), U64),
        st.builds(lambda n: Frame(pong=Pong(n=n)), U64),
        st.builds(lambda code: Frame(goodbye=Goodbye(code=code)), st.integers(0, 99)),
        st.just(Frame()),
    )


def fabric_records() -> st.SearchStrategy[records.Record]:
    """Any record that there can be."""
    return st.tuples(
        st.integers(0, 255),
        st.integers(0, 255),
        st.integers(0, 65535),
        st.integers(0, 65535),
        st.binary(max_size=255),
        st.binary(max_size=255),
        U64,
        U64,
        U64,
        st.binary(max_size=400),
    )
