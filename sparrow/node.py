"""Running processes: a connector, a broker, or all of a node in one process with the user API beside it.

Owns start, signals and the order of stopping. Decides nothing about messages.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from math import inf
from pathlib import Path

import uvloop
import zmq

from broker.server import BrokerServer
from connector.server import ConnectorServer
from fabric.certificates import LOOK_S, CertificateWatch, Followed, ReadOnce
from fabric.facts import BY_STRANGERS
from fabric.pump import Pump
from protocol.errors import ConfigError
from sparrow.child import UserApiChild
from sparrow.config.expiry import certificates
from sparrow.config.page import as_node, page_url
from sparrow.config.settings import Settings
from sparrow.config.socket import private_endpoint
from sparrow.ops.monitor import Monitor, Source
from store import Ownership, open_store
from userapi.keys import ensure_key_pair
from userapi.server import base_url

log = logging.getLogger("sparrow")

IN_NODE = "this node"
"""What a node's connector calls its broker."""


def run_connector(settings: Settings) -> int:
    """Run a connector until SIGTERM or SIGINT."""
    return uvloop.run(_until_signal(lambda stack: _start_connector(stack, settings)))


def run_broker(settings: Settings) -> int:
    """Run a broker until SIGTERM or SIGINT."""
    return uvloop.run(_until_signal(lambda stack: _start_broker(stack, settings)))


def run_serve(settings: Settings) -> int:
    """Run a whole node: broker and connector here, joined in memory, and the user API as a child."""
    if settings.broker.presence != "memory":
        log.warning("a node keeps presence in memory: broker.presence and [etcd] are for `sparrow broker`")
    settings = as_node(settings)
    socket = private_endpoint(settings)
    # Connector and broker live and stand still together: neither waits for a sign of the other.
    settings = dataclasses.replace(
        settings,
        broker=dataclasses.replace(
            settings.broker, listen=socket, advertise=IN_NODE, presence="memory", lease_s=inf, curve_key_file=""
        ),
        connector=dataclasses.replace(settings.connector, brokers=(IN_NODE,), link_timeout_s=inf),
        userapi=dataclasses.replace(
            settings.userapi,
            brokers=(socket,),
            curve_key_file="",
            broker_public_key_file="",
        ),
    )
    return uvloop.run(_until_signal(lambda stack: _start_node(stack, settings)))


def _make_folder_of(endpoint: str) -> None:
    folder = Path(endpoint.removeprefix("ipc://")).parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {folder} ({error.strerror}); set broker.node_socket") from error


async def _until_signal(start: Callable[[AsyncExitStack], Awaitable[None]]) -> int:
    # Nearly all that a turn allocates is freed by reference count; looking for cycles every 700 objects only costs.
    gc.set_threshold(50_000, 20, 100)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        if await _unless(stopping, start(stack)):
            gc.freeze()
            await stopping.wait()
        log.info("stopping")
    return 0


def _at_hangup(monitor: Monitor, reload: Callable[[], None]) -> None:
    """From now on SIGHUP reloads. A node with nothing to reload ends with its terminal, as programs do."""

    def read_again() -> None:
        log.info("SIGHUP: reading again what can change")
        monitor.reloading()
        reload()
        monitor.ready()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, read_again)


async def _unless(stopping: asyncio.Event, start: Awaitable[None]) -> bool:
    """Start, which may take as long as etcd is away; false if we were told to stop meanwhile."""
    starting, stopped = asyncio.ensure_future(start), asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
        return starting.done()
    finally:
        starting.cancel()
        stopped.cancel()
        await asyncio.gather(starting, stopped, return_exceptions=True)


