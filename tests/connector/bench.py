"""A connector's core between recording ports: what it writes to clients, as frames, and sends to brokers, as records.

Owns the clock of a test. Decides nothing; the core is the real one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

from connector.core import ConnectorCore, Session
from connector.settings import ConnectorSettings
from fabric import records
from fabric.records import OUTCOME
from fabric.tokens import Identity
from protocol.errors import TokenError
from protocol.framing import FrameReader, delimit
from protocol.sparrow_pb2 import (
    Ack,
    Failed,
    Frame,
    Goodbye,
    Login,
    Logout,
    Message,
    Ping,
    Receipt,
    Sync,
)

B1, B2 = "tcp://broker-1", "tcp://broker-2"
INCARNATION = 1
"""Of the connector under test: the first random number."""
ELSEWHERE = 7777
"""The incarnation of a connector that is not under test."""
LEASE = 50
TICK_S = 0.1
WALL_MS = 1_800_000_000_000


@dataclass(frozen=True)
class Sent:
    """A record as it left, by name."""

    broker: str
    kind: int
    flags: int
    index: int
    count: int
    to: bytes
    by: bytes
    origin: int
    attempt: int
    session: int
    body: bytes

    @property
    def raw(self) -> records.Record:
        """As the core got it, or gave it."""
        _, *fields = astuple(self)
        return tuple(fields)  # type: ignore[return-value]


@dataclass
class RecordingPorts:
    """`connector.core.state.Ports`. `refusing` brokers take no batch; `links` were opened (+) and closed (-)."""

    links: list[str] = field(default_factory=list)

    sent: list[Sent] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)
    """The broker of each batch."""
    refusing: set[str] = field(default_factory=set)
    logs: list[str] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    writes: int = 0
    randoms: int = 0

    def write(self, handle: object, data: bytes) -> None:
        assert isinstance(handle, Client)
        assert not handle.closed, "written behind the close"
        assert not handle.lost, "written to a connection that is gone"
        self.writes += 1
        handle.frames += [Frame.FromString(payload) for payload in handle.reader.receive(data)]
        assert handle.reader.error is None

    def close(self, handle: object) -> None:
        assert isinstance(handle, Client)
        assert not handle.closed, "closed twice"
        assert not handle.lost, "closed when it was gone"
        handle.closed = True

    def send(self, broker: str, batch: bytes) -> bool:
        if broker in self.refusing:
            return False
        self.batches.append(broker)
        self.sent += [Sent(broker, *record) for record in records.parse(batch)]
        return True

    def connect(self, broker: str) -> None:
        self.links.append(f"+{broker}")

    def disconnect(self, broker: str) -> None:
        self.links.append(f"-{broker}")

    def pause(self, handle: object, paused: bool) -> None:
        assert isinstance(handle, Client)
        handle.paused = paused

    def is_behind(self, handle: object) -> bool:
        assert isinstance(handle, Client)
        return handle.behind

    def silent_s(self, handle: object) -> float | None:
        assert isinstance(handle, Client)
        return handle.silent_s

    def verify(self, token: str, now_s: float) -> Identity:
        """Tokens are `user/device`, and perhaps `/login`."""
        user, _, rest = token.partition("/")
        device, _, login = rest.partition("/")
        if not device:
            raise TokenError("the token is not valid")
        return Identity(user, device, now_s + 60, login)

    def random64(self) -> int:
        """1, 2, 3 …: the connector's incarnation, then its sessions."""
        self.randoms += 1
        return self.randoms

    def log(self, text: str) -> None:
        self.logs.append(text)

    def warn(self, text: str) -> None:
        self.logs.append(text)

    def session_began(self, session: Session, previous: int) -> None:
        self.sessions.append(f"{session.key.decode()} began, {session.client}, after {previous}")

    def session_ended(self, session: Session, why: str) -> None:
        self.sessions.append(f"{session.key.decode()} ended: {why}")


