"""Dialogues, played with a node: what the clients do is given, what the server answers comes out.

Owns the meaning of steps (README.md, "dialogues.json").
"""

from __future__ import annotations

from collections.abc import Iterator

from protocol.client import NEW, ClientSession, Event
from protocol.framing import FrameReader, delimit
from protocol.ids import is_group_id
from protocol.inbound import InboundStream, Shown
from protocol.sparrow_pb2 import READ, Failed, Frame, Goodbye, Message, Receipt, Signal, Synced
from tests.vectors.files import Json, frame, meaning, unhex
from tests.vectors.node import Node


def play(dialogue: Json) -> list[Json]:
    """The dialogue's steps as our server plays them: those of clients as they are, those of the server its own."""
    server = dialogue["server"]
    more = {name: server[name] for name in ("keep_days", "groups") if name in server}
    node = Node(server["users"], server["clock_ms"], server.get("limits", {}), **more)
    steps: list[Json] = []
    for step in dialogue["steps"]:
        if step["step"] in ("server", "closed"):
            continue
        if step["step"] == "client" and "frame" in step:
            step = {**step, "hex": delimit(frame(step["frame"]).SerializeToString(deterministic=True)).hex()}
        steps.append(step)
        _do(node, step)
        steps += _answers(node)
    return steps


def _do(node: Node, step: Json) -> None:
    match step["step"]:
        case "connect":
            node.connect(step["device"])
        case "client":
            node.data(step["device"], unhex(step["hex"]))
        case "disconnect":
            node.disconnect(step["device"])
        case "wait":
            node.wait(step["ms"])
        case "store":
            node.store.away = step["away"]
        case "stop":
            node.stop()
        case unknown:
            raise ValueError(f"a step of unknown kind {unknown!r}")


def _answers(node: Node) -> Iterator[Json]:
    for device, client in sorted(node.clients.items()):
        reader = FrameReader(2**24)
        for payload in reader.receive(client.received):
            sent = Frame.FromString(payload)
            yield {"step": "server", "device": device, "frame": meaning(sent), "hex": delimit(payload).hex()}
        if reader.error or reader.buffered:
            raise ValueError("the server sent something that is no frame")
        client.received = b""
        if client.closed:
            yield {"step": "closed", "device": device}
    for device in [device for device, client in node.clients.items() if client.closed]:
        node.disconnect(device)


ORDER_WAIT_S = 10.0


class Reader:
    """What a client makes of what it is told, over all its connections: the least of a client."""

    def __init__(self) -> None:
        self._session = ClientSession()
        self._streams: dict[tuple[str, str, str, int], InboundStream[Message]] = {}
        self._reads: set[tuple[int, int]] = set()
        """READs of this user: DELIVERED means nothing for them."""
        self.outcome: Json = {}

    def connected(self) -> None:
        """A new connection."""
        self._session = ClientSession()
        for stream in self._streams.values():
            stream.disconnected()

    def says(self, said: Frame) -> bytes:
        """The bytes of a frame that the client sends now."""
        session = self._session
        match said.WhichOneof("kind"):
            case "login":
                login = said.login
                more = {"start": login.start, "tries": login.tries, "understands": login.understands}
                more["fresh"] = login.fresh
                session.login(login.token, login.client, **more)
            case "message":
                session.message(said.message)
                self._remember(said.message)
            case "ack":
                session.ack()
            case "sync":
                for stream in self._streams.values():
                    if stream.wants_sync(ORDER_WAIT_S):
                        stream.asked(said.sync.n, ORDER_WAIT_S)
                session.sync(said.sync.n, said.sync.group)
            case "signal":
                session.signal(said.signal)
            case "ping":
                session.ping(said.ping.n)
            case "logout":
                session.logout()
        return session.data_to_send()

    def says_something(self) -> None:
        """The client breaks the protocol, which our own client cannot; what it hears then is all the same to it."""
        if self._session.state == NEW:
            self._session.login("")

    def hears(self, data: bytes) -> list[Event]:
        """Bytes from the server."""
        events = self._session.receive_data(data)
        if self._session.error is not None:
            raise self._session.error
        for event in events:
            self._note(event)
        return events

    def _note(self, event: Event) -> None:
        if isinstance(event, Message):
            group = event.dest_id if is_group_id(event.dest_id) else ""
            key = (group, event.from_id, event.from_device, event.stream)
            stream = self._streams.setdefault(key, InboundStream())
            self._remember(event)
            self._show(stream.receive(event.id, event.settled, event))
        elif isinstance(event, Synced):
            for stream in self._streams.values():
                self._show(stream.synced(event.n))
        elif isinstance(event, Receipt):
            if event.sent:
                self._add("sent", *(_name(event.stream, number) for number in event.ids))
            if event.delivered:
                told = [number for number in event.ids if (event.stream, number) not in self._reads]
                self._add("delivered", *(_name(event.stream, number) for number in told))
        elif isinstance(event, Failed):
            code = Failed.Code.Name(event.code)
            final = not event.retry_after_ms
            self._add("failed", {**_name(event.stream, event.id), "code": code, "final": final})
        elif isinstance(event, Signal):
            self._add("signals", {"from_id": event.from_id, "dest_id": event.dest_id, "kind": int(event.kind)})
        elif isinstance(event, Goodbye):
            self.outcome["goodbye"] = Goodbye.Code.Name(event.code)

    def _show(self, shown: list[Shown[Message]]) -> None:
        for item, late in shown:
            name = {"from_id": item.from_id, **_name(item.stream, item.id)}
            self._add("shown", {**name, "late": True} if late else name)

    def _remember(self, message: Message) -> None:
        if message.kind == READ:
            self._reads.add((message.stream, message.id))

    def _add(self, state: str, *names: Json) -> None:
        if names:
            noted = self.outcome.get(state, []) + list(names)
            self.outcome[state] = [name for at, name in enumerate(noted) if name not in noted[:at]]


def _name(stream: int, number: int) -> Json:
    return {"stream": str(stream), "id": str(number)}
