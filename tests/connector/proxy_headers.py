"""PROXY headers, made after the specification and not with what reads them."""

from __future__ import annotations

import ipaddress
import struct

V2 = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
TCP4, TCP6, UNIX, OTHER = 0x11, 0x21, 0x31, 0x41


def v1(kind: str, source: object, port: int) -> bytes:
    """A line."""
    there = "10.0.0.1" if kind == "TCP4" else "fd00::1"
    return f"PROXY {kind} {source} {there} {port} 7400\r\n".encode()


def v2(command: int, kind: int, body: bytes) -> bytes:
    """A binary header around `body`."""
    return V2 + struct.pack("!BBH", command, kind, len(body)) + body


def v2_from(source: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, more: bytes = b"") -> bytes:
    """A binary header of a TCP connection."""
    kind = TCP4 if source.version == 4 else TCP6
    return v2(PROXY, kind, source.packed + bytes(len(source.packed)) + struct.pack("!HH", port, 7400) + more)


def field(kind: int, value: bytes) -> bytes:
    """What may follow the addresses."""
    return struct.pack("!BH", kind, len(value)) + value