class Client:
    """One connection, from the client's side."""

    def __init__(self, bench: Bench, address: str = "") -> None:
        self._bench = bench
        self.frames: list[Frame] = []
        self.reader = FrameReader(1 << 24)
        self.closed = False
        self.lost = False
        self.paused = False
        self.behind = False
        """The socket has not taken all that was written."""
        self.silent_s: float | None = 0.0
        self.session: Session = bench.core.opened(self, address)

    def raw(self, data: bytes) -> None:
        """Bytes arrive."""
        self._bench.core.data(self.session, data)
        self._bench.turn()

    def says(self, *frames: Frame) -> None:
        """Frames arrive together."""
        self.raw(b"".join(delimit(frame.SerializeToString()) for frame in frames))

    def login(self, token: str, **more: Any) -> None:
        self.says(Frame(login=Login(token=token, client="test", **more)))

    def writes(self, number: int, dest: str = "bob", stream: int = 9, **more: Any) -> None:
        """A message; `settled` is 1 unless told otherwise."""
        self.says(text(number, dest, stream, **more))

    def acks(self, up_to: int) -> None:
        self.says(Frame(ack=Ack(up_to=up_to)))

    def syncs(self, n: int, group: str = "") -> None:
        self.says(Frame(sync=Sync(n=n, group=group)))

    def pings(self, n: int) -> None:
        self.says(Frame(ping=Ping(n=n)))

    def logout(self) -> None:
        self.says(Frame(logout=Logout()))

    def hangs_up(self, turn: bool = True) -> None:
        self._bench.core.closed(self.session)
        self.lost = True
        if turn:
            self._bench.turn()

    def took(self, kind: str | None = None) -> list[Any]:
        """What was written since the last call: the frames of one kind (all of them dropped), or all."""
        frames, self.frames = self.frames, []
        return [getattr(frame, kind) for frame in frames if frame.HasField(kind)] if kind else frames

    def took_kinds(self) -> list[str | None]:
        return [frame.WhichOneof("kind") for frame in self.took()]

    @property
    def goodbye(self) -> Goodbye | None:
        """The last frame, if it is one."""
        last = self.frames[-1] if self.frames else Frame()
        return last.goodbye if last.HasField("goodbye") else None


class Bench:
    """The core, its ports, its time, and two brokers that say what the test lets them."""

    def __init__(self, *, up: Iterable[str] = (B1,), brokers: tuple[str, ...] = (B1, B2), **settings: Any) -> None:
        self.ports = RecordingPorts()
        self.settings = ConnectorSettings(
            brokers=brokers,
            **{
                "max_messages_per_second": 0,
                "max_messages_per_second_of_account": 0,
                "message_burst_s": 1.0,
                **settings,
            },
        )
        self.core = ConnectorCore(self.ports, self.settings)
        self.now = 1000.0
        self._time()
        for broker in up:
            self.heartbeat(broker)
        self.sent()

    # Time and turns.

    def _time(self) -> None:
        self.core.time(self.now, WALL_MS + int(self.now * 1000))

    def turn(self) -> None:
        """A turn ends."""
        self.core.flush()
        self.core.check()

    def passes(self, seconds: float, keep_up: bool = True) -> None:
        """Time passes, tick by tick; brokers that are up are heard all the while."""
        ticks = round(seconds / TICK_S)
        for _ in range(ticks):
            self.now += TICK_S
            self._time()
            for link in self.core.links._links.values():
                if link.up and keep_up:
                    link.heard = self.now
            self.core.tick()
            self.turn()

    # Brokers.

    def heartbeat(
        self,
        broker: str = B1,
        incarnation: int | None = None,
        lease: int = LEASE,
        asked: int | None = None,
        members: Iterable[int] | Mapping[int, str] | None = None,
        flags: int = 0,
        beat: int = 0,
        ahead_ms: int = 0,
    ) -> None:
        """A broker answers, whose clock is ahead of ours."""
        if incarnation is None:
            incarnation = 900 + int(broker[-1])
        asked = self.core.links.lease if asked is None else asked
        if members is None:
            members = {incarnation: broker}
        elif not isinstance(members, Mapping):
            members = dict.fromkeys(members, broker)
        body = records.pack_members(members.items())
        self.receives(
            records.record(
                records.HEARTBEAT,
                flags=flags,
                count=beat,
                by=(self.core.turn.wall_ms + ahead_ms).to_bytes(8, "little"),
                origin=incarnation,
                attempt=lease,
                session=asked,
                body=body,
            ),
            broker=broker,
        )

    def receives(self, *encoded: bytes, broker: str = B1) -> None:
        """A batch arrives from a broker."""
        self._time()
        self.core.batch(broker, records.batch(encoded))
        self.turn()

    def outcome(
        self, attempt: int, state: int, index: int = 0, count: int = 1, origin: int = INCARNATION, broker: str = B1
    ) -> None:
        """A broker tells what a copy came to."""
        body = OUTCOME.pack(attempt, index, count, state)
        self.receives(records.record(records.OUTCOMES, origin=origin, body=body), broker=broker)

    def sent(self, kind: int | None = None) -> list[Sent]:
        """What was sent to brokers since the last call, of one kind (all are dropped), without heartbeats."""
        sent, self.ports.sent = self.ports.sent, []
        return [rec for rec in sent if (rec.kind == kind if kind is not None else rec.kind != records.HEARTBEAT)]

    def only(self, kind: int) -> Sent:
        """The one record of this kind since the last call."""
        (found,) = self.sent(kind)
        return found

    # Sessions.

    def connect(self, address: str = "") -> Client:
        client = Client(self, address)
        self.turn()
        return client

    def logging_in(self, token: str = "alice/a1", **more: Any) -> Client:
        """Login is asked of a broker."""
        client = self.connect()
        client.login(token, **more)
        return client

    def welcome(self, client: Client, result: int = records.OK, previous: int = 0, terms: bytes = b"") -> None:
        """Presence names the session."""
        session = client.session
        self.receives(
            records.record(
                records.ONLINE_REPLY,
                flags=result,
                to=session.key,
                session=session.number,
                attempt=previous,
                body=terms,
            )
        )

    def registers_again(self, result: int = records.OK) -> list[int]:
        """Presence answers all who register again by now; returns their sessions."""
        again = [rec for rec in self.sent(records.ONLINE) if rec.flags & records.AGAIN]
        for rec in again:
            self.receives(records.record(records.ONLINE_REPLY, flags=result, to=rec.to, session=rec.session))
        return [rec.session for rec in again]

    def page(
        self,
        client: Client,
        rows: Iterable[tuple[bytes, int, bytes]] = (),
        *,
        end: bool = True,
        failed: bool = False,
        cursor: bytes = b"",
        request: int | None = None,
    ) -> None:
        """The answer to the session's page request."""
        flags = (records.END if end else 0) | (records.FAILED if failed else 0)
        self.receives(
            records.record(
                records.ROWS,
                flags=flags,
                by=cursor,
                session=client.session.number,
                attempt=client.session.scan.request if request is None else request,
                body=records.pack_rows(rows),
            )
        )

    def settling(self, token: str = "bob/b1", understands: Iterable[str] = (), **how: Any) -> Client:
        """Logged in, with the first page on its way."""
        client = self.logging_in(token, understands=understands)
        self.welcome(client, **how)
        return client

    def live(self, token: str = "bob/b1", understands: Iterable[str] = ()) -> Client:
        """Logged in, and at the end of an empty inbox; nothing of that is left in the recordings."""
        client = self.settling(token, understands)
        self.page(client)
        client.took()
        self.sent()
        return client

    def stored(self, client: Client, count: int = 1) -> None:
        """Returned copies are settled."""
        self.receives(records.record(records.STORED, session=client.session.number, attempt=count))

    def notify(self, client: Client, number: int = 1) -> None:
        session = client.session
        self.receives(records.record(records.NOTIFY, to=session.key, session=session.number, attempt=number))


