"""The sample configurations for proxies: the programs that they are for accept them, and tell who the clients are."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from protocol.framing import FrameReader, delimit
from protocol.sparrow_pb2 import Frame, Login
from sparrow.config.settings import Settings
from store import StoreSettings, open_store
from tests.bare_metal.machine import ensure, until
from tests.bare_metal.proxying import CLIENT_HOST, PROXIES, SMALL_NGINX, changed, checks, dialled, running
from tests.connector.running_connector import RunningConnector
from tests.ports import free_port
from tests.userapi.running_broker import RunningBroker
from userapi.tokens import TokenMinter


def test_haproxy() -> None:
    command = [ensure("haproxy", "haproxy"), "-c", "-f", PROXIES / "haproxy.cfg"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_nginx(tmp_path: Path) -> None:
    text = (PROXIES / "nginx.conf").read_text()
    copy = tmp_path / "nginx.conf"
    copy.write_text(text.replace("/run/nginx.pid", str(tmp_path / "pid")))
    command = [ensure("nginx", "libnginx-mod-stream"), "-t", "-c", copy, "-e", "stderr"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_silent_clients_are_the_connectors_to_end() -> None:
    silent_s = 2 * Settings().connector.heartbeat_s
    found = [
        *re.findall(r"timeout (?:client|server) (\d+)s", (PROXIES / "haproxy.cfg").read_text()),
        *re.findall(r"proxy_timeout (\d+)s", (PROXIES / "nginx.conf").read_text()),
    ]
    assert len(found) == 3
    assert all(int(limit_s) > silent_s for limit_s in found)


# The same programs with the same configurations, but for addresses, ports and sizes, in front of a real connector.

__all__ = ["checks"]


@pytest.fixture
def connector(tmp_path: Path) -> Iterator[RunningConnector]:
    store = StoreSettings(path=str(tmp_path / "sparrow.db"))

    async def alice() -> None:
        async with open_store(store) as opened:
            await opened.create_account("alice", "")
            await opened.add_device("alice", "a1", "")

    asyncio.run(alice())
    with (
        RunningBroker(store) as broker,
        RunningConnector(tmp_path, proxies=("127.0.0.1",), brokers=(broker.endpoint,)) as running,
    ):
        running.run(running.server.ready())
        yield running


def haproxy(folder: Path, listen: int, to: int, monitor: int) -> list[str]:
    """What runs it."""
    text = changed(
        (PROXIES / "haproxy.cfg").read_text(),
        (r"maxconn \d+", "maxconn 100"),
        (r"bind :7400", f"bind 127.0.0.1:{listen}"),
        (r"check port \d+", f"check port {monitor}"),
        (r"server a 10\.0\.0\.1:7400", f"server a 127.0.0.1:{to}"),
        (r" +server [bc] .*\n", ""),
    )
    (folder / "haproxy.cfg").write_text(text)
    return [ensure("haproxy", "haproxy"), "-db", "-f", str(folder / "haproxy.cfg")]


def nginx(folder: Path, listen: int, to: int, _: int) -> list[str]:
    """What runs it."""
    text = changed(
        (PROXIES / "nginx.conf").read_text(),
        (r"/run/nginx\.pid", str(folder / "pid")),
        *SMALL_NGINX,
        (r"listen 7400", f"listen 127.0.0.1:{listen}"),
        (r"server 10\.0\.0\.1:7400", f"server 127.0.0.1:{to}"),
        (r" +server 10\.0\.0\.[23]:.*\n", ""),
    )
    (folder / "nginx.conf").write_text(text)
    return [ensure("nginx", "libnginx-mod-stream"), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("proxy", [haproxy, nginx], ids=["haproxy", "nginx"])
def test_a_client_behind_it(
    tmp_path: Path,
    connector: RunningConnector,
    checks: tuple[int, list[str]],
    proxy: Callable[[Path, int, int, int], list[str]],
    tls: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It logs in, and the connector knows its own address, and logs it."""
    caplog.set_level(logging.INFO)
    monitor, asked = checks
    port = free_port()
    command = proxy(tmp_path, port, connector.server.port if tls else connector.plain_port, monitor)
    with running(command, tmp_path / "log"), dialled(port) as link:
        own = f"{CLIENT_HOST}:{link.getsockname()[1]}"
        if tls:
            context = ssl.create_default_context(cafile=connector.ca.file)
            link = context.wrap_socket(link, server_hostname="127.0.0.1")
        token, _ = TokenMinter(connector.token_key, 600).mint("alice", "a1", time.time())
        link.sendall(delimit(Frame(login=Login(token=token)).SerializeToString()))
        reader = FrameReader(1 << 16)
        frames: list[bytes] = []
        while not frames:
            data = link.recv(65536)
            assert data, (tmp_path / "log").read_text()
            frames = reader.receive(data)
        assert Frame.FromString(frames[0]).logged_in.user_id == "alice"
        assert connector.address() == own
        assert f" from={own} " in caplog.text
        if proxy is haproxy:
            until(lambda: asked, "nobody asks whether the connector can take clients")
            assert set(asked) == {"/readyz"}
        link.close()
