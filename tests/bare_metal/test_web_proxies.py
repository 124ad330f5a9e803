"""The sample configurations for one name over HTTP: the user API and its page at /, WebSocket at /sparrow, in front of
real ones."""

from __future__ import annotations

import re
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from protocol.framing import FrameReader, delimit
from protocol.sparrow_pb2 import Frame, Goodbye, Login
from tests.bare_metal.machine import ensure
from tests.bare_metal.proxying import CLIENT_HOST, GUARD_S, PROXIES, SMALL_NGINX, changed, checks, running
from tests.connector.running_connector import RunningConnector
from tests.ports import free_port
from tests.userapi.running_server import Server, serving

__all__ = ["checks"]

PAGE = "https://chat.example.net"


class Ports(NamedTuple):
    """Of everybody."""

    proxy: int
    websocket: int
    api: int
    monitor: int
    """Of the connector."""


def nginx(folder: Path, ports: Ports, certificate: Path, key: Path) -> list[str]:
    """What runs it."""
    text = changed(
        (PROXIES / "web.nginx.conf").read_text(),
        (r"/run/nginx\.pid", str(folder / "pid")),
        *SMALL_NGINX,
        (r"listen 443", f"listen 127.0.0.1:{ports.proxy}"),
        (r"/etc/sparrow/tls/server\.pem", str(certificate)),
        (r"/etc/sparrow/tls/server\.key", str(key)),
        (r"server 10\.0\.0\.1:7402", f"server 127.0.0.1:{ports.websocket}"),
        (r"server 10\.0\.0\.1:7480", f"server 127.0.0.1:{ports.api}"),
        (r" +server 10\.0\.0\.2:.*\n", ""),
    )
    (folder / "nginx.conf").write_text(text)
    return [ensure("nginx", "libnginx-mod-stream"), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def haproxy(folder: Path, ports: Ports, certificate: Path, key: Path) -> list[str]:
    """What runs it."""
    both = folder / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    text = changed(
        (PROXIES / "web.haproxy.cfg").read_text(),
        (r"maxconn \d+", "maxconn 100"),
        (r"bind :443", f"bind 127.0.0.1:{ports.proxy}"),
        (r"/etc/sparrow/tls/server-with-key\.pem", str(both)),
        (r"check port \d+", f"check port {ports.monitor}"),
        (r"server a 10\.0\.0\.1:7402", f"server a 127.0.0.1:{ports.websocket}"),
        (r"server a 10\.0\.0\.1:7480", f"server a 127.0.0.1:{ports.api}"),
        (r" +server b .*\n", ""),
    )
    (folder / "haproxy.cfg").write_text(text)
    return [ensure("haproxy", "haproxy"), "-db", "-f", str(folder / "haproxy.cfg")]


def caddy(folder: Path, ports: Ports, certificate: Path, key: Path) -> list[str]:
    """What runs it."""
    text = changed(
        (PROXIES / "web.Caddyfile").read_text(),
        (r"chat\.example\.net \{", f"https://127.0.0.1:{ports.proxy} {{\n\ttls {certificate} {key}"),
        (r"10\.0\.0\.1:7402 10\.0\.0\.2:7402", f"127.0.0.1:{ports.websocket}"),
        (r"10\.0\.0\.1:7480 10\.0\.0\.2:7480", f"127.0.0.1:{ports.api}"),
    )
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text)
    return [ensure("caddy", "caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


@pytest.fixture
def connector(tmp_path: Path) -> Iterator[RunningConnector]:
    port = free_port()
    with RunningConnector(tmp_path, plain_websocket_listen_port=port, websocket_origins=(PAGE,)) as running_one:
        yield running_one


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A user API, whose page goes through the proxy alone. It needs no broker for what is asked here."""
    folder = tmp_path_factory.mktemp("api")
    with serving(
        folder, "tcp://127.0.0.1:1", workers=1, connectors=[f"wss{PAGE.removeprefix('https')}/sparrow"]
    ) as made:
        yield made


@pytest.mark.parametrize("proxy", [nginx, haproxy, caddy], ids=["nginx", "haproxy", "caddy"])
def test_a_page_behind_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    connector: RunningConnector,
    api: Server,
    checks: tuple[int, list[str]],
    proxy: Callable[[Path, Ports, Path, Path], list[str]],
) -> None:
    """It comes as it is and is heard, the connector knows its own address whatever it says itself, and other pages are
    refused."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))  # Caddy's
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    ports = Ports(free_port(), connector.settings.plain_websocket_listen_port, api.port, checks[0])
    context = ssl.create_default_context(cafile=connector.ca.file)
    own = {"source_address": (CLIENT_HOST, 0), "ssl": context}
    uri = f"wss://127.0.0.1:{ports.proxy}/sparrow"
    command = proxy(tmp_path, ports, *connector.ca.issue())
    with running(command, tmp_path / "log"):
        _until_it_answers(f"https://127.0.0.1:{ports.proxy}/healthz", context)
        _compare(api.url, f"https://127.0.0.1:{ports.proxy}", context)
        lie = {"X-Forwarded-For": "192.0.2.1"}
        with connect(uri, origin=Origin(PAGE), additional_headers=lie, **own) as page:
            page.send(delimit(Frame(login=Login(token="none")).SerializeToString()))
            said = page.recv(GUARD_S)
            assert isinstance(said, bytes)
            assert Frame.FromString(FrameReader(1 << 16).receive(said)[0]).goodbye.code == Goodbye.BAD_TOKEN
            assert connector.address() == f"{CLIENT_HOST}:0"
        with pytest.raises(InvalidStatus, match="403"):
            connect(uri, origin=Origin("https://evil.example.net"), **own)


def _compare(url: str, proxied: str, context: ssl.SSLContext) -> None:
    """The page, its files, and a refusal are the same through the proxy, with every header that means something."""
    with httpx.Client(trust_env=False, verify=context) as client:
        index = client.get(f"{url}/")
        assert "connect-src 'self' wss://chat.example.net;" in index.headers["Content-Security-Policy"]
        asset = re.findall(r'(?:src|href)="/?(assets/[^"]+)"', index.text)[0]
        for path in ("/", f"/{asset}", "/assets/nothing", "/v1/me"):
            for headers in (
                {"Accept-Encoding": "gzip"},
                {"Accept-Encoding": "identity"},
                {"If-None-Match": index.headers["ETag"]},
            ):
                for method in ("GET", "HEAD"):
                    here = client.request(method, f"{url}{path}", headers=headers)
                    there = client.request(method, f"{proxied}{path}", headers=headers)
                    assert (there.status_code, there.content) == (here.status_code, here.content)
                    meant = {name: value for name, value in here.headers.items() if name not in ("date", "connection")}
                    assert {name: there.headers.get(name) for name in meant} == meant


def _until_it_answers(url: str, context: ssl.SSLContext) -> None:
    deadline = time.monotonic() + GUARD_S
    while True:
        try:
            with urllib.request.urlopen(url, context=context, timeout=GUARD_S) as answer:
                assert answer.status == 200
                return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
