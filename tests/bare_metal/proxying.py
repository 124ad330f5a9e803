"""Real proxies with the sample configurations, for tests: how they are run, and what stands around them.

Owns these processes, a monitor that says that all is well, and the address that clients come from.
"""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.bare_metal.machine import ROOT

PROXIES = ROOT / "scripts" / "proxies"
SMALL_NGINX = (
    (r"worker_processes auto", "daemon off; worker_processes 1"),
    (r"worker_rlimit_nofile \d+", "worker_rlimit_nofile 200"),
    (r"worker_connections \d+", "worker_connections 100"),
)
"""What makes nginx one process of a test's own: for `changed`."""
GUARD_S = 30.0
CLIENT_HOST = "127.0.0.2"
"""The proxies and the connector are 127.0.0.1."""


class Ready(BaseHTTPRequestHandler):
    """A monitor that says that its connector can take clients; to whoever speaks HTTP from the first byte on."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """A test need not tell."""


@pytest.fixture
def checks() -> Iterator[tuple[int, list[str]]]:
    """The port of such a monitor, and what it was asked."""
    Ready.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port, Ready.asked
        server.shutdown()
        thread.join()


def changed(text: str, *changes: tuple[str, str]) -> str:
    """A sample with other addresses, ports and sizes: a pattern that must be there, and what comes in its place."""
    for pattern, to in changes:
        text, count = re.subn(pattern, to, text)
        assert count, f"the sample has no {pattern} any more"
    return text


@contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    """A program, until the block ends; it must live as long."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(GUARD_S)


def dialled(port: int) -> socket.socket:
    """A client's connection to the proxy, as soon as that listens."""
    deadline = time.monotonic() + GUARD_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=GUARD_S, source_address=(CLIENT_HOST, 0))
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
