"""Messages through a connector's core and a broker's, joined by lists: no socket, no clock, no store that takes time.

    python benchmarks/cores.py text 800      # texts to somebody who is online, 8 a turn, each acked
    python benchmarks/cores.py read 800      # READ of them instead
    python benchmarks/cores.py stored 800    # texts to somebody who is not
    python benchmarks/cores.py thin 800      # texts to somebody who is online, each in turns of its own
    python benchmarks/cores.py turn 800      # no messages: a turn of both in which nothing happens

`scripts/bench` runs it under callgrind for this tree and another one, which is its working directory: what has moved
since is looked for where it was. Fails if a message is not SENT.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path.cwd()))


def found(*names: str) -> Any:
    """The first of these that is there, each `module:name`; the others are its older places."""
    for dotted in names:
        module, _, name = dotted.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise SystemExit(f"this tree has none of {', '.join(names)}: its cores cannot be driven by this benchmark")


ConnectorCore = found("connector.core:ConnectorCore", "connector.core.core:ConnectorCore")
ConnectorSettings = found("connector.settings:ConnectorSettings")
BrokerCore = found("broker.core.core:BrokerCore", "broker.core:BrokerCore")
BrokerSettings = found("broker.settings:BrokerSettings")
MemoryPresence = found("broker.presence.memory:MemoryPresence")
Identity = found("fabric.tokens:Identity", "protocol.tokens:Identity")
Page = found("store.interface:Page")
Standing = found("store.sessions:Standing")
Verdict = found("store.contacts:Verdict")
delimit = found("protocol.framing:delimit")
message_frame = found("protocol.framing:message_frame")
pb: Any = importlib.import_module("protocol.sparrow_pb2")

BROKER = "tcp://broker"
BROKER_INCARNATION = 77
STREAM = 9
PER_TURN = 8
LOGIN = "login"
BODY = b"x" * 100
WALL_MS = 1_800_000_000_000
ALLOWED = next(iter(Verdict))
CLOCKS = len(inspect.signature(BrokerCore.time).parameters) - 1
"""How many clocks a broker has: one in 0.1, which knew no time of day."""


class Fake:
    """Whatever else is asked of it does nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


class Store(Fake):
    """Knows everybody and keeps nothing; its answers come when `answers` is called, never while it is being asked."""

    def __init__(self) -> None:
        self._answers: list[Callable[[], None]] = []

    def answers(self) -> bool:
        """Give all answers; whether there were any."""
        answers, self._answers = self._answers, []
        for answer in answers:
            answer()
        return bool(answers)

    def devices(self, users: Any, done: Any) -> None:
        self._answers.append(partial(done, dict.fromkeys(users, ("d1",))))

    def standing(self, users: Any, done: Any) -> None:
        self._answers.append(partial(done, dict.fromkeys(users, Standing(False, {"d1": LOGIN}))))

    def verdicts(self, pairs: Any, done: Any) -> None:
        self._answers.append(partial(done, dict.fromkeys(pairs, ALLOWED)))

    def hiders(self, users: Any, done: Any) -> None:
        self._answers.append(partial(done, frozenset()))

    def begin_sessions(self, starts: Any, done: Any) -> None:
        self._answers.append(partial(done, [0 for _ in starts]))

    def page(self, queries: Any, done: Any) -> None:
        self._answers.append(partial(done, [Page((), b"", True) for _ in queries]))

    def waiting(self, users: Any, done: Any) -> None:
        self._answers.append(partial(done, {user: {} for user in users}))

    def append(self, rows: Any, done: Any) -> None:
        self._answers.append(partial(done, True))

    def no_space(self) -> bool:
        return False


class BrokerPorts(Fake):
    """What it sends is kept for the connector."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, connector: int, batch: bytes) -> bool:
        self.sent.append(batch)
        return True

    def members(self) -> dict[int, str]:
        return {BROKER_INCARNATION: BROKER}

    def well(self) -> bool:
        return True


class ConnectorPorts(Fake):
    """What it sends is kept for the broker. A connection's handle is the list of what was written to it."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self._last = 1000

    def write(self, handle: list[bytes], data: bytes) -> None:
        handle.append(data)

    def close(self, handle: list[bytes]) -> None:
        raise SystemExit(f"a connection was closed; the last that it was told: {handle[-1:]}")

    def send(self, broker: str, batch: bytes) -> bool:
        self.sent.append(batch)
        return True

    def is_behind(self, handle: object) -> bool:
        return False

    def silent_s(self, handle: object) -> float:
        return 0.0

    def verify(self, token: str, now_s: float) -> Any:
        user, _, device = token.partition("/")
        return Identity(user, device, now_s + 600, LOGIN)

    def random64(self) -> int:
        self._last += 1
        return self._last


