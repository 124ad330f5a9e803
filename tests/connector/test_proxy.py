"""PROXY headers: read from any pieces and never beyond their end, and on real sockets, with TLS and without."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from hypothesis import example, given
from hypothesis import strategies as st

from connector.proxy import MAX_HEADER_BYTES, SIGNATURE_BYTES, ProxyHeader, address_text, expected_header
from connector.server import ConnectorServer
from fabric.networks import parse_networks
from protocol.errors import ConfigError, ProxyHeaderError
from protocol.framing import FrameReader, delimit
from protocol.sparrow_pb2 import Frame, Goodbye, Login
from tests.connector.proxy_headers import LOCAL, OTHER, PROXY, TCP4, TCP6, UNIX, V2, field, v1, v2, v2_from
from tests.connector.running_connector import GUARD_S, RunningConnector, until

PORTS = st.integers(0, 65535)
FIELDS = st.lists(st.builds(field, st.integers(4, 255), st.binary(max_size=100)), max_size=5).map(b"".join)


@st.composite
def headers(draw: st.DrawFn) -> tuple[bytes, str]:
    """A header, and the address that it gives."""
    what = draw(st.sampled_from(["v1", "v2", "local", "unknown", "unknown v1", "unix"]))
    source = draw(st.ip_addresses())
    port = draw(PORTS)
    mapped = getattr(source, "ipv4_mapped", None)
    expected = address_text(str(mapped or source), port)
    match what:
        case "v1":
            return v1(f"TCP{source.version}", source, port), expected
        case "v2":
            return v2_from(source, port, draw(FIELDS)), expected
        case "local":
            return v2(LOCAL, draw(st.sampled_from([0, TCP4])), draw(FIELDS)), ""
        case "unknown":
            return v2(PROXY, draw(st.sampled_from([0, OTHER])), draw(st.binary(max_size=300))), ""
        case "unknown v1":
            return b"PROXY UNKNOWN" + draw(st.sampled_from([b"", b" ::1 ::1 1 2"])) + b"\r\n", ""
        case _:
            return v2(PROXY, UNIX, b"/run/a".ljust(108, b"\0") * 2), ""


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut there."""
    edges = sorted(cut % (len(data) + 1) for cut in cuts)
    return [data[a:b] for a, b in zip([0, *edges], [*edges, len(data)], strict=True)]


@given(headers(), st.binary(max_size=50), st.lists(st.integers(0, 1000), max_size=8))
@example((v1("TCP4", "1.2.3.4", 567), "1.2.3.4:567"), b"\n", list(range(60)))
@example((v1("TCP6", "::1", 567), "[::1]:567"), b"", [])
@example((v1("TCP6", "::ffff:1.2.3.4", 567), "1.2.3.4:567"), b"", [])
@example((v1("TCP6", "fe80::1%a\x1b[2Jb", 567), "[fe80::1]:567"), b"", [])
@example((v2(LOCAL, 0, b""), ""), v2(LOCAL, 0, b""), [])
def test_any_header_in_any_pieces(made: tuple[bytes, str], behind: bytes, cuts: list[int]) -> None:
    data, address = made
    header = ProxyHeader("10.0.0.5")
    rest = b"".join(header.receive(piece) for piece in in_pieces(data + behind, cuts))
    assert (header.wanted, header.address, rest) == (0, address, behind)