# What is said.


def text(number: int, dest: str = "bob", stream: int = 9, **more: Any) -> Frame:
    """A client's message."""
    fields = {"settled": 1, "kind": 1, "body": b"hello %d" % number, **more}
    return Frame(message=Message(stream=stream, id=number, dest_id=dest, **fields))


def kept_message(number: int, author: str = "alice", device: str = "a1", stream: int = 9, **more: Any) -> bytes:
    """An encoded message as it comes from a broker."""
    fields = {"settled": 1, "kind": 1, "body": b"hello %d" % number, "stamp": number, **more}
    return Message(
        stream=stream, id=number, from_id=author, from_device=device, dest_id="bob", **fields
    ).SerializeToString()


def row(number: int, **more: Any) -> tuple[bytes, int, bytes]:
    """An inbox row with a message."""
    return b"key%d" % number, 1, kept_message(number, **more)


def receipt_row(number: int) -> tuple[bytes, int, bytes]:
    """An inbox row with a receipt."""
    receipt = Receipt(stream=9, ids=[number], delivered=True, from_device="b2")
    return b"receipt%d" % number, 2, receipt.SerializeToString()


def copy(
    client: Client,
    number: int = 1,
    *,
    flags: int = 0,
    index: int = 0,
    count: int = 1,
    origin: int = ELSEWHERE,
    attempt: int | None = None,
    session: int | None = None,
    to: bytes | None = None,
    body: bytes | None = None,
    kind: int = records.COPY,
) -> bytes:
    """A live copy for a client's session, of an attempt of another connector."""
    return records.record(
        kind,
        flags=flags,
        index=index,
        count=count,
        origin=origin,
        attempt=100 + number if attempt is None else attempt,
        to=client.session.key if to is None else to,
        session=client.session.number if session is None else session,
        body=kept_message(number) if body is None else body,
    )


def outcomes(rec: Sent) -> list[tuple[int, int, int, int]]:
    """(attempt, index, count, state) of an OUTCOMES record."""
    return list(records.unpack_outcomes(rec.body))


def ids(messages: Iterable[Message]) -> list[int]:
    return [message.id for message in messages]


def receipt_ids(receipts: Iterable[Receipt]) -> Iterator[tuple[list[int], bool, bool]]:
    """(ids, sent, delivered) of each."""
    for receipt in receipts:
        yield list(receipt.ids), receipt.sent, receipt.delivered


def failures(failed: Iterable[Failed]) -> list[tuple[int, int, bool]]:
    """(id, code, final) of each."""
    return [(one.id, one.code, not one.retry_after_ms) for one in failed]
