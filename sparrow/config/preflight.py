"""What a look at settings alone cannot tell: `sparrow check --try` reaches out for everything that they name.

Owns the preflight. Each opens what a process of that role would, changes nothing, and says what to do where it fails.
"""

from __future__ import annotations

import asyncio
import dataclasses
import email.utils
import os
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import zmq
from zmq.utils.monitor import parse_monitor_message

from fabric.curve import LinkKeys, read_link_keys
from fabric.socket import secure
from protocol.errors import ConfigError, SparrowError
from sparrow.config.checks import Finding
from sparrow.config.exposure import CLIENTS_PORTS
from sparrow.config.page import as_node
from sparrow.config.provider import try_provider
from sparrow.config.settings import Settings
from sparrow.config.socket import private_endpoint
from userapi.process import listening

PATIENCE_S = 5.0
"""For each trial."""
UNWISE_APART_S, TOO_FAR_APART_S = 2.0, 30.0
"""Clocks of two machines. Up to 60 s apart nothing is lost; beyond, Cassandra's inbox may miss rows."""
_SPARE_FILES = 1000
_HANDSHAKES: dict[int, str] = {
    zmq.EVENT_HANDSHAKE_SUCCEEDED: "",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "it does not allow our key: add it to broker.allowed_keys_file there",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "one side wants CURVE, the other does not",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "it hung up: does it want CURVE, and is broker_public_key_file its key?",
}


async def try_out(settings: Settings, roles: tuple[str, ...]) -> AsyncIterator[Finding]:
    """Everything that fails, of processes with these roles (`sparrow.config.roles.ROLES`) on this machine."""
    if "node" in roles:
        settings = as_node(settings)
        for finding in _meeting(settings):
            yield finding
    # A node has both, and a broker that nobody reaches.
    on_machine = (*roles, *(("connector", "userapi") if "node" in roles else ()))
    for look in (_files, _ports):
        for finding in look(settings, on_machine):
            yield finding
    async for finding in _brokers(settings, roles):
        yield finding
    if "broker" in roles and settings.broker.presence == "etcd":
        async for finding in _etcd(settings):
            yield finding
    if {"broker", "userapi", "node"} & set(roles):
        async for finding in _store(settings):
            yield finding
    if {"userapi", "node"} & set(roles):
        for found in await asyncio.to_thread(lambda: list(try_provider(settings))):
            yield Finding(*found)
    async for finding in _clocks(settings):
        yield finding


# This machine.


def _meeting(settings: Settings) -> Iterator[Finding]:
    """Where a node's processes meet."""
    try:
        folder = Path(private_endpoint(settings).removeprefix("ipc://")).parent
    except ConfigError as error:
        yield Finding("broker.node_socket", str(error).removeprefix("broker.node_socket: "))
        return
    if _is_there(str(folder)) and not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("broker.node_socket", f"{folder} cannot be written to: look as root, or as the server's user")


def _files(settings: Settings, roles: tuple[str, ...]) -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    connector = settings.connector
    wanted = connector.max_sessions + connector.max_before_login + _SPARE_FILES
    if "connector" in roles and hard != resource.RLIM_INFINITY and hard < wanted:
        text = (
            f"{wanted} open files would be needed and {hard} are allowed: raise LimitNOFILE (ulimit -Hn), or lower it"
        )
        yield Finding("connector.max_sessions", text, serious=False)


def _ports(settings: Settings, roles: tuple[str, ...]) -> Iterator[Finding]:
    connector, userapi, monitor = settings.connector, settings.userapi, settings.monitor
    wanted = []
    if "connector" in roles:
        wanted += [(f"connector.{name}", connector.listen_host, getattr(connector, name)) for name in CLIENTS_PORTS]
    if "userapi" in roles:
        wanted.append(("userapi.listen_port", userapi.listen_host, userapi.listen_port))
        wanted.append(("userapi.admin_listen_port", userapi.admin_listen_host, userapi.admin_listen_port))
    if "broker" in roles and settings.broker.listen.startswith("tcp://"):
        host, _, port = settings.broker.listen.removeprefix("tcp://").rpartition(":")
        wanted.append(("broker.listen", "0.0.0.0" if host == "*" else host.strip("[]"), int(port)))
    if "operator" in roles:
        wanted.append(("operator.listen_port", settings.operator.listen_host, settings.operator.listen_port))
    if monitor.listen_port:
        wanted.append(("monitor.listen_port", monitor.listen_host, monitor.listen_port))
    for key, host, number in wanted:
        if number and (why := listening.why_not(host, number)):
            text = f"{host}:{number}: {why}; if it is not the server itself that runs already, choose another"
            yield Finding(key, text, serious=False)


