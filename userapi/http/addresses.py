"""Who is calling, as far as the network knows.

Owns the belief in `X-Forwarded-For`: only what proxies of `userapi.trusted_proxies` have written there counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from flask import request

from fabric.networks import Address, Network, behind_proxies, parse_address


def client_address(trusted: Sequence[Network]) -> Address | None:
    """Of this request: the nearest address that is not one of our proxies. None over a Unix socket."""
    hops = ",".join(request.headers.getlist("X-Forwarded-For"))
    return behind_proxies(parse_address(request.remote_addr or ""), hops, trusted)
