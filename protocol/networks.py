"""Addresses and networks as settings name them.

Owns how they are read, and which address is in which. May not resolve names.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from protocol.errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


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
