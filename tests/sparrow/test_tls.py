"""TLS for clients, HTTPS for logins: a real node, the client library, and everything that must be refused."""

import asyncio
import contextlib
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import jwt
import pytest

from client import Client, Disconnected, Options, Timing, UserApi
from client.tls import Trust
from protocol.errors import ConfigError, TokenRejectedError, UnreachableError, UntrustedError
from protocol.framing import delimit
from protocol.sparrow_pb2 import Frame, Login, Ping
from tests.certificates import Authority
from tests.ports import free_port
from tests.sparrow.serving import PASSWORD, Node

OPTIONS = Options(open_timeout_s=3.0, timing=Timing(last_retry_s=0.3))
GUARD_S = 30


class Place:
    """A node with TLS everywhere, and who has signed its certificate."""

    def __init__(self, folder: Path) -> None:
        self.ca = Authority(folder)
        certificate, key = self.ca.issue()
        self.plain_port, self.monitor_port = free_port(), free_port()
        self.node = Node(
            folder,
            connector__tls_certificate_file=certificate,
            connector__tls_private_key_file=key,
            userapi__tls_certificate_file=certificate,
            userapi__tls_private_key_file=key,
            connector__plain_listen_port=self.plain_port,
            monitor__listen_port=self.monitor_port,
            connector__max_before_login=50,
            connector__max_sessions=1000,
            connector__login_timeout_s=5,
            connector__max_unacked_bytes=100_000,
            connector__max_write_buffer_bytes=200_000,
            connector__max_frames_per_second=0,
        )
        self.other = self.node.folder / "other"

    def client(self, user: str, **more: object) -> Client:
        arguments = {"password": PASSWORD, "register": True, "api": self.node.api, "ca": self.ca.file} | more
        return Client(user, options=OPTIONS, **arguments)  # type: ignore[arg-type]

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca.file)
        context.set_alpn_protocols(["sparrow/1"])
        return context

    def dial(self) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self.node.port), timeout=GUARD_S)
        return self.context().wrap_socket(raw, server_hostname="127.0.0.1")

    def serial(self) -> int:
        """Of the certificate that new handshakes get."""
        with self.dial() as link:
            return int(str(dict(link.getpeercert() or {})["serialNumber"]), 16)

    def install(self, certificate: Path, key: Path) -> None:
        """Put these where the node's are, as renewal does: by renaming."""
        for source, kind in ((certificate, "crt"), (key, "key")):
            draft = shutil.copy(source, self.node.folder / "draft")
            Path(draft).replace(self.node.folder / f"server.{kind}.pem")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("tls"))
    made.node.start()
    yield made
    assert made.node.stop() == 0, made.node.log
    assert "Traceback" not in made.node.log, made.node.log


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + GUARD_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_two_clients(place: Place) -> None:
    async with place.client("alice") as alice, place.client("bob") as bob:
        sending = await alice.send("bob", "hello")
        await asyncio.wait_for(sending.delivered, GUARD_S)
        async for message in bob:
            assert message.text == "hello"
            break


def test_what_is_negotiated(place: Place) -> None:
    with place.dial() as link:
        assert link.selected_alpn_protocol() == "sparrow/1"
        assert link.version() == "TLSv1.3"
    old = place.context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    raw = socket.create_connection(("127.0.0.1", place.node.port), timeout=GUARD_S)
    with old.wrap_socket(raw, server_hostname="127.0.0.1") as link:
        assert link.version() == "TLSv1.2"


@pytest.mark.parametrize("where", ["api", "connector"])
async def test_another_ca(place: Place, where: str) -> None:
    other = Authority(place.other)
    if where == "api":
        with pytest.raises(UntrustedError, match=r"https://127\.0\.0\.1:\d+ has a certificate that is not trusted"):
            await UserApi(place.node.api, trust=Trust(other.file)).login("alice", PASSWORD)
    began = time.monotonic()
    connector = f"tls://127.0.0.1:{place.node.port}"
    with pytest.raises(UntrustedError, match="not trusted"):
        async with place.client("alice", ca=other.file, token="x", password=None, connectors=[connector]):
            pass
    assert time.monotonic() - began < OPTIONS.open_timeout_s, "it need not wait to find out"


async def test_the_systems_cas_do_not_know_ours(place: Place) -> None:
    with pytest.raises(UntrustedError):
        async with place.client("alice", ca=None):
            pass


