"""What systemd is told, on a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparrow.ops.systemd import ALIVE, READY, Systemd


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """systemd's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.settimeout(10)
        yield end


def test_facts_arrive(manager: socket.socket) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": manager.getsockname()})
    systemd.tell(READY, "STATUS=well")
    assert manager.recv(1000) == b"READY=1\nSTATUS=well"
    systemd.reloading()
    assert manager.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")


def test_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0sparrow-test-{os.getpid()}")
        end.settimeout(10)
        Systemd({"NOTIFY_SOCKET": f"@sparrow-test-{os.getpid()}"}).tell(ALIVE)
        assert end.recv(1000) == b"WATCHDOG=1"


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    Systemd({}).tell(READY)
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).tell(READY)


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_how_often_it_wants_to_hear(environ: dict[str, str], wanted: float) -> None:
    assert Systemd(environ).watchdog_s == wanted
