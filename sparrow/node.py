"""Running processes: a connector, a broker, or all of a node in one process with the user API beside it.

Owns start, signals and the order of stopping. Decides nothing about messages.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from multiprocessing.context import SpawnProcess
from pathlib import Path

import uvloop
import zmq

from broker.server import BrokerServer
from connector.server import ConnectorServer
from fabric.certificates import LOOK_S, CertificateWatch, ReadOnce
from protocol.errors import ConfigError, ServiceError, SparrowError
from sparrow.config.expiry import certificates
from sparrow.config.page import as_node, page_url
from sparrow.config.settings import Settings
from sparrow.config.socket import private_endpoint
from sparrow.ops.logs import set_up
from sparrow.ops.monitor import Monitor, Source
from store import Ownership, open_store
from userapi.keys import ensure_key_pair
from userapi.server import base_url
from userapi.server import run as run_userapi

log = logging.getLogger("sparrow")

INPROC = "inproc://broker"
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 5
FIRST_RESTART_S, LAST_RESTART_S = 1.0, 30.0
USERAPI_WATCHDOG_S = 15.0
"""As WatchdogSec= has it for one that is a service of its own."""


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
    settings = dataclasses.replace(
        settings,
        broker=dataclasses.replace(settings.broker, listen=INPROC, advertise="", presence="memory", curve_key_file=""),
        connector=dataclasses.replace(settings.connector, brokers=(INPROC,)),
        userapi=dataclasses.replace(
            settings.userapi,
            brokers=(private_endpoint(settings),),
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
    await broker.start()
    _listen(stack, monitor)
    broker.on_traces = monitor.traced
    monitor.ready()
    _at_hangup(monitor, broker.reload)


def _certificates(
    stack: AsyncExitStack, settings: Settings, roles: Sequence[str], connector: ConnectorServer | None = None
) -> Source:
    """Looks at all certificates of processes with these roles, from now on; the user API looks at its own."""
    served = connector.certificate if connector is not None else None
    once = [ReadOnce(file) for file in certificates(settings, roles) if served is None or file != served.file]
    watch = CertificateWatch([*([served] if served is not None else []), *once], log)

    async def look() -> None:
        while True:
            watch.look()
            await asyncio.sleep(LOOK_S)

    stack.callback(asyncio.create_task(look()).cancel)
    return Source("certificates", watch.metrics, lambda: "")


def _connector_source(connector: ConnectorServer) -> Source:
    return Source("connector", connector.metrics, lambda: connector.not_ready, connector.core.trace)


def _broker_source(broker: BrokerServer) -> Source:
    return Source("broker", broker.metrics, lambda: broker.not_ready)


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
    broker = BrokerServer(settings.broker, store, context, endpoints=api.brokers, history=settings.history)
    connector = ConnectorServer(settings.connector, context)
    watched = _certificates(stack, settings, ("broker", "connector"), connector)
    sources = (_broker_source(broker), _connector_source(connector), watched)
    monitor = _monitor(stack, settings, "node", settings.connector.name, *sources)
    stack.push_async_callback(broker.stop)
    await broker.start()
    stack.push_async_callback(connector.stop)
    child = _UserApi(settings)
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


class _Pulse:
    """What the user API tells its node: `userapi.process.arbiter.Manager`, over memory that both see."""

    watchdog_s = USERAPI_WATCHDOG_S

    def __init__(self) -> None:
        self._heard_at = multiprocessing.get_context("spawn").RawValue("d", 0.0)

    def ready(self) -> None:
        """The node sees that for itself."""

    def alive(self) -> None:
        self._heard_at.value = time.monotonic()

    def stopping(self) -> None:
        self._heard_at.value = 0.0

    @property
    def was_heard(self) -> bool:
        """It serves, and does not stop."""
        heard_at: float = self._heard_at.value
        return heard_at > 0

    @property
    def is_late(self) -> bool:
        """Not before it has been heard at all."""
        heard_at: float = self._heard_at.value
        return 0 < heard_at < time.monotonic() - self.watchdog_s


class _UserApi:
    """The user API as a child process, started again if it dies or stands still."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pulse = _Pulse()
        self._process: SpawnProcess | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start, and return when it answers. Raises `ServiceError` if it does not."""
        process = self._spawn()
        for _ in range(START_TIMEOUT_S * 10):
            if await self._answers():
                self._watcher = asyncio.create_task(self._watch())
                return
            if not process.is_alive():
                break
            await asyncio.sleep(0.1)
        raise ServiceError("the user API did not start; the line above says why")

    def _spawn(self) -> SpawnProcess:
        self._pulse = _Pulse()
        process = multiprocessing.get_context("spawn").Process(
            target=_serve_userapi, args=(self._settings, self._pulse, os.getpid()), name="sparrow-userapi"
        )
        process.start()
        self._process = process
        return process

    async def _answers(self) -> bool:
        api = self._settings.userapi
        try:
            _, writer = await asyncio.open_connection(api.listen_host, api.listen_port)
        except OSError:
            return False
        writer.close()
        return True

    async def _watch(self) -> None:
        wait_s = FIRST_RESTART_S
        was_late = False
        while True:
            await asyncio.sleep(wait_s)
            # Twice, since both may have stood still together and go on now.
            is_late = self._pulse.is_late
            if is_late and was_late and self._process is not None and self._process.is_alive():
                log.error("the user API has stood still for %.0f s; ending it", USERAPI_WATCHDOG_S)
                self._process.kill()
            was_late = is_late
            if self._process is not None and not self._process.is_alive():
                log.error("the user API has ended (exit status %s); starting it again", self._process.exitcode)
                self._spawn()
                wait_s = min(2 * wait_s, LAST_RESTART_S)

    def reload(self) -> None:
        """Have it read keys again; one that has not served yet, whom the signal would end, is about to read them."""
        process = self._process
        if process is not None and process.pid is not None and process.is_alive() and self._pulse.was_heard:
            os.kill(process.pid, signal.SIGHUP)

    async def stop(self) -> None:
        """Stop it, by force if it does not listen."""
        if self._watcher is not None:
            self._watcher.cancel()
        process = self._process
        if process is None or not process.is_alive():
            return
        process.terminate()
        for _ in range(STOP_TIMEOUT_S * 10):
            if not process.is_alive():
                return
            await asyncio.sleep(0.1)
        process.kill()


def _serve_userapi(settings: Settings, pulse: _Pulse, parent: int) -> None:
    """The child's main function."""
    set_up(settings.log)
    try:
        run_userapi(settings.userapi, settings.store, settings.history, manager=pulse, parent=parent)
    except SparrowError as error:
        log.error("%s", error)
        raise SystemExit(1) from None
