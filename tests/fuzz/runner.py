"""What all fuzzers share: making inputs, running them, and saying which one failed.

Owns mutation and the command line. Knows nothing of what is fuzzed.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import importlib.util
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

Harness = Callable[[bytes], None]

MAX_BYTES = 2048
HANG_S = 60.0
"""A batch of inputs that takes longer is a hang: the traceback is printed and the process ends."""
BATCH = 200
INTERESTING = [
    b"\x00",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\x80\x00",
    b"\xff\x7f",
    b"\x80\x80\x04",
    b"\xff\xff\x03",
    b"\x81\x80\x04",
    b"\xff" * 5,
    b"\xff" * 9 + b"\x01",
    b"\x00" * 8,
    b"\xff" * 8,
    b"\x12\x00",
    b"\x0a\x00",
]
"""Borders of varints, lengths, numbers and windows."""


class Found(Exception):  # noqa: N818 - it is what a fuzzer is for
    """An input that fails."""

    def __init__(self, data: bytes) -> None:
        super().__init__(f"fails on {data.hex()!r}")
        self.data = data


def inputs(seed: int, corpus: Sequence[bytes]) -> Iterator[bytes]:
    """The corpus, and then no end of inputs, the same for the same seed."""
    yield from corpus
    choose = random.Random(seed)
    pool = [b"", *corpus]
    while True:
        if choose.random() < 0.2:
            yield choose.randbytes(choose.randrange(64))
            continue
        data = choose.choice(pool)
        for _ in range(choose.choice((1, 1, 2, 4, 8))):
            data = _mutate(data, choose, pool)
        yield data[:MAX_BYTES]


def _mutate(data: bytes, choose: random.Random, pool: Sequence[bytes]) -> bytes:
    at = choose.randrange(len(data) + 1)
    to = min(len(data), at + choose.choice((1, 1, 2, 4, 16, 64)))
    match choose.randrange(8):
        case 0 if data:
            flipped = bytearray(data)
            flipped[at % len(data)] ^= 1 << choose.randrange(8)
            return bytes(flipped)
        case 1:
            return data[:at] + choose.randbytes(choose.randrange(1, 5)) + data[at:]
        case 2:
            return data[:at] + choose.choice(INTERESTING) + data[at:]
        case 3:
            return data[:at] + choose.choice(INTERESTING) + data[to:]
        case 4:
            return data[:at] + data[to:]
        case 5:
            return data[:to] + data[at:to] * choose.choice((1, 2, 5)) + data[to:]
        case 6:
            return data[:at] + choose.choice(pool)
        case _:
            other = choose.choice(pool)
            return data[:at] + other[choose.randrange(len(other) + 1) :]


def run(one: Harness, corpus: Sequence[bytes], seed: int, runs: int | None = None, seconds: float = 0.0) -> int:
    """So many runs, or so many seconds; returns how many there were. Raises `Found`."""
    until = time.monotonic() + seconds
    count = 0
    try:
        for data in inputs(seed, corpus):
            if count % BATCH == 0:
                if runs is None and time.monotonic() >= until:
                    break
                faulthandler.dump_traceback_later(HANG_S, exit=True)
            if count == runs:
                break
            count += 1
            try:
                one(data)
            except Exception as error:
                raise Found(data) from error
    finally:
        faulthandler.cancel_dump_traceback_later()
    return count


def main(one: Harness, corpus: Sequence[bytes]) -> None:
    """The command line of a fuzzer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long")
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs")
    parser.add_argument("--plain", action="store_true", help="do not use atheris, even if it is there")
    parser.add_argument("--input", help="run this one input (hex) alone")
    options = parser.parse_args()
    if options.input is not None:
        one(bytes.fromhex(options.input))
        print("passed")
    elif importlib.util.find_spec("atheris") and not options.plain:
        _guided(one, corpus, int(options.seconds), options.seed)
    else:
        count = run(one, corpus, options.seed, seconds=options.seconds)
        print(f"{count} inputs passed")


def _guided(one: Harness, corpus: Sequence[bytes], seconds: int, seed: int) -> None:
    """Guided by coverage; what fails is printed and written by libFuzzer."""
    atheris = importlib.import_module("atheris")
    with tempfile.TemporaryDirectory() as folder:
        for at, data in enumerate(corpus):
            Path(folder, f"{at:04}").write_bytes(data)
        atheris.instrument_all()
        # libFuzzer takes seed 0 for "choose one".
        limits = [f"-max_total_time={seconds}", f"-max_len={MAX_BYTES}", f"-seed={seed + 1}", f"-timeout={int(HANG_S)}"]
        atheris.Setup([sys.argv[0], *limits, folder], one)
        atheris.Fuzz()


def cut(data: bytes) -> tuple[bytes, list[bytes]]:
    """Payload of an input, and the payload in the pieces that the input's first two bytes say."""
    chooser = random.Random(data[:2])
    payload = data[2:]
    edges = sorted(chooser.randrange(len(payload) + 1) for _ in range(chooser.randrange(5)))
    pieces = [payload[a:b] for a, b in zip([0, *edges], [*edges, len(payload)], strict=True)]
    return payload, pieces
