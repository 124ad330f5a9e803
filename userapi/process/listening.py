"""Whether an address can be listened on, found out before anybody is served there.

Owns the trial, which leaves nothing behind.
"""

from __future__ import annotations

import socket


def why_not(host: str, port: int) -> str:
    """Why nobody can listen there now; empty if somebody can."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, number) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return ""
