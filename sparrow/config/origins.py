"""Which web pages may open WebSockets to a connector, where nobody has said.

Owns what the origin of the user API's own page is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fabric.networks import is_loopback

if TYPE_CHECKING:
    from sparrow.config.tree import Settings
    from userapi.settings import UserApiSettings

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def with_own_origins(settings: Settings) -> Settings:
    """With `connector.websocket_origins` where WebSockets are spoken and it is empty."""
    connector = settings.connector
    if not connector.websocket_listen_port or connector.websocket_origins:
        return settings
    origins = _own(settings.userapi)
    return dataclasses.replace(settings, connector=dataclasses.replace(connector, websocket_origins=origins))


def _own(userapi: UserApiSettings) -> tuple[str, ...]:
    """Of the user API's own page, and of those that may call it."""
    return tuple(origin for origin in dict.fromkeys((*_reached(userapi), *userapi.cors_origins)) if origin != "*")


def _reached(userapi: UserApiSettings) -> Iterator[str]:
    """The names under which this machine can tell that the user API is reached."""
    scheme, usual = ("https", 443) if userapi.tls_certificate_file else ("http", 80)
    port = "" if userapi.listen_port == usual else f":{userapi.listen_port}"
    host = userapi.listen_host
    for name in _LOOPBACK if is_loopback(host) or is_everywhere(host) else (host,):
        yield f"{scheme}://[{name}]{port}" if ":" in name else f"{scheme}://{name}{port}"


def is_everywhere(host: str) -> bool:
    """Whether it is every address of this machine, and so no name to call it by."""
    return host in ("0.0.0.0", "::", "*")


def unknown_origins(settings: Settings) -> Iterator[tuple[str, str, bool]]:
    """What is unwise about them: key, text, and that it is not serious."""
    connector, userapi = settings.connector, settings.userapi
    is_unsaid = connector.websocket_origins == _own(userapi)
    if connector.websocket_listen_port and is_everywhere(userapi.listen_host) and is_unsaid:
        text = (
            "is not set, and by which name browsers reach the user API cannot be told: only those on this machine may "
            'connect. Name the page, such as ["https://chat.example.net"]'
        )
        yield "connector.websocket_origins", text, False
