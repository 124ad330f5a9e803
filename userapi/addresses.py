"""Who is calling, as far as the network knows.

Owns the belief in `X-Forwarded-For`: only what proxies of `userapi.trusted_proxies` have written there counts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from flask import request

from protocol.networks import Address, Network, among

_MAX_HOPS = 20
_V6_PREFIX = 64


def client_address(trusted: Sequence[Network]) -> Address | None:
    """Of this request: the nearest address that is not one of our proxies. None over a Unix socket."""
    address = parse_address(request.remote_addr or "")
    hops = ",".join(request.headers.getlist("X-Forwarded-For")).split(",")
    for hop in reversed(hops[-_MAX_HOPS:]):
        if address is None or not among(address, trusted):
            break
        # A hop that is no address is not one that our proxy has written.
        before = parse_address(hop.strip())
        if before is None:
            break
        address = before
    return address


def as_key(address: Address | None) -> str:
    """What limits count by: an IPv4 address, or the network of 2^64 addresses that one IPv6 customer has."""
    if address is None:
        return "-"
    if address.version == _V4:
        return str(address)
    return str(ipaddress.ip_network((address, _V6_PREFIX), strict=False))


_V4 = 4


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address | None:
    """Also with a port, as some proxies write it; IPv4 in IPv6 as what it is."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
