"""Who is calling, as far as the network knows.

Owns the belief in `X-Forwarded-For`: only what proxies of `userapi.trusted_proxies` have written there counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from flask import request

from fabric.networks import Address, Network, among, parse_address

_MAX_HOPS = 20


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