@given(headers(), st.integers(1, 100))
def test_whoever_reads_what_is_wanted_reads_nothing_else(made: tuple[bytes, str], at_once: int) -> None:
    data, address = made
    header = ProxyHeader("10.0.0.5")
    at = 0
    while header.wanted:
        assert at + header.wanted <= len(data), "wants what is behind it"
        piece = data[at : at + min(header.wanted, at_once)]
        assert header.receive(piece) == b""
        at += len(piece)
    assert (at, header.address) == (len(data), address)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A header with a few bytes changed, cut off, or put in."""
    data = draw(headers())[0]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=3)) + data[at + draw(st.integers(0, 3)) :]
    return data


@given(
    damaged()
    | st.binary(max_size=100)
    | st.builds(lambda line: b"PROXY " + line, st.binary(max_size=200))
    | st.builds(v2, st.integers(0x20, 0x22), st.integers(0, 255), st.binary(max_size=300))
)
@example(v2(PROXY, TCP4, b""))
@example(v2(PROXY, TCP6, b"x" * 12))
@example(v2(PROXY, UNIX, b"\xff" * 216))
@example(v2(PROXY, TCP4, bytes(12) + field(3, b"no checksum")))
@example(v1("TCP4", "1.2.3.4", 65536))
def test_anything_else_is_our_error_or_not_the_end(data: bytes) -> None:
    header = ProxyHeader("10.0.0.5")
    said = ""
    with contextlib.suppress(ProxyHeaderError):
        rest = header.receive(data)
        said = header.address
        assert not (rest and header.wanted)
    assert said.isprintable()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"GET / HTTP/1.1\r\n", "no PROXY header"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", "no PROXY header"),
        (b"PROXY TCP4 1.2.3.4\r\n", "a PROXY header that is malformed"),
        (b"PROXY \r\n", "a PROXY header that is malformed"),
        (v2(PROXY, TCP4, b"123"), "a PROXY header that is malformed"),
        (V2 + b"\x11\x11\0\0", "a PROXY header that is malformed"),
        (v2(PROXY, TCP4, bytes(MAX_HEADER_BYTES))[:16], "a PROXY header above 2048 bytes"),
        (b"PROXY " + b"x" * MAX_HEADER_BYTES, "a PROXY header above 2048 bytes"),
    ],
)
def test_what_is_said_of_it(data: bytes, says: str) -> None:
    with pytest.raises(ProxyHeaderError, match=f"^the proxy ::1 sent {says}: say send-proxy-v2 .* connector.proxies$"):
        ProxyHeader("::1").receive(data)


def test_the_longest() -> None:
    fields = field(224, bytes(MAX_HEADER_BYTES - 16 - 12 - 3))
    data = v2_from(ipaddress.IPv4Address("1.2.3.4"), 5, fields)
    assert len(data) == MAX_HEADER_BYTES
    header = ProxyHeader("10.0.0.5")
    assert header.receive(data) == b""
    assert header.address == "1.2.3.4:5"


def test_who_begins_with_one() -> None:
    proxies = parse_networks("connector.proxies", ["10.0.0.5", "10.1.0.0/16", "fd00::/8"])
    for host in ("10.0.0.5", "10.1.2.3", "fd12::1"):
        header = expected_header(host, proxies)
        assert header is not None
        assert header.wanted == SIGNATURE_BYTES
    for host in ("10.0.0.6", "127.0.0.1", "::1", "fe80::1%lo"):
        assert expected_header(host, proxies) is None
    assert expected_header("10.0.0.5", ()) is None


# On real sockets.

PROXY_HOST, STRANGER_HOST = "127.0.0.2", "127.0.0.3"
HEADERS = {
    "v1": v1("TCP4", "203.0.113.9", 567),
    "v2": v2_from(ipaddress.IPv4Address("203.0.113.9"), 567, field(4, bytes(40))),
}
LOGIN = delimit(Frame(login=Login(token="nonsense" * 20)).SerializeToString())


class Place(RunningConnector):
    """A connector without a broker, and how to call it."""

    def dial(self, port: str, host: str = PROXY_HOST) -> socket.socket:
        """Connect from `host`; who was there before is forgotten."""
        self.server.clients.clear()
        number = self.server.port if port == "tls" else self.plain_port
        return socket.create_connection(("127.0.0.1", number), timeout=GUARD_S, source_address=(host, 0))

    def talk(self, port: str, link: socket.socket) -> socket.socket:
        """What frames go through: TLS, at the port for it."""
        if port == "plain":
            return link
        context = ssl.create_default_context(cafile=self.ca.file)
        return context.wrap_socket(link, server_hostname="127.0.0.1")

    def is_over(self) -> bool:
        """Nobody is connected."""
        return not self.server.core.connections


def goodbye(link: socket.socket) -> Goodbye:
    """What is said in the end."""
    reader = FrameReader(1 << 16)
    frames: list[bytes] = []
    with link, contextlib.suppress(ConnectionResetError):
        while data := link.recv(65536):
            frames += reader.receive(data)
    return Frame.FromString(frames[-1]).goodbye if frames else Goodbye()


either_loop = pytest.fixture(
    scope="module", params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


@contextlib.contextmanager
def running(loop: Callable[[], asyncio.AbstractEventLoop], folder: Path, login_timeout_s: float) -> Iterator[Place]:
    with Place(folder, loop, proxies=("10.0.0.0/8", PROXY_HOST), login_timeout_s=login_timeout_s) as made:
        yield made


@either_loop
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running(request.param, tmp_path_factory.mktemp("proxy"), 2.0) as made:
        yield made


HASTY_S = 0.4


@either_loop
def hasty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One that does not wait for long."""
    with running(request.param, tmp_path_factory.mktemp("hasty"), HASTY_S) as made:
        yield made


both_ports = pytest.mark.parametrize("port", ["plain", "tls"])


@both_ports
@pytest.mark.parametrize("version", HEADERS)
def test_behind_a_proxy(place: Place, port: str, version: str) -> None:
    link = place.dial(port)
    link.sendall(HEADERS[version])
    link = place.talk(port, link)
    until(lambda: place.address() == "203.0.113.9:567")
    link.sendall(LOGIN)
    assert goodbye(link).code == Goodbye.BAD_TOKEN
    until(place.is_over)


@pytest.mark.parametrize("version", HEADERS)
def test_header_and_first_frame_in_one_segment(place: Place, version: str) -> None:
    link = place.dial("plain")
    link.sendall(HEADERS[version] + LOGIN)
    assert goodbye(link).code == Goodbye.BAD_TOKEN
    assert place.address() == "203.0.113.9:567"
    until(place.is_over)


