"""Settings that trust or admit everybody, or make guessing cheap: allowed, and to be said.

Owns those rules. None is serious: there are networks where they are right.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparrow.config.exposure import Found
    from sparrow.config.tree import Settings

_WIDE_V4, _WIDE_V6 = 8, 7
"""Bits: a network with fewer is not one of proxies, or of those who need no limits."""
# OWASP's least, of which each is as hard as the others: passes, and the memory in MiB that goes with them.
_ARGON2 = ((1, 46), (2, 19), (3, 12), (4, 9), (5, 7))
_MIB = 1024


def openness(settings: Settings) -> Iterator[Found]:
    """What lets in, or believes, more than it should."""
    userapi = settings.userapi
    believed = "whoever is there can say where they come from, and so pass every limit of an address"
    for key, networks, what in (
        ("connector.proxies", settings.connector.proxies, believed),
        ("connector.trusted_proxies", settings.connector.trusted_proxies, believed),
        ("userapi.trusted_proxies", userapi.trusted_proxies, believed),
        ("userapi.unlimited_addresses", userapi.unlimited_addresses, "no limit of an address holds there"),
    ):
        for network in _wide(networks):
            yield key, f'"{network}" is nearly everybody: {what}. Name your own networks', False
    if "*" in userapi.cors_origins:
        text = '"*" is every web page that a user opens: name the origins of your own pages'
        yield "userapi.cors_origins", text, False
    if userapi.identity == "own" and not _is_hard(userapi.argon2_time_cost, userapi.argon2_memory_kib):
        passes = min(max(userapi.argon2_time_cost, 1), len(_ARGON2))
        text = (
            f"{userapi.argon2_memory_kib} with argon2_time_cost = {userapi.argon2_time_cost} makes stolen hashes cheap "
            f"to guess: {_ARGON2[passes - 1][1] * _MIB} is the least that goes with it"
        )
        yield "userapi.argon2_memory_kib", text, False
    if userapi.blocks_are_silent != settings.broker.blocks_are_silent:
        text = "is not what broker.blocks_are_silent says: set both alike, or blocks are told after all"
        yield "userapi.blocks_are_silent", text, False, ("broker",)
    if userapi.who_may_write != settings.broker.who_may_write:
        text = "is not what broker.who_may_write says: set both alike, or people are invited whom nobody may write to"
        yield "userapi.who_may_write", text, False, ("broker",)


def _wide(networks: Sequence[str]) -> Iterator[str]:
    for text in networks:
        try:
            network = ipaddress.ip_network(text.strip())
        except ValueError:
            continue  # which is another's complaint
        if network.is_loopback:
            continue
        least = _WIDE_V4 if isinstance(network, ipaddress.IPv4Network) else _WIDE_V6
        if network.prefixlen < least:
            yield text


def _is_hard(passes: int, memory_kib: int) -> bool:
    least = next((mib for known, mib in reversed(_ARGON2) if passes >= known), _ARGON2[0][1])
    return memory_kib >= least * _MIB
