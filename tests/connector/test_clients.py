"""Clients' sockets: what the kernel tells of them, and holding back."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector import clients
from connector.clients import TURN_BYTES, ClientConnection
from tests.connector.running_connector import GUARD_S, RunningConnector, until


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningConnector]:
    with RunningConnector(tmp_path) as made:
        yield made


def connect(running: RunningConnector, tls: bool) -> socket.socket:
    """A client, of which the connector knows."""
    known = len(running.server.clients)
    link = socket.create_connection(("127.0.0.1", running.server.port if tls else running.plain_port), timeout=GUARD_S)
    if tls:
        context = ssl.create_default_context(cafile=str(running.ca.file))
        link = context.wrap_socket(link, server_hostname="127.0.0.1")
    until(lambda: len(running.server.clients) > known)
    return link


def asked_after_a_standstill(running: RunningConnector, meanwhile: Any) -> float | None:
    """What it is told of its last client before it has read anything of what came meanwhile."""

    async def stand_still() -> float | None:
        meanwhile()
        time.sleep(0.3)
        return running.server.clients[-1].silent_s()

    return running.run(stand_still())


@pytest.mark.parametrize("tls", [False, True])
def test_the_kernel_tells_of_the_end_behind_bytes_that_were_not_read(running: RunningConnector, tls: bool) -> None:
    def says_and_closes() -> None:
        link.send(b"\x10half a frame")
        link.close()

    link = connect(running, tls)
    time.sleep(0.3)
    silent_s = running.run(_silent(running))
    assert silent_s is not None
    assert silent_s >= 0.2
    assert asked_after_a_standstill(running, says_and_closes) is None


def test_a_half_closed_connection_counts_as_closed(running: RunningConnector) -> None:
    with connect(running, tls=False) as link:
        assert asked_after_a_standstill(running, lambda: link.shutdown(socket.SHUT_WR)) is None
        assert link.recv(1) == b""


def test_bytes_that_wait_are_as_old_as_they_are(running: RunningConnector) -> None:
    with connect(running, tls=False) as link:
        silent_s = asked_after_a_standstill(running, lambda: link.send(b"\x10half a frame"))
        assert silent_s is not None
        assert silent_s >= 0.25


async def _silent(running: RunningConnector) -> float | None:
    return running.server.clients[-1].silent_s()


class Transport:
    """As much of one as this takes."""

    def __init__(self, one: Any = None) -> None:
        self.reads = True
        self._socket = one

    def get_extra_info(self, name: str) -> Any:
        return self._socket

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


class Server:
    """As much of one."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.busy: list[ClientConnection] = []

    def opened(self, connection: ClientConnection) -> object:
        return object()

    def received(self, session: object, data: bytes) -> None:
        self.heard.append(data)

    def has_more(self, connection: ClientConnection) -> None:
        self.busy.append(connection)

    def lost(self, connection: ClientConnection, session: object) -> None:
        pass


class Broken:
    """A socket that tells nothing, or too little."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer

    def getsockopt(self, *_: object) -> bytes:
        if self.answer is None:
            raise OSError
        return self.answer


@pytest.mark.parametrize("one", [None, Broken(None), Broken(b"\x01")])
def test_a_system_that_does_not_tell(one: Any) -> None:
    connection = ClientConnection(Server())  # type: ignore[arg-type]
    connection.connection_made(Transport(one))  # type: ignore[arg-type]
    assert connection.silent_s() == 0.0


def test_a_system_that_does_not_know_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "_TCP_INFO", None)
    connection = ClientConnection(Server())  # type: ignore[arg-type]
    connection.connection_made(Transport(Broken(bytes(104))))  # type: ignore[arg-type]
    assert connection.silent_s() == 0.0


def test_a_client_that_is_held_is_not_read() -> None:
    server, transport = Server(), Transport()
    connection = ClientConnection(server)  # type: ignore[arg-type]
    connection.connection_made(transport)  # type: ignore[arg-type]
    connection.hold(True)
    assert not transport.reads
    connection.hold(False)
    assert transport.reads
    # What waits for its turn waits on.
    connection.data_received(b"x" * (TURN_BYTES + 1))
    assert server.busy == [connection]
    connection.hold(True)
    assert not connection.next_turn()
    assert not server.heard
    connection.hold(False)
    assert server.busy == [connection, connection]
    assert connection.next_turn()
    connection.hold(True)
    connection._held = True
    connection.hold(False)
    assert not connection.next_turn()
    assert transport.reads
    assert sum(map(len, server.heard)) == TURN_BYTES + 1
    connection.connection_lost(None)
    connection.hold(True)
    assert transport.reads


def test_a_hold_that_comes_with_the_last_turn() -> None:
    server, transport = Server(), Transport()
    connection = ClientConnection(server)  # type: ignore[arg-type]
    connection.connection_made(transport)  # type: ignore[arg-type]
    server.received = lambda session, data: connection.hold(True)  # type: ignore[method-assign]
    connection.data_received(b"x" * (TURN_BYTES + 1))
    connection.next_turn()
    assert not transport.reads


def test_what_strangers_do_is_marked_in_the_log(running: RunningConnector, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with socket.create_connection(("127.0.0.1", running.plain_port), timeout=GUARD_S) as stranger:
        stranger.sendall(b"\xff" * 6)
        while stranger.recv(4096):
            pass
    until(lambda: any("breach" in text for text in caplog.messages))
    said = [record for record in caplog.records if "breach" in record.getMessage()]
    assert [getattr(record, "by_strangers", False) for record in said] == [True]


@pytest.mark.parametrize("tls", [False, True])
def test_a_client_that_does_not_read_is_behind(running: RunningConnector, tls: bool) -> None:
    """What matters only now is not written behind what its socket has not taken."""
    with connect(running, tls) as link:
        one = running.server.clients[-1]

        async def write() -> bool:
            one.transport.write(b"x" * 65536)
            return running.server.is_behind(one)

        async def is_behind() -> bool:
            return running.server.is_behind(one)

        assert not running.run(is_behind())
        until(
            lambda: running.run(write()) and running.run(is_behind()) and one.transport.get_write_buffer_size() > 65536
        )
        link.settimeout(0.2)

        def read_all() -> bool:
            try:
                while link.recv(1 << 20):
                    pass
            except TimeoutError:
                pass
            return not running.run(is_behind())

        until(read_all)
