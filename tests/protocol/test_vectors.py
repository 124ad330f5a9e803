"""Every conformance vector of tests/vectors, against our own server session, client session, streams and node."""

from __future__ import annotations

import json

import pytest
from google.protobuf.message import Message as AnyMessage

from protocol.client import ClientSession, Unreadable
from protocol.framing import delimit
from protocol.inbound import InboundStream, Shown
from protocol.server import Breach, NotAllowed, ServerSession, Windows
from protocol.sparrow_pb2 import Ack, Frame, Goodbye, LoggedIn, Message, Ping
from tests.protocol.strategies import taken
from tests.vectors import example
from tests.vectors.dialogues import ORDER_WAIT_S, Reader, play
from tests.vectors.files import HERE, NAMES, Json, frame, load, named, render, unhex

WINDOWS = Windows(max_frame_bytes=65536, max_unsettled_per_stream=256, max_unsettled_per_connection=4096)


def vectors(file: str, **wanted: str) -> pytest.MarkDecorator:
    """Parametrize by the vectors of a file, or by those whose keys have these values."""
    found = [(name, v) for name, v in named(file) if all(v.get(key) == value for key, value in wanted.items())]
    assert found
    return pytest.mark.parametrize("vector", [pytest.param(v, id=f"{file}: {name}") for name, v in found])


def server_in(state: str, counted: int) -> ServerSession:
    """A server session in this state that has sent so many counted frames."""
    session = ServerSession(WINDOWS)
    if state != "new":
        session.receive_data(delimit(frame({"login": {"token": "t"}}).SerializeToString()))
    if state == "active":
        session.logged_in(LoggedIn(session=1))
    for _ in range(counted):
        session.message(b"")
    session.data_to_send()
    return session


def client_in(state: str) -> ClientSession:
    """A client session in this state."""
    session = ClientSession()
    if state != "new":
        session.login("t")
        session.data_to_send()
    if state == "active":
        session.receive_data(delimit(frame({"logged_in": {"session": "1"}}).SerializeToString()))
    return session


def state_of(vector: Json) -> str:
    kind = next(iter(vector["frame"] or ["none"]))
    return vector.get("state") or ("new" if kind == "login" else "active")


def content(told: Json) -> AnyMessage:
    """What is inside a frame of this meaning."""
    parsed = frame(told)
    kind = parsed.WhichOneof("kind")
    assert kind is not None
    inside: AnyMessage = getattr(parsed, kind)
    return inside


def known(parsed: AnyMessage) -> AnyMessage:
    copy = type(parsed)()
    copy.CopyFrom(parsed)
    copy.DiscardUnknownFields()
    return copy


# The files.


@pytest.mark.parametrize("file", NAMES)
def test_files_are_in_their_form(file: str) -> None:
    loaded = load(file)
    assert (HERE / f"{file}.json").read_text("utf-8") == render(loaded)
    names = [vector["name"] for vector in loaded]
    assert len(set(names)) == len(names)