class Pair:
    """Both cores, and the turns between them."""

    def __init__(self) -> None:
        unlimited = ("max_messages_per_second", "max_messages_per_second_of_account", "max_frames_per_second")
        known = {field.name for field in dataclasses.fields(ConnectorSettings)}
        changes: dict[str, Any] = {name: 0 for name in unlimited if name in known}
        self._connector_ports, self._broker_ports = ConnectorPorts(), BrokerPorts()
        self.connector = ConnectorCore(self._connector_ports, ConnectorSettings(brokers=(BROKER,), **changes))
        self._store = Store()
        self.broker = BrokerCore(
            self._broker_ports, MemoryPresence(5000.0, 1), self._store, BrokerSettings(), BROKER_INCARNATION
        )
        self._now = 1.0
        self.lets(8, 0.3)  # they find each other

    def time(self) -> None:
        wall_ms = WALL_MS + int(self._now * 1000)
        self.broker.time(*(self._now, wall_ms)[:CLOCKS])
        self.connector.time(self._now, wall_ms)

    def lets(self, ticks: int, seconds: float) -> None:
        """Time go by."""
        for _ in range(ticks):
            self._now += seconds
            self.time()
            self.connector.tick()
            self.broker.tick()
            self.turns()

    def turns(self) -> None:
        """Until nobody has anything to say."""
        to_broker, to_connector = self._connector_ports.sent, self._broker_ports.sent
        while True:
            self.time()
            self.connector.flush()
            batches, to_broker[:] = to_broker[:], []
            for batch in batches:
                self.broker.batch(self.connector.incarnation, batch)
            self.broker.flush()
            answered = self._store.answers()
            batches, to_connector[:] = to_connector[:], []
            for batch in batches:
                self.connector.batch(BROKER, batch)
            self.connector.flush()
            if not to_broker and not to_connector and not answered:
                return

    @contextmanager
    def event(self) -> Iterator[None]:
        """Something that happens a millisecond later, and what comes of it."""
        self._now += 0.001
        self.time()
        yield
        self.turns()

    def login(self, user: str) -> tuple[list[bytes], Any]:
        """The handle and the session."""
        handle: list[bytes] = []
        session = self.connector.opened(handle)
        with self.event():
            login = pb.Frame(login=pb.Login(token=f"{user}/d1"))
            self.connector.data(session, delimit(login.SerializeToString()))
        self.lets(8, 0.1)
        return handle, session


def frame(what: str, number: int) -> bytes:
    """A message to bob."""
    common = {"stream": STREAM, "id": number, "settled": number, "dest_id": "bob"}
    if what == "read":
        about = pb.About(from_device="b" * 16, stream=2**62 + 5, ids=[number])
        message = pb.Message(kind=pb.READ, about=about, **common)
    else:
        message = pb.Message(kind=pb.TEXT, body=BODY, **common)
    encoded: bytes = message_frame(message.SerializeToString())
    return encoded


def empty_turns(pair: Pair, count: int) -> None:
    """Turns in which nobody has anything to say."""
    for _ in range(count):
        pair.time()
        pair.connector.flush()
        pair.broker.flush()


def main(what: str, count: int) -> None:
    """`count` messages, or turns. Raises `SystemExit` if a message is not SENT."""
    pair = Pair()
    if what == "turn":
        return empty_turns(pair, count)
    per_turn = 1 if what == "thin" else PER_TURN
    said, alice = pair.login("alice")
    heard: list[bytes] = []
    bob = None
    if what != "stored":
        heard, bob = pair.login("bob")
    for first in range(1, count + 1, per_turn):
        data = b"".join(frame(what, number) for number in range(first, first + per_turn))
        with pair.event():
            pair.connector.data(alice, data)
        if bob is not None:
            with pair.event():
                ack = pb.Frame(ack=pb.Ack(up_to=bob.wire.counted))
                pair.connector.data(bob, delimit(ack.SerializeToString()))
        said.clear()
        heard.clear()
    sent = pair.connector.attempts.sent
    if sent != count:
        raise SystemExit(f"{sent} of {count} messages were SENT")
    return None


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
