"""Fuzzes the reader of PROXY headers: in any pieces it finds the same header, takes nothing that is behind it, and
knows one kind of error.
"""

from __future__ import annotations

import ipaddress

from connector.proxy import MAX_HEADER_BYTES, ProxyHeader
from protocol.errors import ProxyHeaderError
from tests.connector.proxy_headers import LOCAL, OTHER, PROXY, TCP4, TCP6, UNIX, V2, field, v1, v2, v2_from
from tests.fuzz import runner, seeds

V4, V6 = ipaddress.IPv4Address("203.0.113.9"), ipaddress.IPv6Address("2001:db8::9")


def corpus() -> list[bytes]:
    """Headers of both versions, good and bad ones, with the first bytes of something else behind them."""
    found = [
        v1("TCP4", V4, 567),
        v1("TCP6", V6, 567),
        v1("TCP6", "fe80::1%lo", 567),
        v1("TCP6", "::ffff:1.2.3.4", 567),
        v1("TCP4", V4, 65536),
        v1("TCP4", V6, 1),
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ::1 ::1 1 2\r\n",
        b"PROXY TCP4 1.2.3.4\r\n",
        v2_from(V4, 567),
        v2_from(V6, 567),
        v2_from(V4, 567, field(4, bytes(40)) + field(3, bytes(4)) + field(0x20, bytes(5) + field(0x21, b"TLSv1.3"))),
        v2_from(V4, 567, field(3, b"short")),
        v2(LOCAL, 0, b""),
        v2(PROXY, OTHER, b"1234"),
        v2(PROXY, UNIX, b"/run/a".ljust(108, b"\0") * 2),
        v2(PROXY, UNIX, b"\xff" * 216),
        v2(PROXY, TCP4, b"short"),
        v2(PROXY, TCP6, bytes(12)),
        v2(PROXY, TCP4, bytes(MAX_HEADER_BYTES))[:20],
        V2 + b"\x11\x11\0\0",
    ]
    return [seeds.CUT + header + b"\x0a\x00behind" for header in found]


def one(data: bytes) -> None:
    """One input."""
    stream, pieces = runner.cut(data)
    found, rest = _read([stream])
    assert (found, rest) == _read(pieces), "cutting changes what is understood"
    assert stream.endswith(rest)
    exact, wanted = _read_what_is_wanted(stream)
    assert exact == found, "reading no more than is wanted changes what is understood"
    if found[0] == "complete":
        assert wanted == len(stream) - len(rest) == _length(stream), "wants or takes another length than it has"


def _length(stream: bytes) -> int:
    """Of the header, by the specification."""
    if stream.startswith(V2):
        return 16 + int.from_bytes(stream[14:16])
    return stream.index(b"\r\n") + 2


def _read(pieces: list[bytes]) -> tuple[tuple[str, str], bytes]:
    """What comes of it, and what is behind."""
    header = ProxyHeader("10.0.0.5")
    rest = b""
    try:
        for piece in pieces:
            rest += header.receive(piece)
            assert not (rest and header.wanted), "gives back what it wants"
            assert header.wanted <= MAX_HEADER_BYTES
    except ProxyHeaderError as error:
        return ("refused", str(error)), b""
    assert header.address.isprintable(), "an address that is none"
    return ("incomplete" if header.wanted else "complete", header.address), rest


def _read_what_is_wanted(stream: bytes) -> tuple[tuple[str, str], int]:
    """The same, and how much was read, by somebody who must not read what is behind."""
    header = ProxyHeader("10.0.0.5")
    at = 0
    try:
        while header.wanted and at < len(stream):
            piece = stream[at : at + header.wanted]
            at += len(piece)
            assert header.receive(piece) == b"", "wants what it does not take"
    except ProxyHeaderError as error:
        return ("refused", str(error)), at
    return ("incomplete" if header.wanted else "complete", header.address), at


if __name__ == "__main__":
    runner.main(one, corpus())
