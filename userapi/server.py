"""The user API as a process: gunicorn, its workers, and their end.

Owns everything of gunicorn. What is served is `userapi.app`'s business.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from flask import Flask
from gunicorn.app.base import BaseApplication

from fabric.certificates import CertificateWatch, ReadOnce, Reloaded
from fabric.curve import read_link_keys
from protocol.errors import ConfigError
from store import StoreSettings, open_store
from store.certificates import certificates as certificates_of_store
from store.settings import NOT_KEPT, HistorySettings
from userapi.app import create_app
from userapi.asks import BrokerFabric
from userapi.bridge import StoreBridge
from userapi.brokers import Brokers
from userapi.certificates import trusted
from userapi.endpoints.admin import read_admin_token
from userapi.health import Health
from userapi.http.counts import Counts
from userapi.http.handover import ADMIN, MONITOR, PUBLIC
from userapi.identity import Identity, open_identity
from userapi.identity.breaches import check_list
from userapi.identity.oidc import Provider, open_provider
from userapi.keys import ensure_key_pair, load_keys
from userapi.monitor import Named, Place
from userapi.process import listening
from userapi.process.arbiter import Arbiter, Manager
from userapi.process.tls import Certificate
from userapi.process.worker import Worker
from userapi.service import EXTENSION, Service
from userapi.settings import UserApiSettings

_log = logging.getLogger("sparrow.userapi")
_WATCH_INTERVAL_S = 0.5
MAX_CACHE_KIB = 4096


def run(
    settings: UserApiSettings,
    store_settings: StoreSettings,
    history: HistorySettings = NOT_KEPT,
    *,
    manager: Manager | None = None,
    parent: int | None = None,
    counts: Counts | None = None,
    place: Place | None = None,
) -> NoReturn:
    """Serve until SIGTERM or SIGINT, or until `parent` (a process id) is no longer our parent; then exit.

    `manager` is told how we are; requests are counted into `counts`; at `place` we tell of ourselves. Raises
    `ConfigError` or `StoreError`, before anything is served, when it cannot start.
    """
    # gunicorn would tell systemd that it is ready before a worker is, and in a node, which tells that itself.
    os.environ.pop("NOTIFY_SOCKET", None)
    ensure_key_pair(Path(settings.token_private_key_file), Path(settings.token_public_key_file))
    # The process that runs brokers drops expired rows, and has the use of a large cache; files would only fill ours.
    cache_kib = min(store_settings.cache_kib, MAX_CACHE_KIB)
    store_settings = dataclasses.replace(store_settings, purge_interval_s=0.0, cache_kib=cache_kib)
    read_link_keys(settings.curve_key_file, settings.broker_public_key_file)  # found out where there is one to tell
    _try_identity(settings)
    asyncio.run(_try_store(store_settings, history))
    doors = _doors(settings, place)
    _try_addresses(doors)
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), name="parent-watch", daemon=True).start()
    _Server(settings, store_settings, history, manager, counts or Counts(), doors, place).run()
    raise SystemExit(0)


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    def __init__(
        self,
        settings: UserApiSettings,
        store_settings: StoreSettings,
        history: HistorySettings,
        manager: Manager | None,
        counts: Counts,
        doors: Mapping[str, tuple[str, int]],
        place: Place | None,
    ) -> None:
        """`counts` is here before the workers are forked."""
        self.settings = settings
        self.doors = tuple(doors)
        """Of each listener, in their order, which it is."""
        self._addresses = doors.values()
        self._named = Named(settings.name, place.version if place is not None else "", time.time())
        self._store_settings = store_settings
        self._history = history
        self._manager = manager
        self._bridge: StoreBridge | None = None
        self._brokers: Brokers | None = None
        self._identity: Identity | None = None
        self._provider: Provider | None = None
        self._parts: Service | None = None
        self.counts = counts
        self.certificate = Certificate(settings) if settings.tls_certificate_file else None
        read_once = [ReadOnce(file) for file in (*trusted(settings), *certificates_of_store(store_settings))]
        own = [self.certificate] if self.certificate is not None else []
        known: list[ReadOnce | Reloaded] = [*own, *read_once]
        self.certificates = CertificateWatch(known, _log)
        super().__init__()

    def load_config(self) -> None:
        settings = self.settings
        values: dict[str, Any] = {
            "bind": [_address(host, port) for host, port in self._addresses],
            "backlog": settings.listen_backlog,
            "workers": settings.workers,
            "worker_class": Worker,
            "graceful_timeout": math.ceil(settings.stop_timeout_s),
            "loglevel": "warning",
            "control_socket_disable": True,
            "when_ready": self._when_ready,
            "worker_exit": self._worker_exit,
        }
        for name, value in values.items():
            self.cfg.set(name, value)

    def run(self) -> None:
        """Serve until stopped."""
        if self._manager is None:
            super().run()
        else:
            start_s = self._store_settings.cassandra_start_timeout_s
            Arbiter(self, self._manager, start_s, self.certificates.look, self._check).run()

    def _check(self) -> None:
        """Raises `ConfigError` if `load` would."""
        settings = self.settings
        load_keys(Path(settings.token_private_key_file))  # one that is gone is not made anew
        ensure_key_pair(Path(settings.token_private_key_file), Path(settings.token_public_key_file))
        read_link_keys(settings.curve_key_file, settings.broker_public_key_file)
        _try_identity(settings)

    def load(self) -> Flask:
        """In the worker, after the fork: threads and database connections do not survive one."""
        if self.certificate is not None:
            self.certificate.quiet = self._manager is not None  # the arbiter tells, once for all workers
        store = open_store(self._store_settings, history=self._history)
        self._bridge = StoreBridge(store, self.settings.request_timeout_s)
        self._bridge.open()
        self._brokers = Brokers(self.settings)
        self._identity = open_identity(self.settings)
        self._provider = open_provider(self.settings)
        fabric = BrokerFabric(self._bridge, self._brokers)
        health = Health(self._bridge, fabric)
        if self._manager is not None:
            health.told = self._manager.able
        app = create_app(
            self.settings,
            self._bridge,
            fabric,
            identity=self._identity,
            provider=self._provider,
            counts=self.counts,
            history=self._history,
            health=health,
            named=self._named,
            certificates=self.certificates,
        )
        self._parts = app.extensions[EXTENSION]
        health.start()
        return app

    def _when_ready(self, arbiter: Any) -> None:
        _log.info("user API listens on %s", base_url(self.settings))

    def _worker_exit(self, arbiter: Any, worker: Any) -> None:
        if self._parts is not None:
            self._parts.health.stop()
            self._parts.endings.stop()
            self._parts.notices.stop()
            self._parts = None
        if self._bridge is not None:
            if self._brokers is not None:
                self._bridge.call(self._brokers.close)
            self._bridge.close()
            self._bridge = self._brokers = None
        if self._identity is not None:
            self._identity.close()
            self._identity = None
        if self._provider is not None:
            self._provider.close()
            self._provider = None


def _try_identity(settings: UserApiSettings) -> None:
    read_admin_token(settings)
    identity = open_identity(settings)
    if identity is not None:
        identity.close()
    provider = open_provider(settings)
    if provider is not None:
        provider.close()
    if settings.password_breached_file:
        check_list(settings.password_breached_file)


async def _try_store(settings: StoreSettings, history: HistorySettings) -> None:
    async with open_store(settings, history=history):
        pass


def _try_addresses(doors: Mapping[str, tuple[str, int]]) -> None:
    """Find out now, where there is somebody to tell, that an address is taken."""
    for door, (host, port) in doors.items():
        if reason := listening.why_not(host, port):
            key = {PUBLIC: "userapi.", ADMIN: "userapi.admin_", MONITOR: "monitor."}[door]
            raise ConfigError(
                f"the user API cannot listen on {_address(host, port)} ({reason}): "
                f"change {key}listen_host or {key}listen_port, or stop what listens there"
            )


def base_url(settings: UserApiSettings) -> str:
    """Where it is."""
    scheme = "https" if settings.tls_certificate_file else "http"
    return f"{scheme}://{_address(settings.listen_host, settings.listen_port)}"


def _doors(settings: UserApiSettings, place: Place | None) -> dict[str, tuple[str, int]]:
    """Where it listens: host and port of each door (`userapi.http.handover`)."""
    found = {PUBLIC: (settings.listen_host, settings.listen_port)}
    if settings.admin_listen_port:
        found[ADMIN] = (settings.admin_listen_host, settings.admin_listen_port)
    if place is not None:
        found[MONITOR] = (place.host, place.port)
    return found


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _end_with(parent: int) -> None:
    # Also right when the parent died before we looked: then somebody else is our parent.
    while os.getppid() == parent:
        time.sleep(_WATCH_INTERVAL_S)
    os.kill(os.getpid(), signal.SIGTERM)