# Others.


async def _brokers(settings: Settings, roles: tuple[str, ...]) -> AsyncIterator[Finding]:
    for name in ("connector", "userapi"):
        if name not in roles:
            continue
        section = getattr(settings, name)
        try:
            keys = read_link_keys(section.curve_key_file, section.broker_public_key_file)
        except ConfigError as error:
            yield Finding(f"{name}.curve_key_file", str(error))
            continue
        for endpoint in section.brokers:
            if endpoint.startswith("tcp://") and (why := await asyncio.to_thread(shake_hands, endpoint, keys)):
                yield Finding(f"{name}.brokers", f"{endpoint}: {why}")


def shake_hands(endpoint: str, keys: LinkKeys | None, patience_s: float = PATIENCE_S) -> str:
    """Link to a broker and leave; why that failed, empty if it did not. Blocks."""
    why = ""
    for tries in range(len(keys.brokers) if keys is not None else 1):
        why = _shake_hands(endpoint, keys, tries, patience_s)
        if not why:
            break
    return why


def _shake_hands(endpoint: str, keys: LinkKeys | None, tries: int, patience_s: float) -> str:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.LINGER, 0)
        if keys is not None:
            secure(dealer, keys, tries)
        with dealer.get_monitor_socket(sum(_HANDSHAKES)) as watched:
            try:
                dealer.connect(endpoint)
                end = time.monotonic() + patience_s
                while watched.poll(max(0, int((end - time.monotonic()) * 1000))):
                    event = parse_monitor_message(watched.recv_multipart())["event"]
                    if event in _HANDSHAKES:
                        return _HANDSHAKES[event]
            except zmq.ZMQError as error:
                return str(error)
            finally:
                dealer.disable_monitor()
    return "nothing that speaks ZeroMQ answers there: is the broker up, and does a firewall let us through?"


async def _etcd(settings: Settings) -> AsyncIterator[Finding]:
    from broker.etcd import Etcd
    from broker.etcd import api_pb2 as api
    from broker.etcd.client import RANGE

    prefix = settings.etcd.prefix.encode()
    for endpoint in settings.etcd.endpoints:
        alone = dataclasses.replace(settings.etcd, endpoints=(endpoint,), call_timeout_s=PATIENCE_S)
        try:
            etcd = Etcd(alone)
        except ConfigError as error:
            yield Finding("etcd", str(error))
            return
        try:
            await etcd.call(RANGE, api.RangeRequest(key=prefix + b"mark"))
        except SparrowError as error:
            yield Finding("etcd.endpoints", f"{endpoint}: {error}")
        finally:
            await etcd.close()


async def _store(settings: Settings) -> AsyncIterator[Finding]:
    from store import open_store

    store = settings.store
    if store.engine == "sqlite" and not _is_there(store.path):
        return  # opening would make it
    patient = dataclasses.replace(store, cassandra_start_timeout_s=PATIENCE_S, purge_interval_s=0.0)
    try:
        async with open_store(patient):
            pass
    except SparrowError as error:
        yield Finding("store", str(error))


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except PermissionError:
        return True  # and opening it says what is wrong


async def _clocks(settings: Settings) -> AsyncIterator[Finding]:
    """Compare the clocks of the machines whose monitors are named with ours."""
    async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client:
        for process in settings.monitor.processes:
            address = process.rpartition("=")[2]
            try:
                answer = await client.get(f"http://{address}/healthz")
                there = email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp()
            except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError) as error:
                text = f"{address} tells nothing ({str(error) or type(error).__name__}): is that process up?"
                yield Finding("monitor.processes", text, serious=False)
                continue
            if (finding := judge_clock(address, there, time.time)) is not None:
                yield finding


def judge_clock(address: str, there: float, clock: Callable[[], float]) -> Finding | None:
    """A finding if that machine's clock (Unix time in whole seconds) is too far from ours."""
    apart = abs(clock() - there - 0.5)
    if apart < UNWISE_APART_S:
        return None
    text = f"{address}: its clock and ours are {apart:.0f} s apart: run NTP on both"
    return Finding("monitor.processes", text, serious=apart >= TOO_FAR_APART_S)
