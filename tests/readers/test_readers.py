"""What the server takes, everybody reads: upb, pure Python, Go, Java and protobufjs, frame by frame and alike.

The frames are of a fixed seed: what clients write well, oddly and with harm in mind, as far as a server session takes
it, with the fields that the server adds, as receivers get it.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from protocol.framing import delimit, message_frame
from protocol.server import ServerSession, Windows
from protocol.sparrow_pb2 import About, Frame, LoggedIn, Login, Message
from tests.fuzz import runner, seeds
from tests.readers.reader import read
from tests.vectors.files import load, unhex

ROOT = Path(__file__).resolve().parents[2]
SEED = 20261126
RUNS = 20_000
VOUCHED = Message(from_id="alice", from_device="a1", stamp=1 << 60).SerializeToString()
"""What the server puts behind a message."""


@pytest.fixture(scope="session")
def folder() -> Path:
    made = subprocess.run(
        [ROOT / "scripts/install-readers"], check=True, stdout=subprocess.PIPE, text=True, timeout=600
    )
    return Path(made.stdout.strip())


def _python(_: Path) -> list[str]:
    return [sys.executable, "-m", "tests.readers.reader"]


def _go(folder: Path) -> list[str]:
    return [str(folder / "go-reader")]


def _java(folder: Path) -> list[str]:
    classes = f"{folder}/classes:{folder}/lib/*"
    return ["java", "-XX:TieredStopAtLevel=1", "-cp", classes, "Reader", str(folder / "sparrow.descriptors")]


def _protobufjs(folder: Path) -> list[str]:
    return ["node", str(folder / "reader.mjs"), str(ROOT / "protocol/sparrow.proto")]


READERS: dict[str, Callable[[Path], list[str]]] = {
    "pure Python": _python,
    "Go": _go,
    "Java": _java,
    "protobufjs": _protobufjs,
}


def told(reader: str, folder: Path, data: bytes) -> list[str]:
    """What a reader reads."""
    environment = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
    command = READERS[reader](folder)
    done = subprocess.run(command, check=True, input=data, capture_output=True, cwd=ROOT, env=environment, timeout=300)
    return done.stdout.decode().splitlines()


def _session() -> ServerSession:
    session = ServerSession(Windows(65536, 256, 1 << 30))
    session.receive_data(delimit(Frame(login=Login(token="t")).SerializeToString()))
    session.logged_in(LoggedIn(session=1))
    return session


def _varint(rng: random.Random, value: int) -> bytes:
    """Often in more bytes than it needs, or with more bits."""
    out = [value & 0x7F]
    while value := value >> 7:
        out[-1] |= 0x80
        out.append(value & 0x7F)
    for _ in range(rng.choice((0, 0, 0, 0, 1, 3, 10 - len(out)))):
        out[-1] |= 0x80
        out.append(0)
    if rng.random() < 0.02:
        out[-1] |= rng.randrange(128)
    return bytes(out)


def _field(rng: random.Random) -> bytes:
    """A field, or something that looks like one, of any number and wire type."""
    number = rng.choice((rng.randrange(16), rng.randrange(2048), 1 << 28, (1 << 29) - 1))
    wire = rng.choice((0, 0, 1, 2, 2, 3, 4, 5))
    tag = _varint(rng, number << 3 | wire)
    if wire == 0:
        return tag + _varint(rng, rng.choice((0, 1, 300, 2**31, 2**53, 2**63, 2**64 - 1)))
    if wire == 2:
        content = rng.choice((b"", b"x", b"new", b"\xff", _group(rng), rng.randbytes(rng.randrange(1, 40))))
        return tag + _varint(rng, len(content)) + content
    return tag + (rng.randbytes(8) if wire == 1 else rng.randbytes(4) if wire == 5 else b"")


def _group(rng: random.Random) -> bytes:
    depth = rng.choice((1, 2, 99, 100, 101))
    inside = rng.choice((b"", b"\x00\x01", b"\x08\x01"))
    return b"\xc3\x3e" * depth + inside + b"\xc4\x3e" * depth


def _written(rng: random.Random) -> bytes:
    """A message, well or oddly encoded, with whatever between its fields."""
    kind = rng.choice((1, 1, 2, 3, 3, 1000, 2**31 - 1))
    ids = [rng.choice((1, 127, 128, 2**53 - 1)) for _ in range(rng.choice((1, 1, 2, 256)))]
    about = About(from_device="b1", stream=7, ids=ids)
    settled = rng.choice((1, 100, 1000, 2**53 - 256))
    fields = [
        Message(stream=rng.getrandbits(64) | 1).SerializeToString(),
        b"\x10" + _varint(rng, settled + rng.randrange(200)),
        b"\x18" + _varint(rng, settled),
        Message(dest_id=rng.choice(("bob", "~k7q2m5xw3n4c6z7abfde2rsg"))).SerializeToString(),
        b"\x38" + _varint(rng, kind),
    ]
    if kind == 3:
        inside = about.SerializeToString()
        if rng.random() < 0.2:
            inside += rng.choice((_field(rng), b"\x18" + _varint(rng, 5), _group(rng)))
        fields.append(b"\x52" + _varint(rng, len(inside)) + inside)
    else:
        fields.append(Message(body=rng.choice(("hé👋", "x" * 127, "x" * 128, "")).encode()).SerializeToString())
    for _ in range(rng.choice((0, 1, 1, 2))):
        fields.insert(rng.randrange(len(fields) + 1), _field(rng))
    if rng.random() < 0.1:
        rng.shuffle(fields)
    return b"".join(fields)


def _taken(candidates: Iterator[bytes]) -> Iterator[bytes]:
    """What of these, each all that a client says behind its login, a server hands on, as receivers get it."""
    for said in candidates:
        for event in _session().receive_data(said):
            if isinstance(event, tuple):
                yield message_frame(event[4] + VOUCHED)


@pytest.fixture(scope="session")
def frames() -> list[bytes]:
    rng = random.Random(SEED)
    fuzzed = runner.inputs(SEED, seeds.frames("client"))
    written = (message_frame(_written(rng)) for _ in range(RUNS))
    mutated = (next(fuzzed)[2:] for _ in range(RUNS))
    return [*_taken(written), *_taken(mutated)]


@pytest.mark.parametrize("reader", READERS)
def test_what_the_server_takes_everybody_reads(reader: str, folder: Path, frames: list[bytes]) -> None:
    stream = b"".join(frames)
    assert len(frames) > RUNS / 4
    expected = read(stream)
    assert len(expected) == len(frames)
    found = told(reader, folder, stream)
    for at, (one, other) in enumerate(zip(expected, found, strict=False)):
        assert one == other, f"{reader} reads {frames[at].hex()} in another way"
    assert len(found) == len(expected)


STRICT = {
    "pure Python": "a hundred nested groups",
    "Go": "an unknown number of more than 64 bits",
    "Java": "a hundred nested groups",
    "protobufjs": "field 0 inside a group",
}
"""What each does not read, so that this test could fail: vectors of what not everybody can read."""


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_does_not_read_everything(reader: str, folder: Path) -> None:
    (poison,) = (unhex(v["hex"]) for v in load("unreadable_frames") if v["name"] == STRICT[reader])
    good = message_frame(Message(stream=1, id=1, settled=1, dest_id="bob", kind=1).SerializeToString() + VOUCHED)
    first, second = told(reader, folder, good + poison)
    assert [first] == read(good)
    assert second.startswith("error: ")
