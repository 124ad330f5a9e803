"""How the web page reaches a connector: what a node opens by itself, and what is unwise about it.

Owns the rules between `userapi.page`, `userapi.connectors` and the connector's port for WebSocket.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fabric.networks import is_loopback
from sparrow.config.origins import is_everywhere, with_own_origins

if TYPE_CHECKING:
    from sparrow.config.tree import Settings

WEBSOCKET_PORT = 7402
"""Where a node whose settings say nothing of it speaks WebSocket."""
_HOST = re.compile(r"wss?://(\[[^\]]*\]|[^:/]*)")


def as_node(settings: Settings) -> Settings:
    """With what `sparrow serve` adds where nobody has said by which addresses clients come (`userapi.connectors`).

    Its own connector, then, at the ports that it has; on this machine, and without TLS, also by WebSocket, for the
    page. Whoever names addresses, or makes the node reachable from elsewhere, says all of it.
    """
    connector, userapi = settings.connector, settings.userapi
    is_ours_to_say = "userapi.connectors" not in settings.written and not connector.tls_certificate_file
    if not is_ours_to_say or not is_loopback(connector.listen_host) or not connector.listen_port:
        return settings
    websocket = connector.websocket_listen_port
    if "connector.websocket_listen_port" not in settings.written and userapi.page:
        websocket = 0 if WEBSOCKET_PORT in _taken(settings) else WEBSOCKET_PORT
    host = f"[{connector.listen_host}]" if ":" in connector.listen_host else connector.listen_host
    addresses = [f"{host}:{connector.listen_port}"] + ([f"ws://{host}:{websocket}"] if websocket else [])
    settings = dataclasses.replace(
        settings,
        connector=dataclasses.replace(connector, websocket_listen_port=websocket),
        userapi=dataclasses.replace(userapi, connectors=tuple(addresses)),
    )
    return with_own_origins(settings)


def _taken(settings: Settings) -> tuple[int, ...]:
    connector, userapi = settings.connector, settings.userapi
    return connector.listen_port, userapi.listen_port, userapi.admin_listen_port, settings.monitor.listen_port


def page_url(settings: Settings) -> str:
    """What to open in a browser: as the settings name the page, or else on this machine."""
    if "connector.websocket_origins" in settings.written:
        return f"{settings.connector.websocket_origins[0]}/"
    userapi = settings.userapi
    host = userapi.listen_host
    scheme = "https" if userapi.tls_certificate_file else "http"
    host = "localhost" if is_everywhere(host) else f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{userapi.listen_port}/"


def unreached(settings: Settings) -> Iterator[tuple[str, str, bool]]:
    """What keeps the page from a connector: key, text, and that it is not serious."""
    userapi = settings.userapi
    if not userapi.page or "userapi.connectors" not in settings.written:
        return
    key = "userapi.connectors"
    hosts = {address: found[1] for address in userapi.connectors if (found := _HOST.match(address))}
    if not hosts:
        text = (
            'has no "ws://" or "wss://" address, which browsers need: the page at / cannot reach a connector. Set '
            "connector.websocket_listen_port and name it here, or say userapi.page = false"
        )
        yield key, text, False
    for address, host in hosts.items():
        if host.startswith("["):
            text = (
                f'"{address}" is of no use to the page, as its Content-Security-Policy can only have names: write one'
            )
            yield key, text, False
        elif userapi.tls_certificate_file and address.startswith("ws:") and not is_loopback(host):
            text = f'"{address}" is of no use to the page, which browsers let go from https:// to wss:// only'
            yield key, text, False