def _context(stack: AsyncExitStack) -> zmq.Context[zmq.Socket[bytes]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stack.callback(context.term)
    return context


async def _start_connector(stack: AsyncExitStack, settings: Settings) -> None:
    connector = ConnectorServer(settings.connector, _context(stack))
    sources = (_connector_source(connector), _certificates(stack, settings, ("connector",), connector))
    monitor = _monitor(stack, settings, "connector", settings.connector.name, *sources)
    stack.push_async_callback(connector.stop)
    await connector.start()
    _listen(stack, monitor)
    connector.on_traces = monitor.traced
    _at_hangup(monitor, connector.reload)
    await connector.ready()
    monitor.ready()


async def _start_broker(stack: AsyncExitStack, settings: Settings) -> None:
    ownership = Ownership.ALONE if settings.broker.presence == "memory" else Ownership.SHARED
    store = await stack.enter_async_context(open_store(settings.store, ownership, settings.history))
    broker = BrokerServer(settings.broker, store, _context(stack), settings.etcd, history=settings.history)
    sources = (_broker_source(broker), _certificates(stack, settings, ("broker",)))
    monitor = _monitor(stack, settings, "broker", settings.broker.name, *sources)
    stack.push_async_callback(broker.stop)
    _listen(stack, monitor)  # before what may last as long as etcd is away
    _at_hangup(monitor, broker.reload)
    await broker.start()
    broker.on_traces = monitor.traced
    monitor.ready()


def _failed(error: Exception) -> None:
    text = "a fault of ours: what was under way between connector and broker is tried again"
    log.error(text, exc_info=error, extra=BY_STRANGERS)


def _certificates(
    stack: AsyncExitStack,
    settings: Settings,
    roles: Sequence[str],
    connector: ConnectorServer | None = None,
    child: Sequence[str] = (),
) -> Source:
    """Looks at all certificates of processes with these roles, from now on. `child`: what a child is, which takes and
    warns of its own."""
    ours = certificates(settings, roles)
    served = connector.certificate if connector is not None else None
    once = [ReadOnce(file) for file in ours if served is None or file != served.file]
    theirs = [Followed(file) for file in certificates(settings, child) if file not in ours]
    watch = CertificateWatch([*([served] if served is not None else []), *once, *theirs], log)

    async def look() -> None:
        while True:
            watch.look()
            await asyncio.sleep(LOOK_S)

    stack.callback(asyncio.create_task(look()).cancel)
    return Source(watch.metrics, dict)


def _connector_source(connector: ConnectorServer) -> Source:
    return Source(connector.metrics, connector.abilities, connector.core.trace)


def _broker_source(broker: BrokerServer) -> Source:
    return Source(broker.metrics, broker.abilities)


def _monitor(stack: AsyncExitStack, settings: Settings, role: str, name: str, *sources: Source) -> Monitor:
    """It stops after all that is pushed from now on, so that whoever looks sees a process that drains, not one that is
    gone."""
    monitor = Monitor(settings.monitor, role, name, sources)
    stack.callback(monitor.stop)
    return monitor


def _listen(stack: AsyncExitStack, monitor: Monitor) -> None:
    monitor.start()
    stack.callback(monitor.stopping)


async def _start_node(stack: AsyncExitStack, settings: Settings) -> None:
    api = settings.userapi
    # First of all: what a node that runs has in use is not ours to touch.
    store = await stack.enter_async_context(open_store(settings.store, Ownership.ALONE, settings.history))
    ensure_key_pair(Path(api.token_private_key_file), Path(api.token_public_key_file))
    for endpoint in api.brokers:
        _make_folder_of(endpoint)
    context = _context(stack)
    pump = Pump(_failed)
    broker = BrokerServer(settings.broker, store, context, history=settings.history, pump=pump)
    connector = ConnectorServer(settings.connector, context, pump)
    child = UserApiChild(settings)
    sources = (
        _broker_source(broker),
        _connector_source(connector),
        Source(child.metrics, child.abilities),
        _certificates(stack, settings, ("broker", "connector"), connector, child=("userapi",)),
    )
    monitor = _monitor(stack, settings, "node", settings.connector.name, *sources)
    stack.push_async_callback(broker.stop)
    await broker.start()
    stack.push_async_callback(connector.stop)
    stack.push_async_callback(child.stop)
    await connector.start()
    _listen(stack, monitor)
    broker.on_traces = connector.on_traces = monitor.traced
    if settings.connector.tls_certificate_file or "NOTIFY_SOCKET" in os.environ:  # `systemctl reload` ends nothing

        def reload() -> None:
            connector.reload()
            child.reload()

        _at_hangup(monitor, reload)
    await child.start()
    await connector.ready()
    monitor.ready()
    log.info(
        "Sparrow is ready: clients at %s%s:%d, user API at %s",
        "tls://" if settings.connector.tls_certificate_file else "",
        settings.connector.listen_host,
        connector.port,
        base_url(api),
    )
    if api.page:
        log.info("to chat, open %s in a browser", page_url(settings))
