"""Logins that come late: on connections that their clients gave up long ago, at a connector that stood still or over a
slow network. They must not replace the session that a client has begun since."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from protocol.framing import FrameReader, delimit
from protocol.sparrow_pb2 import Frame, Goodbye, Login, Message, Ping
from tests.cluster.devices import Address
from tests.cluster.processes import Deployment
from tests.cluster.story import start

pytestmark = pytest.mark.slow

NAME = "alice/a1"
START = 0x1234567890ABCDEF


class Link:
    """One connection, spoken by hand."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(address, timeout=10)
        self._reader = FrameReader(1 << 20)
        self._frames: list[Frame] = []

    def next(self) -> Frame:
        """The server's next frame."""
        while not self._frames:
            data = self.socket.recv(65536)
            assert data, "the connection has ended"
            self._frames += [Frame.FromString(payload) for payload in self._reader.receive(data)]
        return self._frames.pop(0)

    def logs_in(self, token: str, tries: int, start: int = START, keep: int = 0) -> bytes:
        """Says Login, but for its last `keep` bytes, which are returned."""
        login = Login(token=token, start=start, tries=tries if start else 0)
        data = delimit(Frame(login=login).SerializeToString())
        self.socket.sendall(data[: len(data) - keep])
        return data[len(data) - keep :]

    def welcome(self) -> None:
        assert self.next().HasField("logged_in")

    def lives(self, n: int = 7) -> None:
        """It answers a ping."""
        self.socket.sendall(delimit(Frame(ping=Ping(n=n)).SerializeToString()))
        frame = self.next()
        assert frame.pong.n == n, frame


@pytest.fixture
def links() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def link(links: contextlib.ExitStack, address: Address) -> Link:
    made = Link(address)
    links.callback(made.socket.close)
    return made


ENDS = ("closed", "half-closed", "left open", "reset")
"""How clients give up the connection on which they have said Login."""
LOGIN_TIMEOUT_S = 5.0
OLD_S = LOGIN_TIMEOUT_S + 0.5
"""By then a Login is too old, whoever said it."""
LEASE_S = 3.0


@pytest.fixture
def deployed() -> dict[str, object]:
    """Less time than usually is long."""
    return {"connector__login_timeout_s": LOGIN_TIMEOUT_S, "broker__lease_s": LEASE_S}


async def test_logins_in_the_sockets_of_a_connector_that_stood_still(
    deployment: Deployment, links: contextlib.ExitStack
) -> None:
    """Each of a device of its own: of clients that tell which try it is, and of 0.1."""
    broker, one, two = deployment.broker(), deployment.connector(), deployment.connector()
    await start(broker, one, two)
    names = {
        f"alice/{letter}{number}": (end, number)
        for number in (0, START)
        for letter, end in zip("abcd", ENDS, strict=True)
    }
    tokens = await deployment.tokens(names)
    one.pause()
    live = {}
    for name, (end, number) in names.items():
        given_up = link(links, one.address)
        given_up.logs_in(tokens[name], 1, number)
        if end == "reset":
            given_up.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if end == "half-closed":
            given_up.socket.shutdown(socket.SHUT_WR)
        elif end != "left open":
            given_up.socket.close()
        live[name] = link(links, two.address)
        live[name].logs_in(tokens[name], 2, number)
        live[name].welcome()
    await asyncio.sleep(OLD_S)
    one.resume()
    await asyncio.sleep(2.0)
    for session in live.values():
        session.lives()


async def test_the_last_byte_of_a_login_comes_late(deployment: Deployment, links: contextlib.ExitStack) -> None:
    broker, one, two = deployment.broker(), deployment.connector(), deployment.connector()
    await start(broker, one, two)
    token = (await deployment.tokens([NAME]))[NAME]
    wifi = link(links, one.address)
    last = wifi.logs_in(token, 1, keep=1)
    mobile = link(links, two.address)
    mobile.logs_in(token, 2)
    mobile.welcome()
    wifi.socket.sendall(last)
    assert wifi.next().goodbye.code == Goodbye.REPLACED
    mobile.lives()
    # Of two starts, the later counts.
    other = link(links, one.address)
    other.logs_in(token, 1, start=START + 1)
    other.welcome()
    assert mobile.next().goodbye.code == Goodbye.REPLACED
    other.lives()


async def test_what_was_said_on_a_session_before_the_standstill_is_taken(
    deployment: Deployment, links: contextlib.ExitStack
) -> None:
    """It waits until brokers were heard, and is lost no more than anything."""
    broker, one = deployment.broker(), deployment.connector()
    await start(broker, one)
    token = (await deployment.tokens([NAME, "bob/b1"]))[NAME]
    for pause_s in (0.5 * LEASE_S, 1.5 * LEASE_S):
        alice = link(links, one.address)
        alice.logs_in(token, 1, start=START + int(pause_s))
        alice.welcome()
        one.pause()
        message = Message(stream=int(pause_s) + 1, id=1, settled=1, dest_id="bob", kind=1, body=b"hi")
        said = delimit(Frame(message=message).SerializeToString())
        alice.socket.sendall(said)
        await asyncio.sleep(pause_s)
        one.resume()
        while (frame := alice.next()).failed.retry_after_ms:  # a broker that was away for the connector
            await asyncio.sleep(0.2)
            alice.socket.sendall(said)
        assert list(frame.receipt.ids) == [1]
        alice.lives()
