"""The wire: packets come late, in part or not at all, as it is told. Without that, rows about links say nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.cluster.faults.wire import Wire, usable
from tests.ports import free_port

ECHO = """
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    print("ready", flush=True)
    while True:
        with server.accept()[0] as near:
            while data := near.recv(65536):
                near.sendall(data)
"""


@pytest.fixture
def wire() -> Iterator[Wire]:
    if why := usable():
        assert not os.environ.get("CI"), why
        pytest.skip(why)
    made = Wire(os.getpid() * 13 % 65_000)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def echo(wire: Wire) -> Iterator[tuple[str, int]]:
    """A server on the far host."""
    port = free_port()
    command = wire.within(sys.executable, "-c", ECHO, wire.address, str(port))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield wire.address, port
        finally:
            process.kill()


def echoed(address: tuple[str, int], count: int = 20) -> float:
    """Exchange so many lines over a new connection; the shortest time of one, in seconds."""
    times = []
    with socket.create_connection(address, timeout=60) as connection:
        for number in range(count):
            line = f"{number}\n".encode()
            began = time.monotonic()
            connection.sendall(line)
            assert connection.recv(100) == line
            times.append(time.monotonic() - began)
    return min(times)


def test_slow_cut_and_mended(wire: Wire, echo: tuple[str, int]) -> None:
    assert echoed(echo) < 0.2
    wire.slow(100, 0)
    time.sleep(0.2)
    assert echoed(echo, 3) >= 0.2
    wire.cut(echo[1])
    time.sleep(0.2)
    with pytest.raises(TimeoutError):
        socket.create_connection(echo, timeout=1.5)
    wire.cut(1)
    time.sleep(0.2)
    echoed(echo)


def test_what_is_lost_is_sent_again_by_tcp(wire: Wire, echo: tuple[str, int]) -> None:
    wire.slow(0, 10)
    time.sleep(0.2)
    echoed(echo)
    wire.slow(0, 100)
    time.sleep(0.2)
    with pytest.raises(TimeoutError):
        socket.create_connection(echo, timeout=1.5)
