"""A short run of each fuzzer with a fixed seed, and the proof that each can fail: defects that it must find."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from client.holding import Held
from connector.proxy import ProxyHeader
from fabric import records
from protocol.client import ClientSession
from protocol.framing import FrameReader
from protocol.inbound import InboundStream, Shown
from protocol.server import ServerSession
from protocol.sparrow_pb2 import Message
from tests.fuzz import client, frames, proxy, runner, server, streams
from tests.fuzz import records as record_fuzzer

FUZZERS = {
    "frames": frames,
    "records": record_fuzzer,
    "server": server,
    "client": client,
    "streams": streams,
    "proxy": proxy,
}
RUNS = 4000
SEED = 20261123


def fuzz(module: ModuleType, runs: int = RUNS) -> int:
    return runner.run(module.one, module.corpus(), SEED, runs=runs)


@pytest.mark.parametrize("name", FUZZERS)
def test_a_short_run(name: str) -> None:
    assert fuzz(FUZZERS[name]) == RUNS


@pytest.mark.parametrize("name", FUZZERS)
def test_every_vector_is_tried(name: str) -> None:
    corpus = FUZZERS[name].corpus()
    assert len(corpus) > 15
    assert len(set(corpus)) > 15
    tried: list[bytes] = []
    runner.run(tried.append, corpus, SEED, runs=len(corpus) + 100)
    assert tried[: len(corpus)] == corpus
    assert len(set(tried)) > len(set(corpus)) + 50


def test_the_same_seed_gives_the_same_inputs() -> None:
    one, same, other = (runner.inputs(seed, [b"abc"]) for seed in (1, 1, 2))
    first, second, third = ([next(source) for _ in range(50)] for source in (one, same, other))
    assert first == second
    assert first != third


def test_a_run_ends_in_time() -> None:
    tried: list[bytes] = []
    assert runner.run(tried.append, [b"abc"], SEED, seconds=0.05) == len(tried) > 0


def test_what_fails_is_told() -> None:
    def harness(data: bytes) -> None:
        assert b"\xff" not in data

    with pytest.raises(runner.Found, match="ff") as found:
        runner.run(harness, [b"abc"], SEED, runs=RUNS)
    assert b"\xff" in found.value.data


def test_pieces_are_the_whole() -> None:
    several = 0
    for data in itertools.islice(runner.inputs(SEED, [b"0123456789" * 5]), 200):
        payload, pieces = runner.cut(data)
        assert payload == data[2:]
        assert b"".join(pieces) == payload
        several += len(pieces) > 2
    assert several > 50


# Defects that were planted; each must be found.


def forget_the_beginning(patch: pytest.MonkeyPatch) -> None:
    receive = FrameReader.receive

    def broken(self: FrameReader, data: bytes) -> list[bytes]:
        found = receive(self, data)
        self._buffer = self._buffer[:7]
        return found

    patch.setattr(FrameReader, "receive", broken)


def allow_one_byte_more(patch: pytest.MonkeyPatch) -> None:
    init = FrameReader.__init__
    patch.setattr(FrameReader, "__init__", lambda self, limit: init(self, limit + 1))


def take_a_message_that_has_more_behind_it(patch: pytest.MonkeyPatch) -> None:
    def broken(payload: bytes) -> bytes | None:
        return payload[2:] if len(payload) > 1 and payload[0] == 0x12 and payload[1] < 0x80 else None

    patch.setattr(frames, "sole_message", broken)


def cut_bodies_short_in_silence(patch: pytest.MonkeyPatch) -> None:
    def broken(body: bytes) -> Iterator[tuple[bytes, int, bytes]]:
        yield from ((key, kind, row[:-1]) for key, kind, row in unpack(body))

    unpack = records.unpack_rows
    patch.setattr(records, "unpack_rows", broken)


def lose_the_last_record(patch: pytest.MonkeyPatch) -> None:
    parse = records.parse
    patch.setattr(records, "parse", lambda data: parse(data)[:-1])


def believe_who_the_client_says_it_is(patch: pytest.MonkeyPatch) -> None:
    def broken(self: ServerSession, message: Message, raw: bytes) -> object:
        copy = Message.FromString(raw)
        copy.from_id = copy.from_device = ""
        copy.stamp = 0
        event = checked(self, copy, raw)
        return (*event[:4], raw) if isinstance(event, tuple) else event

    checked = ServerSession._checked
    patch.setattr(ServerSession, "_checked", broken)


def go_on_behind_a_breach(patch: pytest.MonkeyPatch) -> None:
    def broken(self: ServerSession, *args: object) -> object:
        state = self.state
        event = breach(self, *args)  # type: ignore[arg-type]
        self.state = state
        return event

    breach = ServerSession._breach
    patch.setattr(ServerSession, "_breach", broken)


def count_receipts_that_do_not_count(patch: pytest.MonkeyPatch) -> None:
    def broken(self: ClientSession, payload: bytes) -> object:
        self.counted += payload[:1] == b"\x4a"
        return event(self, payload)

    event = ClientSession._event
    patch.setattr(ClientSession, "_event", broken)


def show_repeats(patch: pytest.MonkeyPatch) -> None:
    def broken(self: InboundStream[Message], number: int, settled: int, item: Message) -> list[Shown[Message]]:
        return receive(self, number, settled, item) or ([Shown(item, False)] if number < self.next else [])

    receive = InboundStream.receive
    patch.setattr(InboundStream, "receive", broken)


def show_before_the_change(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Held, "must_wait", lambda self, group, version: False)


def wait_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(InboundStream, "wants_sync", lambda self, wait: False)


def drop_what_is_parked_twice(patch: pytest.MonkeyPatch) -> None:
    def broken(self: InboundStream[int], number: int, settled: int, item: int) -> list[Shown[int]]:
        if number in self.parked:
            del self.parked[number]
        else:
            return receive(self, number, settled, item)
        return []

    receive = InboundStream.receive
    patch.setattr(InboundStream, "receive", broken)


def take_what_is_behind_a_header(patch: pytest.MonkeyPatch) -> None:
    def broken(self: ProxyHeader) -> None:
        read(self)
        self.wanted += self.wanted > 1

    read = ProxyHeader._read
    patch.setattr(ProxyHeader, "_read", broken)


def let_other_errors_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("connector.proxy.struct.error", ZeroDivisionError)


@pytest.mark.parametrize(
    ("name", "defect"),
    [
        ("client", show_before_the_change),
        ("frames", forget_the_beginning),
        ("frames", allow_one_byte_more),
        ("frames", take_a_message_that_has_more_behind_it),
        ("records", cut_bodies_short_in_silence),
        ("records", lose_the_last_record),
        ("server", forget_the_beginning),
        ("server", believe_who_the_client_says_it_is),
        ("server", go_on_behind_a_breach),
        ("client", forget_the_beginning),
        ("client", count_receipts_that_do_not_count),
        ("client", show_repeats),
        ("streams", show_repeats),
        ("streams", wait_for_ever),
        ("streams", drop_what_is_parked_twice),
        ("proxy", take_what_is_behind_a_header),
        ("proxy", let_other_errors_out),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_defect_is_found(
    name: str, defect: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    defect(monkeypatch)
    with pytest.raises(runner.Found):
        fuzz(FUZZERS[name], runs=10 * RUNS)
