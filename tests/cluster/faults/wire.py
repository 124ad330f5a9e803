"""A host of its own on this machine: a network namespace, and a wire to it that can be slow, lossy and cut.

Owns the namespace, two TUN devices and the process that carries packets between them: IP packets, so that TCP at both
ends does what it does on a bad line. It stands in for `tc netem`, which needs a kernel module that many machines lack.
The far host's address is in 127.0.0.0/8, so servers that listen on 127.0.0.1 are reached from there as they are. Root.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import selectors
import struct
import subprocess
import sys
import time
from pathlib import Path

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x1, 0x1000
MTU_BYTES = 1500
TCP = 6
MAX_WAITING = 20_000
"""Packets under way; a wire that is as full as that drops."""


def usable() -> str:
    """Why there can be no wire here; empty if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    return ""


class Wire:
    """The wire, seen from the test. Whole and fast until it is told otherwise."""

    def __init__(self, number: int) -> None:
        """`number`: from 1 to 65,000, other than that of any other wire on this machine."""
        self.namespace = f"sparrow-{number}"
        self.address = f"127.{100 + number // 256 % 100}.{number % 256}.9"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.faults.wire", self.namespace, self.address],
            cwd=Path(__file__).resolve().parents[3],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", "the wire is not there; see above"

    def within(self, *command: str) -> list[str]:
        """A command line, as it runs on the far host."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def cut(self, *ports: int) -> None:
        """Carry no TCP packet to or from these ports any more."""
        self._say("cut", *ports)

    def slow(self, delay_ms: int, loss_percent: int) -> None:
        """Delay all packets, and lose some, each way."""
        self._say("slow", delay_ms, loss_percent)

    def mend(self) -> None:
        """Whole and fast again."""
        self._say("mend")

    def _say(self, *words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """The far host and all its links are gone; whoever runs there should have ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


# The process that carries.


def _tun(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _lay(namespace: str, address: str) -> tuple[int, int]:
    """Make the namespace and the devices; returns the near and the far end."""
    near_name, far_name = f"{namespace[:13]}-n", f"{namespace[:13]}-f"
    near, far = _tun(near_name), _tun(far_name)
    _ip("netns", "add", namespace)
    _ip("link", "set", far_name, "netns", namespace)
    # Addresses in 127.0.0.0/8 leave by a device, and are accepted from one, only where this is set.
    Path(f"/proc/sys/net/ipv4/conf/{near_name}/route_localnet").write_text("1")
    _ip("link", "set", near_name, "mtu", str(MTU_BYTES), "up")
    _ip("route", "add", f"{address}/32", "dev", near_name, "src", "127.0.0.1", "table", "local")
    inside = (
        f"echo 1 > /proc/sys/net/ipv4/conf/{far_name}/route_localnet && "
        f"ip link set {far_name} mtu {MTU_BYTES} up && ip address add {address}/32 dev {far_name} && "
        f"ip route add 127.0.0.0/8 dev {far_name} src {address}"
    )
    _ip("netns", "exec", namespace, "sh", "-c", inside)
    return near, far


class _Carrier:
    """Takes packets from each end to the other."""

    def __init__(self, near: int, far: int) -> None:
        self._other = {near: far, far: near}
        self._waiting: list[tuple[float, int, int, bytes]] = []
        self._number = 0
        self._random = random.Random(1)
        self.mend()

    def mend(self) -> None:
        self._cut: frozenset[int] = frozenset()
        self._delay_s = 0.0
        self._loss = 0.0

    def told(self, words: list[str]) -> None:
        self.mend()
        if words[0] == "cut":
            self._cut = frozenset(map(int, words[1:]))
        elif words[0] == "slow":
            self._delay_s, self._loss = int(words[1]) / 1000, int(words[2]) / 100

    def readable(self, end: int) -> None:
        """Take what is there."""
        other = self._other[end]
        for _ in range(64):
            try:
                packet = os.read(end, 65536)
            except BlockingIOError:
                return
            if self._dropped(packet):
                continue
            if self._delay_s or self._waiting:
                self._number += 1
                heapq.heappush(self._waiting, (time.monotonic() + self._delay_s, self._number, other, packet))
            else:
                _put(other, packet)

    def _dropped(self, packet: bytes) -> bool:
        if self._cut and packet[0] >> 4 == 4 and packet[9] == TCP:
            ports = struct.unpack_from("!HH", packet, (packet[0] & 15) * 4)
            return not self._cut.isdisjoint(ports)
        return len(self._waiting) >= MAX_WAITING or (self._loss > 0 and self._random.random() < self._loss)

    def due(self) -> float | None:
        """Deliver what has waited for long enough; returns how many seconds until the next."""
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            _, _, other, packet = heapq.heappop(self._waiting)
            _put(other, packet)
        return max(0.0, self._waiting[0][0] - now) if self._waiting else None


def _put(end: int, packet: bytes) -> None:
    try:
        os.write(end, packet)
    except OSError:
        return  # a full queue, or a host that is going: the packet is lost, as on any wire


def main() -> None:
    """Carry, until standard input ends."""
    namespace, address = sys.argv[1:]
    try:
        near, far = _lay(namespace, address)
        carrier = _Carrier(near, far)
        selector = selectors.DefaultSelector()
        for fd in (near, far, 0):
            selector.register(fd, selectors.EVENT_READ)
        print("ready", flush=True)
        while True:
            for key, _ in selector.select(carrier.due()):
                if key.fd != 0:
                    carrier.readable(key.fd)
                elif told := os.read(0, 4096):
                    for line in told.decode().splitlines():
                        carrier.told(line.split())
                else:
                    return
    finally:
        subprocess.run(["ip", "netns", "del", namespace], check=False)


if __name__ == "__main__":
    main()
