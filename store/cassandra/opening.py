"""The way from settings to a connection, for whoever may wait: tries again while no node answers.

Owns the tries. Knows no statement.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

from protocol.errors import StoreError
from store.cassandra.connecting import Connection, connect
from store.settings import StoreSettings

_log = logging.getLogger("sparrow.store")
_RETRY_S = 1.0
_SAY_INTERVAL_S = 10.0


async def open_connection(settings: StoreSettings) -> Connection:
    """Raises `ConfigError` as `connect` does, `StoreError` after `cassandra_start_timeout_s`."""
    began = said = time.monotonic()
    said -= _SAY_INTERVAL_S
    while True:
        try:
            return await _in_thread(connect, settings)
        except StoreError as error:
            now = time.monotonic()
            left = began + settings.cassandra_start_timeout_s - now
            if left <= 0:
                raise
            if now - said >= _SAY_INTERVAL_S:
                said = now
                _log.warning("%s; trying again, for %.0f s more", error, left)
            await asyncio.sleep(min(_RETRY_S, left))


async def _in_thread(make: Callable[[StoreSettings], Connection], settings: StoreSettings) -> Connection:
    """`make(settings)` in a thread; closed there if nobody waits for it any more."""
    given_up = threading.Event()

    def work() -> Connection:
        connection = make(settings)
        if given_up.is_set():
            connection.close()
        return connection

    try:
        return await asyncio.to_thread(work)
    except asyncio.CancelledError:
        given_up.set()
        raise
