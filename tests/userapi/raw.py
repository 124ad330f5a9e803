"""Raw sockets to a user API: clients that send halves, wait, or speak no HTTP."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any, NamedTuple

HEAD = b"POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


class Reply(NamedTuple):
    """An answer, as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """Of the problem detail that it must be."""
        assert self.headers["content-type"] == "application/problem+json", self
        found: dict[str, Any] = json.loads(self.body)
        assert found["status"] == self.status
        return str(found["code"])


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    """From that address of this machine."""
    return socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))


def read(connection: socket.socket) -> Reply | None:
    """The next answer; None if the connection is closed first."""
    data = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while b"\r\n\r\n" not in data:
            some = connection.recv(65536)
            if not some:
                return None
            data += some
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while len(body) < int(headers.get("content-length", 0)) and (some := connection.recv(65536)):
            body += some
        return Reply(int(first.split()[1]), headers, body)
    return None


def ask(port: int, data: bytes, source: str = "127.0.0.1") -> Reply | None:
    """On a connection of its own."""
    with connect(port, source) as connection:
        connection.sendall(data)
        return read(connection)


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed it, or does within twenty seconds."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass
    return True


@contextlib.contextmanager
def many(port: int, data: bytes, count: int, source: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    """So many connections that have sent no more than that, and stay."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(connect(port, source)) for _ in range(count)]
        for one in made:
            one.sendall(data)
        yield made
