"""The listener with TLS, by itself: connections that come to nothing, in all the ways there are."""

import asyncio
import contextlib
import dataclasses
import os
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from connector import tls
from connector.settings import ConnectorSettings
from connector.tls import Certificate, TlsListener
from protocol.errors import ConfigError
from tests.certificates import Authority

GUARD_S = 30


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(GUARD_S):
        while not condition():
            await asyncio.sleep(0.01)


class Client(asyncio.Protocol):
    """Says what it is told, and counts what happens to it."""

    made: "list[Client]"

    def __init__(self) -> None:
        self.made.append(self)
        self.pending: asyncio.Transport | None = None
        self.transport: asyncio.Transport | None = None
        self.lost = 0

    def accepted(self, transport: asyncio.Transport) -> None:
        self.pending = transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data[::-1])

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost += 1


class Place:
    """A listener, its clients, and what it complains of."""

    def __init__(self, folder: Path) -> None:
        self.ca = Authority(folder)
        certificate, key = self.ca.issue()
        self.settings = ConnectorSettings(
            tls_certificate_file=str(certificate), tls_private_key_file=str(key), login_timeout_s=2.0
        )
        self.clients = Client.made = []
        self.log: list[str] = []
        certificate = Certificate(self.settings)
        self.listener = TlsListener(lambda: certificate.context, self.settings, (), Client, self.log.append)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.listener.sockets[0].getsockname()
        return str(host), int(port)

    async def echo(self) -> bytes:
        context = ssl.create_default_context(cafile=self.ca.file)
        reader, writer = await asyncio.open_connection(*self.address, ssl=context)
        writer.write(b"abc")
        answer = await reader.readexactly(3)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return answer


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path)
    await made.listener.start("127.0.0.1", 0)
    yield made
    made.listener.close()
    await until(lambda: all(client.lost for client in made.clients))


async def test_it_works(place: Place) -> None:
    assert await place.echo() == b"cba"
    await until(lambda: place.clients[0].lost)
    assert (place.clients[0].lost, place.log) == (1, [])


async def test_two_listen_on_one_port_if_both_say_so(tmp_path: Path) -> None:
    place = Place(tmp_path)
    settings = dataclasses.replace(place.settings, reuse_port=True)
    certificate = Certificate(settings)
    one, other = (TlsListener(lambda: certificate.context, settings, (), Client, place.log.append) for _ in range(2))
    await one.start("127.0.0.1", 0)
    port = int(one.sockets[0].getsockname()[1])
    await other.start("127.0.0.1", port)
    with pytest.raises(OSError, match="in use"):
        await place.listener.start("127.0.0.1", port)
    one.close()
    place.listener = other
    assert await place.echo() == b"cba"
    other.close()
    await until(lambda: all(client.lost for client in place.clients))


async def test_nothing_is_written_before_there_is_tls(place: Place) -> None:
    with socket.create_connection(place.address, timeout=GUARD_S) as link:
        link.setblocking(False)
        await until(lambda: place.clients)
        pending = place.clients[0].pending
        assert pending is not None
        pending.write(b"goodbye, in the clear")
        assert (pending.get_write_buffer_size(), pending.is_closing()) == (0, False)
        pending.close()
        assert pending.is_closing()
        assert await asyncio.get_running_loop().sock_recv(link, 100) == b""
    await until(lambda: place.clients[0].lost == 1)


async def test_let_go_before_the_handshake_has_begun(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As happens to one of many that come in the same moment."""
    monkeypatch.setattr(Client, "accepted", lambda _, transport: transport.close())
    with socket.create_connection(place.address, timeout=GUARD_S) as link:
        link.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(link, 100) == b""
    await until(lambda: place.clients[0].lost == 1)


async def test_silence_ends(place: Place) -> None:
    with socket.create_connection(place.address, timeout=GUARD_S) as link:
        link.setblocking(False)
        async with asyncio.timeout(GUARD_S):
            assert await asyncio.get_running_loop().sock_recv(link, 100) == b""
    await until(lambda: place.clients[0].lost == 1)


async def test_one_that_hangs_up_and_one_that_talks_nonsense(place: Place) -> None:
    socket.create_connection(place.address, timeout=GUARD_S).close()
    await until(lambda: place.clients and place.clients[0].lost)
    assert place.log == []
    with socket.create_connection(place.address, timeout=GUARD_S) as link:
        link.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
        await until(lambda: place.log)
    assert place.log[0].startswith("a TLS handshake has failed: ")


async def test_no_descriptors_left(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls, "ACCEPT_AGAIN_S", 0.2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as link:
        link.setblocking(False)
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (max(int(path.name) for path in Path("/proc/self/fd").iterdir()), hard)
        )
        try:
            with contextlib.ExitStack() as stack:
                with contextlib.suppress(OSError):  # all that are left below the limit
                    while True:
                        stack.callback(os.close, os.dup(0))
                await asyncio.get_running_loop().sock_connect(link, place.address)
                await until(lambda: "cannot accept connections" in caplog.text)
                assert place.clients == []
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await until(lambda: place.clients)
    assert await place.echo() == b"cba"


def test_a_taken_port(tmp_path: Path) -> None:
    async def start(port: int) -> None:
        made = Place(tmp_path)
        with pytest.raises(OSError, match="in use"):
            await made.listener.start("127.0.0.1", port)
        made.listener.close()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        asyncio.run(start(taken.getsockname()[1]))


def test_certificates_that_are_no_good(tmp_path: Path) -> None:
    made = Place.__new__(Place)
    made.ca = Authority(tmp_path)
    certificate, key = map(str, made.ca.issue())
    other = str(made.ca.issue("other")[1])
    for files in ((certificate, other), (key, key), (str(tmp_path / "none"), key), (certificate, "")):
        with pytest.raises(ConfigError, match=r"connector\.tls_"):
            Certificate(ConnectorSettings(tls_certificate_file=files[0], tls_private_key_file=files[1]))
