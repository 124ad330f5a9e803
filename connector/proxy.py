"""The PROXY header: what a proxy says of the client that it has taken, before anything else.

Owns how a header of version 1 or 2 is read, and whose connections begin with one (`connector.proxies`). May not touch
sockets: whoever has one reads for it.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence

from proxyprotocol import ProxyProtocolIncompleteError
from proxyprotocol.detect import ProxyProtocolDetect
from proxyprotocol.result import ProxyResult

from fabric.networks import Network, among
from protocol.errors import ProxyHeaderError

MAX_HEADER_BYTES = 2048
"""Bytes of a whole header, at most; what HAProxy and nginx send by themselves has a tenth of it."""
SIGNATURE_BYTES = 8
"""What tells the versions from each other, and from anything else."""

_FORMAT = ProxyProtocolDetect()


class ProxyHeader:
    """The header of one connection. `receive` it until nothing is `wanted`."""

    __slots__ = ("_data", "_proxy", "address", "wanted")

    def __init__(self, proxy: str) -> None:
        """`proxy` is the address of the proxy, for the log."""
        self._proxy = proxy
        self._data = b""
        self.wanted = SIGNATURE_BYTES
        """So many bytes belong to the header in any case; 0 when it is complete."""
        self.address = ""
        """Where the client is, as `address_text`, once the header is complete; empty if the proxy does not say."""

    def receive(self, data: bytes) -> bytes:
        """Take what belongs to the header; what is behind it is returned.

        Raises `ProxyHeaderError`, after which there is nothing to be had from this connection.
        """
        at = 0
        while self.wanted and at < len(data):
            piece = data[at : at + self.wanted]
            at += len(piece)
            self._data += piece
            self.wanted -= len(piece)
            if not self.wanted:
                self._read()
        return data[at:]

    def _read(self) -> None:
        try:
            self.address = _source(_FORMAT.unpack(self._data))
        except ProxyProtocolIncompleteError as incomplete:
            # A line's length is not known before its end.
            self.wanted = incomplete.want_read.want_bytes or 1
        except (ValueError, struct.error) as error:
            raise self._error(
                "a PROXY header that is malformed"
                if _FORMAT.is_valid(self._data[:SIGNATURE_BYTES])
                else "no PROXY header"
            ) from error
        if len(self._data) + self.wanted > MAX_HEADER_BYTES:
            raise self._error(f"a PROXY header above {MAX_HEADER_BYTES} bytes")

    def _error(self, what: str) -> ProxyHeaderError:
        return ProxyHeaderError(
            f"the proxy {self._proxy} sent {what}: say send-proxy-v2 (HAProxy) or proxy_protocol on (nginx) there, "
            "or take it out of connector.proxies"
        )


def expected_header(host: str, proxies: Sequence[Network]) -> ProxyHeader | None:
    """What a connection from the address `host` must begin with; None unless it is one of `proxies`."""
    return ProxyHeader(host) if proxies and among(ipaddress.ip_address(host), proxies) else None


def address_text(host: str, port: int) -> str:
    """`1.2.3.4:567` or `[::1]:567`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _source(result: ProxyResult) -> str:
    if not isinstance(result.source, tuple):  # it speaks for itself, or of somebody without an IP address
        return ""
    host, port = result.source
    # Through its bytes, which leaves out a scope: that is any text, and the log's reader would have to believe it.
    plain = ipaddress.ip_address(host.packed)
    return address_text(str(getattr(plain, "ipv4_mapped", None) or plain), port)
