"""Free ports for the servers of tests.

Owns the choice: below the ephemeral ones, so that nobody's outgoing connection takes a port between two lives of a
server, and each given once, so that two servers that are not up yet do not get the same.
"""

from __future__ import annotations

import itertools
import os
import socket

_FIRST, _LAST = 20_000, 32_000
# Workers that run at the same time begin at different places.
_next_port = itertools.count(os.getpid() * 997)


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody listens on."""
    return free_ports(1, address)


def free_ports(count: int, address: str = "127.0.0.1") -> int:
    """The first of `count` neighbouring ports that nobody listens on."""
    found: list[int] = []
    for number in itertools.islice(_next_port, _LAST - _FIRST):
        port = _FIRST + number % (_LAST - _FIRST)
        if not _is_free(address, port):
            found.clear()
            continue
        if found and port != found[-1] + 1:  # from the last to the first
            found.clear()
        found.append(port)
        if len(found) == count:
            return found[0]
    raise OSError(f"no {count} free ports")


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
