"""Addresses and networks as settings name them.

Owns how they are read, which address is in which, whom `X-Forwarded-For` is believed, and what of one is counted as one
person's. May not resolve names.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from protocol.errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_V4 = 4
_MAX_HOPS = 20
_V6_PREFIX = 64


def parse_networks(key: str, texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks or single addresses. Raises `ConfigError`, which names the setting `key`."""
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise ConfigError(
                f'{key}: "{text}" is no address or network ({error}): write 10.0.0.5 or 10.0.0.0/8'
            ) from None
    return tuple(found)


def among(address: Address, networks: Sequence[Network]) -> bool:
    """Whether one of `networks` holds it."""
    return any(address in network for network in networks if network.version == address.version)


def as_key(address: Address | None) -> str:
    """What limits count by: an IPv4 address, or the network of 2^64 addresses that one IPv6 customer has."""
    if address is None:
        return "-"
    if address.version == _V4:
        return str(address)
    return str(ipaddress.ip_network((address, _V6_PREFIX), strict=False))


def is_loopback(host: str) -> bool:
    """Whether a host, by address or as `localhost`, is this machine alone."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def behind_proxies(peer: Address | None, hops: str, trusted: Sequence[Network]) -> Address | None:
    """Where the client of a connection from `peer` is, whose `X-Forwarded-For` is `hops`: the nearest address that is
    not one of our proxies."""
    address = peer
    for hop in reversed(hops.split(",")[-_MAX_HOPS:]):
        if address is None or not among(address, trusted):
            break
        # A hop that is no address is not one that our proxy has written.
        before = parse_address(hop.strip())
        if before is None:
            break
        address = before
    return address


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address | None:
    """An address as it is written, also with a port, as some proxies do; IPv4 in IPv6 becomes IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
