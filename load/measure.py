"""What server processes have used, read from /proc; which processes they are; how fast the machine is just now.

Owns no process.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from protocol.errors import ConfigError
from protocol.sparrow_pb2 import TEXT, Message

_ROLES = ("serve", "connector", "broker", "userapi", "etcd")
GONE = "gone"


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds of these processes so far, all threads, user and system."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(task.read_text().split()[0])
    return total / 1e9


def resident_kib(pids: Iterable[int]) -> int:
    """Resident memory of these processes, in KiB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1])
    return total


def children(pid: int) -> list[int]:
    """All processes that descend from this one."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, task.read_text().split()):
                found += [child, *children(child)]
    return found


def role(pid: int, servers: Collection[int] = ()) -> str:
    """What a process is, as far as its command line tells: "connector", say; or of which of these servers it descends:
    "child of serve"; `GONE` of one that has ended, or is just beginning or ending, when there is no command line."""
    names = _names(pid)
    if names is None:
        return GONE
    above = pid
    found = _known(names)
    while not found and (above := _parent(above)) in servers:
        if known := _known(_names(above) or []):
            found = f"child of {known}"
    return found or (names[0] if names else GONE)


def _known(names: Sequence[str]) -> str:
    return next((each for each in _ROLES if each in names), "")


def _names(pid: int) -> list[str] | None:
    """The last parts of the words of its command line; None of one that is gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    return [Path(word).name for word in words if word]


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        # The command's name stands before it in brackets, and may hold anything.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def holders(pids: Iterable[int]) -> list[int]:
    """Those that hold sessions; all, if no command line tells."""
    known = list(pids)
    return [pid for pid in known if role(pid) in ("connector", "serve")] or known


def find(pids: Sequence[int], name: str, cgroup: str) -> list[int]:
    """Server processes by number, by a word of their command lines, or of a cgroup (its folder below /sys/fs/cgroup).

    Raises `ConfigError` if there is none of those that were named.
    """
    found = list(pids)
    for pid in found:
        if not Path(f"/proc/{pid}").exists():
            raise ConfigError(f"--pids: there is no process {pid} on this machine")
    if cgroup:
        folder = Path("/sys/fs/cgroup") / cgroup.lstrip("/")
        members = [int(line) for path in folder.rglob("cgroup.procs") for line in path.read_text().split()]
        if not members:
            raise ConfigError(f"--cgroup: {folder} has no processes: give its folder below /sys/fs/cgroup")
        found += members
    if name:
        named = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _is_called(path, name)]
        if not named:
            raise ConfigError(f"--process-name: no process here has {name!r} in its command line")
        found += named
    return sorted(set(found))


def _is_called(path: Path, name: str) -> bool:
    with contextlib.suppress(OSError):
        words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
        return name in " ".join(words) and "load" not in words and int(path.name) != os.getpid()
    return False


def slope_kib_per_hour(samples: Sequence[tuple[float, int]]) -> float | None:
    """How fast memory grows: the line of least squares through (seconds, KiB); None for fewer than three."""
    if len(samples) < 3:
        return None
    middle_t = sum(at for at, _ in samples) / len(samples)
    middle_kib = sum(kib for _, kib in samples) / len(samples)
    spread = sum((at - middle_t) ** 2 for at, _ in samples)
    if not spread:
        return None
    return sum((at - middle_t) * (kib - middle_kib) for at, kib in samples) / spread * 3600


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


def machine() -> dict[str, object]:
    """What a result has to be seen beside."""
    return {
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
        "decode_us": round(decode_us(), 3),
    }