def test_every_kind_of_frame_has_a_vector() -> None:
    there = {(vector["from"], kind) for vector in load("frames") for kind in vector["frame"] or ()}
    kinds = {field.name for field in Frame.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert {kind for _, kind in there} == kinds
    assert {("client", "message"), ("server", "message")} <= there


@vectors("frames")
def test_bytes_follow_from_the_meaning(vector: Json) -> None:
    if vector.get("canonical", True):
        assert unhex(vector["hex"]) == delimit(frame(vector["frame"]).SerializeToString(deterministic=True))
    else:
        assert vector["frame"] is None or unhex(vector["hex"]) != delimit(frame(vector["frame"]).SerializeToString())


# Frames.


def told(described: Json) -> object:
    """The event that a client's frame is to a server."""
    expected = content(described)
    return expected.up_to if isinstance(expected, Ack) else expected


@vectors("frames", **{"from": "client"})
def test_a_server_takes_a_good_frame(vector: Json) -> None:
    (event,) = server_in(state_of(vector), vector.get("counted", 0)).receive_data(unhex(vector["hex"]))
    expected = told(vector["frame"])
    if isinstance(expected, Message):
        assert known(taken(event)[0]) == expected
    else:
        assert event == expected


@vectors("frames", **{"from": "server"})
def test_a_client_takes_a_good_frame(vector: Json) -> None:
    session = client_in(state_of(vector))
    events = session.receive_data(unhex(vector["hex"]))
    assert [known(event) for event in events] == ([content(vector["frame"])] if vector["frame"] else [])
    assert session.error is None
    assert session.counted == vector.get("counts", False)


@vectors("bad_frames", **{"from": "client"})
def test_a_server_answers_a_bad_frame_with_goodbye(vector: Json) -> None:
    session = server_in(vector["state"], vector.get("counted", 0))
    *before, breach = session.receive_data(unhex(vector["hex"]))
    assert before == [told(frame) for frame in vector.get("before", ())]
    assert isinstance(breach, Breach)
    assert Goodbye.Code.Name(breach.code) == vector["goodbye"]
    session.goodbye(breach.code, breach.text)
    said = session.data_to_send()
    assert said == delimit(Frame(goodbye=Goodbye(code=breach.code, text=breach.text)).SerializeToString())


@vectors("bad_frames", **{"from": "server"})
def test_a_client_gives_a_bad_server_up(vector: Json) -> None:
    session = client_in(vector["state"])
    assert session.receive_data(unhex(vector["hex"])) == []
    assert session.error is not None


@vectors("refused_frames")
def test_a_server_refuses_for_good_what_no_client_may_send(vector: Json) -> None:
    session = server_in("active", 0)
    payload = unhex(vector["hex"])
    (event,) = session.receive_data(payload)
    assert isinstance(event, NotAllowed)
    assert event.text
    if vector["frame"] is not None:
        assert payload == delimit(frame(vector["frame"]).SerializeToString(deterministic=True))
        message = frame(vector["frame"]).message
        assert (event.stream, event.id) == (message.stream, message.id)
    assert not session.unsettled
    (event,) = session.receive_data(delimit(frame({"ping": {"n": "1"}}).SerializeToString()))
    assert isinstance(event, Ping)


@vectors("unreadable_frames")
def test_a_client_goes_on_behind_what_it_cannot_read(vector: Json) -> None:
    session = client_in("active")
    (event,) = session.receive_data(unhex(vector["hex"]))
    assert isinstance(event, Message | Unreadable)
    assert session.error is None
    assert session.counted == 1
    session.ack()
    assert session.data_to_send() == delimit(frame({"ack": {"upTo": "1"}}).SerializeToString())


# Streams.


class Device:
    """The receiving end of one stream, and the Sync of its connection."""

    def __init__(self) -> None:
        self._stream: InboundStream[int] = InboundStream()
        self._syncs = 0
        self._open = False

    def step(self, step: Json) -> Json:
        """Do a step; returns it with what came of it."""
        shown: list[Shown[int]] = []
        done = {key: value for key, value in step.items() if key not in ("shown", "late", "asks")}
        (kind, value), *more = done.items()
        assert not more
        if kind == "arrives":
            number, settled = value
            shown = self._stream.receive(number, settled, number)
        elif kind == "live_s":
            if self._stream.parked:
                self._stream.blocked_s += value
        elif kind == "reconnects":
            self._stream.disconnected()
            self._open = False
        elif kind == "restarts":
            self._restart()
        elif kind == "synced":
            assert self._open
            self._open = False
            shown = self._stream.synced(self._syncs)
        else:
            assert kind == "offline_s"
            return done
        for late, name in ((False, "shown"), (True, "late")):
            if found := [item for item, was_late in shown if was_late is late]:
                done[name] = found
        if self._asks():
            done["asks"] = True
        return done

    def _restart(self) -> None:
        old = self._stream
        self._stream = InboundStream(old.next, old.settled, frozenset(old.gaps))
        for number in old.parked:
            assert self._stream.receive(number, 1, number) == []
        self._open = False

    def _asks(self) -> bool:
        if self._open or not self._stream.wants_sync(ORDER_WAIT_S):
            return False
        self._syncs += 1
        self._stream.asked(self._syncs, ORDER_WAIT_S)
        self._open = True
        return True


@vectors("streams")
def test_a_stream(vector: Json) -> None:
    device = Device()
    assert [device.step(step) for step in vector["steps"]] == vector["steps"]


# Dialogues.


@vectors("dialogues")
def test_a_node_plays_its_part(vector: Json) -> None:
    assert json.loads(json.dumps(play(vector))) == vector["steps"]


@vectors("dialogues")
def test_a_client_plays_its_part(vector: Json) -> None:
    readers: dict[str, Reader] = {}
    for step in vector["steps"]:
        if "device" not in step:
            continue
        reader = readers.setdefault(step["device"], Reader())
        match step["step"]:
            case "connect":
                reader.connected()
            case "client" if not vector.get("wrong"):
                assert reader.says(frame(step["frame"])) == unhex(step["hex"])
            case "client":
                reader.says_something()
            case "server":
                assert reader.hears(unhex(step["hex"])) == [content(step["frame"])]
    assert {device: reader.outcome for device, reader in readers.items() if reader.outcome} == vector["outcome"]


@pytest.mark.parametrize("dialogue", example.EXAMPLES)
def test_the_examples_in_the_document_are_dialogues(dialogue: str) -> None:
    if example.written(dialogue) != example.rendered(dialogue):
        pytest.fail("docs/protocol.md has an example that is out of date: run python -m tests.vectors")