@pytest.mark.parametrize("version", HEADERS)
def test_header_and_the_beginning_of_tls_in_one_segment(place: Place, version: str) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=place.ca.file)
    tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with place.dial("tls") as link:
        prefix = HEADERS[version]
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                link.sendall(prefix + outgoing.read())
                prefix = b""
                answer = link.recv(65536)
                assert answer, "the handshake has come to nothing"
                incoming.write(answer)
        tls.write(LOGIN)
        link.sendall(outgoing.read())
        until(lambda: place.address() == "203.0.113.9:567")
    until(place.is_over)


@both_ports
@pytest.mark.parametrize("version", HEADERS)
def test_byte_by_byte(place: Place, port: str, version: str) -> None:
    link = place.dial(port)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    for byte in HEADERS[version] + (LOGIN if port == "plain" else b""):
        link.sendall(bytes([byte]))
        time.sleep(0.001)
    link = place.talk(port, link)
    if port == "tls":
        link.sendall(LOGIN)
    assert goodbye(link).code == Goodbye.BAD_TOKEN
    assert place.address() == "203.0.113.9:567"
    until(place.is_over)


@both_ports
def test_a_proxy_that_speaks_for_itself(place: Place, port: str) -> None:
    link = place.dial(port)
    own = address_text(*link.getsockname())
    link.sendall(v2(LOCAL, 0, b""))
    link = place.talk(port, link)
    until(lambda: place.address() == own)
    link.sendall(LOGIN)
    assert goodbye(link).code == Goodbye.BAD_TOKEN
    until(place.is_over)


@both_ports
def test_a_proxy_that_sends_no_header(place: Place, port: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        link = place.dial(port)
        if port == "plain":
            link.sendall(LOGIN)
            assert goodbye(link) == Goodbye()
        else:
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                place.talk(port, link)
            link.close()
    until(place.is_over)
    until(lambda: f"the proxy {PROXY_HOST} sent no PROXY header: say send-proxy-v2" in caplog.text)
    assert "Traceback" not in caplog.text


@both_ports
def test_a_malformed_header_and_what_follows_it(place: Place, port: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    link = place.dial(port)
    link.sendall(v2(PROXY, TCP4, b"short") + LOGIN)
    assert goodbye(link) == Goodbye()
    until(place.is_over)
    until(lambda: "sent a PROXY header that is malformed" in caplog.text)


@both_ports
@pytest.mark.parametrize("begins", [b"", HEADERS["v1"][:20], HEADERS["v2"][:20]], ids=["silent", "v1", "v2"])
def test_one_that_hangs_up(place: Place, port: str, begins: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """As checks that only connect do."""
    caplog.set_level(logging.INFO)
    with place.dial(port) as link:
        link.sendall(begins)
        until(lambda: place.server.clients)
    until(place.is_over)
    assert "the proxy" not in caplog.text


@both_ports
@pytest.mark.parametrize("begins", [b"", HEADERS["v1"][:20]], ids=["silent", "halfway"])
def test_the_time_for_a_login_is_the_headers_too(hasty: Place, port: str, begins: bytes) -> None:
    began = time.monotonic()
    link = hasty.dial(port)
    link.sendall(begins)
    said = goodbye(link)
    assert said.code == (Goodbye.NOT_LOGGED_IN if port == "plain" else Goodbye().code)
    assert 0.75 * HASTY_S < time.monotonic() - began < GUARD_S
    until(hasty.is_over)


@both_ports
def test_a_stranger_needs_none(place: Place, port: str) -> None:
    link = place.dial(port, STRANGER_HOST)
    own = address_text(*link.getsockname())
    link = place.talk(port, link)
    until(lambda: place.address() == own)
    link.sendall(LOGIN)
    assert goodbye(link).code == Goodbye.BAD_TOKEN
    until(place.is_over)


@both_ports
@pytest.mark.parametrize("version", HEADERS)
def test_a_stranger_who_sends_one(place: Place, port: str, version: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is not believed."""
    caplog.set_level(logging.INFO)
    link = place.dial(port, STRANGER_HOST)
    own = address_text(*link.getsockname())
    link.sendall(HEADERS[version] + LOGIN)
    said = goodbye(link)
    if port == "plain":
        assert said.code == Goodbye.MALFORMED
    until(place.is_over)
    assert place.address() in (own, "?:0")
    expected = "protocol breach by a stranger" if port == "plain" else "a TLS handshake has failed"
    until(lambda: expected in caplog.text)


def test_proxies_that_are_none(place: Place) -> None:
    async def make() -> None:
        settings = dataclasses.replace(place.settings, proxies=("proxy.example.net",))
        with pytest.raises(ConfigError, match=r'connector\.proxies: "proxy\.example\.net" is no address or network'):
            ConnectorServer(settings, place.context)

    place.run(make())
