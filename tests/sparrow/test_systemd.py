"""What systemd is told, on a real datagram socket."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from connector.settings import ConnectorSettings
from sparrow.config.settings import Settings
from sparrow.node import _start_connector
from sparrow.ops import monitor
from sparrow.ops.systemd import ALIVE, READY, Systemd
from tests.ports import free_port
from userapi.keys import ensure_key_pair


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


async def test_a_start_that_waits_counts_as_done_in_time(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Or a machine whose etcd or brokers are away would never come up."""
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    monkeypatch.setattr(monitor, "PATIENCE_S", 0.5)
    manager.setblocking(False)
    ensure_key_pair(tmp_path / "key.pem", tmp_path / "pub.pem")
    settings = Settings(
        connector=ConnectorSettings(
            listen_port=free_port(),
            brokers=(f"tcp://127.0.0.1:{free_port()}",),
            token_public_key_file=str(tmp_path / "pub.pem"),
            stop_timeout_s=0.1,
        )
    )
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30), AsyncExitStack() as stack:
        starting = asyncio.create_task(_start_connector(stack, settings))
        heard = [(await loop.sock_recv(manager, 1000)).decode() for _ in range(2)]
        assert not starting.done()
        assert heard == [
            "STATUS=cannot log_in: no broker is up; cannot deliver: no broker is up; cannot store: no broker is up",
            READY,
        ]
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)


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
