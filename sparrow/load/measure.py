"""What server processes have used, read from /proc; how fast the machine is just now; and percentiles.

Owns no process.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from protocol.sparrow_pb2 import TEXT, Message


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds of these processes so far, all threads, user and system."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            total += int(task.read_text().split()[0])
    return total / 1e9


def resident_kib(pids: Iterable[int]) -> int:
    """Resident memory of these processes, in KiB."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total


def percentile(ordered: list[float], fraction: float) -> float | None:
    """The value below which this fraction lies; None for no values."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] if ordered else None


def decode_us() -> float:
    """CPU microseconds that decoding a message of 150 bytes and reading four fields takes, the best of some tries.

    Virtual machines change their speed from hour to hour: compare results only together with this.
    """
    encoded = Message(stream=1 << 60, id=5, settled=3, dest_id="bob", kind=TEXT, body=bytes(126)).SerializeToString()
    best = float("inf")
    for _ in range(9):
        began = time.process_time()
        for _ in range(5_000):
            message = Message.FromString(encoded)
            _ = message.stream, message.id, message.settled, message.dest_id
        best = min(best, time.process_time() - began)
    return best / 5_000 * 1e6
