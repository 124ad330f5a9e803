"""Where the processes of one node meet: a Unix socket beside its data.

Owns its path. Opens nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from protocol.errors import ConfigError
from sparrow.config.tree import Settings

_MAX_SOCKET_PATH = 107


def private_endpoint(settings: Settings) -> str:
    """Where the user API of a node, and `sparrow remove`, reach its broker. Raises `ConfigError`."""
    path = Path(settings.broker.node_socket or f"{settings.store.path}-sock")
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        path = Path(os.path.relpath(path))
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        raise ConfigError(
            f"broker.node_socket: {path} has more than the {_MAX_SOCKET_PATH} bytes that the path of a Unix socket "
            "may have: name a shorter one"
        )
    return f"ipc://{path}"
