"""`sparrow operator`: the operator's page as a process.

Owns its start and end, its listener, and what it tells of itself. HTTP below the application is the user API's
(`userapi.process`), with the same bounds and deadlines.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
import time
from pathlib import Path

import uvloop
from prometheus_client import CollectorRegistry, ProcessCollector

from fabric.certificates import LOOK_S, CertificateWatch
from fabric.telling import values_of
from protocol.errors import ConfigError
from sparrow import version
from sparrow.config.settings import Settings
from sparrow.operator_page.administering import Administering
from sparrow.operator_page.app import create_app
from sparrow.operator_page.sessions import Sessions
from sparrow.operator_page.sizes import Sizes
from sparrow.operator_page.watch import Watch
from sparrow.ops.administration import Administration
from sparrow.ops.seen import Seen, addresses_of
from sparrow.ops.systemd import Systemd
from userapi.endpoints.admin import read_admin_token
from userapi.http.counts import Counts
from userapi.http.handover import ADMIN
from userapi.process.front import Front
from userapi.process.tls import Certificate
from userapi.settings import UserApiSettings

log = logging.getLogger("sparrow.operator")

ASK_S = 10.0
"""An operator waits no longer for the user API."""
LOOK_AT_CLIENTS_S = 0.25
_CONNECTIONS = 64
_NAME = "operator"


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Raises `ConfigError`."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would tell of each question to a monitor
    return uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    began = time.time()
    operator = settings.operator
    http = _http(settings)
    certificate = Certificate(http, "operator") if operator.tls_certificate_file else None
    certificates = CertificateWatch([certificate] if certificate is not None else [], log)
    there = Administering(_administration(settings), settings.userapi.page_url)
    token = read_admin_token(settings.userapi)
    listener = _listener(operator.listen_host, operator.listen_port)
    own = _Own(began, certificates)
    watch = Watch(_addresses(settings), own.seen, operator.look_interval_s)
    sessions = Sessions(token, operator.session_lifetime_s, time.monotonic)
    app = create_app(settings, watch, sessions, there, Sizes(there))
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if certificate is not None or "NOTIFY_SOCKET" in os.environ:  # `systemctl reload` ends nothing
        loop.add_signal_handler(signal.SIGHUP, certificate.reload if certificate is not None else lambda: None)
    front = Front(http, app.wsgi_app, Counts(), certificate, loop)
    front.listen(listener, door=ADMIN)
    watching = asyncio.create_task(watch.run())
    systemd = Systemd()
    systemd.ready()
    log.info("the operator's page is at %s", address_of(settings))
    looked_at = 0.0
    stopped = asyncio.create_task(stopping.wait())
    while not stopped.done():
        front.look()
        systemd.alive()
        if time.monotonic() - looked_at >= LOOK_S:
            looked_at = time.monotonic()
            certificates.look()
        await asyncio.wait({watching, stopped}, timeout=LOOK_AT_CLIENTS_S, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()  # it never ends but by a fault
    log.info("stopping")
    systemd.stopping()
    watching.cancel()
    front.close_listeners()
    for connection in front.connections():
        connection.abort()
    await asyncio.gather(watching, return_exceptions=True)
    return 0


class _Own:
    """What this process tells of itself: there is no monitor of its own."""

    def __init__(self, began: float, certificates: CertificateWatch) -> None:
        self._began = began
        self._certificates = certificates
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)

    def seen(self) -> Seen:
        """As any other process is seen."""
        values = values_of(self._registry)
        for metric in self._certificates.metrics():
            for sample in metric.samples:
                values[f"{sample.name}{{setting={sample.labels['setting']}}}"] = sample.value
        return Seen(
            "", time.monotonic(), name=_NAME, role=_NAME, version=version() or "unknown",
            up_s=time.time() - self._began, values=values, pid=os.getpid(),
        )  # fmt: skip


def _http(settings: Settings) -> UserApiSettings:
    """How HTTP is served: as by the user API, for few."""
    operator = settings.operator
    return UserApiSettings(
        max_connections=_CONNECTIONS,
        max_connections_of_address=_CONNECTIONS,
        threads=8,
        password_threads=1,
        max_waiting_requests=_CONNECTIONS,
        tls_certificate_file=operator.tls_certificate_file,
        tls_private_key_file=operator.tls_private_key_file,
    )


def _administration(settings: Settings) -> Administration:
    operator = settings.operator
    ca = Path(operator.userapi_ca_file) if operator.userapi_ca_file else None
    return Administration(settings.userapi, operator.userapi_url or None, ca, ASK_S)


def _addresses(settings: Settings) -> tuple[str, ...]:
    try:
        return addresses_of(settings)
    except ConfigError:
        return ()  # the page says it


def _listener(host: str, port: int) -> socket.socket:
    """Raises `ConfigError`."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, number)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_CONNECTIONS)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"the operator's page cannot listen on {host}:{port} ({error.strerror}): set operator.listen_host and "
            "listen_port, or stop what listens there"
        ) from error
    return listener


def address_of(settings: Settings) -> str:
    """Where a browser on this machine finds it."""
    operator = settings.operator
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(operator.listen_host, operator.listen_host)
    with contextlib.suppress(ValueError):
        host = f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    scheme = "https" if operator.tls_certificate_file else "http"
    return f"{scheme}://{host}:{operator.listen_port}/"