async def test_a_wrong_name(place: Place) -> None:
    with pytest.raises(UntrustedError, match="mismatch"):
        async with place.client("alice", token="x", connectors=[f"tls://localhost:{place.node.port}"]):
            pass


async def test_a_plain_client_at_a_tls_port(place: Place) -> None:
    with pytest.raises(UnreachableError, match="cannot log in"):
        async with place.client("alice", token="x", connectors=[f"127.0.0.1:{place.node.port}"]):
            pass
    until(lambda: "a TLS handshake has failed" in place.node.log)


async def test_a_tls_client_at_the_plain_port(place: Place) -> None:
    with pytest.raises(UnreachableError, match="does not speak TLS as we do"):
        async with place.client("alice", token="x", connectors=[f"tls://127.0.0.1:{place.plain_port}"]):
            pass


async def test_the_plain_port_that_was_asked_for(place: Place) -> None:
    async with place.client("carol", connectors=[f"127.0.0.1:{place.plain_port}"]) as carol:
        assert carol.connected


def test_a_file_that_is_no_ca(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    for name in ("ca.pem", "none.pem"):
        with pytest.raises(ConfigError, match="no PEM file"):
            Client("alice", password="x", ca=tmp_path / name)


def test_those_who_connect_and_say_nothing(place: Place) -> None:
    """Handshakes count as connections without a login: the oldest go, others are served meanwhile."""
    links: list[socket.socket] = []
    assert place.node.process is not None
    descriptors = Path(f"/proc/{place.node.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    try:
        for _ in range(600):
            link = socket.create_connection(("127.0.0.1", place.node.port), timeout=GUARD_S)
            links.append(link)
        until(lambda: len(list(descriptors.iterdir())) <= before + 60)
        links[0].settimeout(GUARD_S)
        with contextlib.suppress(ConnectionResetError):
            assert links[0].recv(1) == b""
        place.dial().close()
        # The rest goes by time.
        links[-1].settimeout(GUARD_S)
        with contextlib.suppress(ConnectionResetError):
            assert links[-1].recv(1) == b""
    finally:
        for link in links:
            link.close()


async def test_one_that_never_reads(place: Place) -> None:
    """It is let go at the same limit as without TLS."""
    api = UserApi(place.node.api, trust=Trust(place.ca.file))
    place.node.register("deaf")
    login = await api.login("deaf", PASSWORD)
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.settimeout(GUARD_S)
    raw.connect(("127.0.0.1", place.node.port))
    link = place.context().wrap_socket(raw, server_hostname="127.0.0.1")
    link.sendall(delimit(Frame(login=Login(token=login.token)).SerializeToString()))
    assert link.recv(1000)
    pings = b"".join(delimit(Frame(ping=Ping(n=(1 << 63) + n)).SerializeToString()) for n in range(1000))

    def shout() -> None:
        with contextlib.suppress(OSError):
            for _ in range(20_000):
                link.sendall(pings)

    await asyncio.wait_for(asyncio.to_thread(shout), 4 * GUARD_S)
    until(lambda: "deaf" in place.node.log and "does not read and is let go" in place.node.log)
    link.close()


async def test_an_abrupt_end_in_the_handshake(place: Place) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", place.node.port), timeout=GUARD_S) as link:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            link.sendall(b"\x16\x03\x01")
    async with place.client("alice") as alice:
        assert alice.connected


async def test_a_new_certificate(place: Place) -> None:
    """SIGHUP: new handshakes get the new one, a session goes on; a broken file changes nothing."""
    happened: list[object] = []
    async with place.client("dave", on_event=happened.append) as dave:
        first = place.serial()
        place.install(*place.ca.issue("second"))
        assert place.serial() == first
        place.node.reload()
        until(lambda: place.serial() != first)
        second = place.serial()
        (place.node.folder / "server.crt.pem").write_text("nonsense")
        place.node.reload()
        until(lambda: "the certificate is not changed: " in place.node.log)
        assert place.serial() == second
        sending = await dave.send("dave", "to myself")
        await asyncio.wait_for(sending.sent, GUARD_S)
        assert dave.connected
        assert not any(isinstance(event, Disconnected) for event in happened)
        # HTTPS keeps the last good one as well, and finds the next by itself.
        api = UserApi(place.node.api, trust=Trust(place.ca.file))
        await api.login("dave", PASSWORD)
        place.install(*place.ca.issue("third"))
        place.node.reload()
        until(lambda: place.serial() != second)
        await api.login("dave", PASSWORD)


def end_told(place: Place) -> float:
    """By the node's monitor, in Unix time; the user API's is the same."""
    told = httpx.get(f"http://127.0.0.1:{place.monitor_port}/metrics", trust_env=False).text
    name = "sparrow_certificate_expiration_timestamp_seconds"
    found = dict(re.findall(rf'^{name}{{setting="(\w+).tls_certificate_file"}} (\S+)$', told, re.MULTILINE))
    assert set(found) == {"connector", "userapi"}
    return float(found["connector"]) if found["connector"] == found["userapi"] else float("nan")


async def test_an_expired_certificate(place: Place) -> None:
    """Taken without SIGHUP, with a line in the log; the metric says so, and so does the good one's after it."""
    place.install(*place.ca.issue("old", first_day=-20, last_day=-10))
    until(lambda: end_told(place) < time.time())
    path = place.node.folder / "server.crt.pem"
    for setting in ("connector.tls_certificate_file", "userapi.tls_certificate_file"):
        until(lambda setting=setting: f"{setting}: {path} has expired on" in place.node.log)
    try:
        with pytest.raises(UntrustedError, match="expired"):
            async with place.client("alice", token="x", connectors=[f"tls://127.0.0.1:{place.node.port}"]):
                pass
        with pytest.raises(UntrustedError, match="expired"):
            await UserApi(place.node.api, trust=Trust(place.ca.file)).login("alice", PASSWORD)
    finally:
        place.install(*place.ca.issue("good"))
        until(lambda: _works(place))
    assert end_told(place) > time.time()


def rotate(place: Place, step: str) -> None:
    """One step of the token key's change, and SIGHUP; returns when the node has read it all again."""
    before = place.node.log.count("SIGHUP: keys were read again")
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "sparrow.cli",
        "keys",
        step,
        "token",
        str(place.node.folder / "var"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    place.node.reload()
    until(lambda: place.node.log.count("SIGHUP: keys were read again") > before)


async def test_the_token_key_changes(place: Place) -> None:
    """Nobody is logged out: tokens of the key before are good until it is retired, and so is what renews them."""
    api, happened = UserApi(place.node.api, trust=Trust(place.ca.file)), list[object]()
    connector = f"tls://127.0.0.1:{place.node.port}"
    place.node.register("frank")
    first = await api.login("frank", PASSWORD)
    async with place.client("grace", on_event=happened.append) as grace:
        # A file that is no good changes nothing, and one that is gone is not made anew.
        private = place.node.folder / "var" / "token.key.pem"
        good = private.read_bytes()
        for count, content in enumerate((b"nonsense", None), 1):
            private.write_bytes(content) if content is not None else private.unlink()
            place.node.reload()
            until(lambda count=count: place.node.log.count("nothing is read again: token key") == count)
        private.write_bytes(good)
        private.chmod(0o600)
        for step in ("publish", "use"):
            rotate(place, step)
            async with place.client("frank", token=first.token, password=None, connectors=[connector]) as frank:
                await asyncio.wait_for((await frank.send("grace", "with the old token")).delivered, GUARD_S)
        second = await api.refresh(first.refresh_token)
        names = [jwt.get_unverified_header(login.token)["kid"] for login in (first, second)]
        assert names[0] != names[1]
        rotate(place, "retire")
        with pytest.raises(TokenRejectedError):
            await api.refresh(first.refresh_token)
        third = await api.refresh(second.refresh_token)
        async with place.client("frank", token=third.token, password=None, connectors=[connector]) as frank:
            await asyncio.wait_for((await frank.send("grace", "with a new one")).delivered, GUARD_S)
        assert not any(isinstance(event, Disconnected) for event in happened)
        assert grace.connected


def _works(place: Place) -> bool:
    with contextlib.suppress(ssl.SSLError):
        place.serial()
        return True
    return False


def test_chat(place: Place, tmp_path: Path) -> None:
    def chat(*more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [
                *(sys.executable, "-W", "error", "-m", "sparrow.cli", "chat", "erin", "--plain", "--register"),
                *("--api", place.node.api, "--state", str(tmp_path / "erin.db"), *more),
            ],
            env={**place.node.environment, "SPARROW_PASSWORD": PASSWORD},
            input="@erin hello over TLS\n",
            capture_output=True,
            text=True,
            timeout=2 * GUARD_S,
        )

    refused = chat()
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused
    assert "has a certificate that is not trusted" in refused.stderr
    answer = chat("--ca", str(place.ca.file))
    assert answer.returncode == 0, answer
    assert "hello over TLS" in answer.stdout
