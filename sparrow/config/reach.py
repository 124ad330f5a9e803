"""Addresses that are told to others, for whom they lead elsewhere, or nowhere.

Owns those rules: nothing is wrong with what is opened, only with what is said of it. None is serious: a proxy or a
tunnel may make each of them right.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fabric.networks import is_loopback
from sparrow.config.origins import is_everywhere
from sparrow.config.page import as_node

if TYPE_CHECKING:
    from sparrow.config.exposure import Found
    from sparrow.config.tree import Settings


def reach(settings: Settings, roles: Collection[str]) -> Iterator[Found]:
    """What others are told, and cannot reach; for processes of these roles, none: whichever."""
    yield from _connectors(settings, roles)
    yield from _broker(settings)
    yield from _page(settings, roles)


def _connectors(settings: Settings, roles: Collection[str]) -> Iterator[Found]:
    """What clients are told at a login."""
    key = "userapi.connectors"
    told = as_node(settings).userapi.connectors if not roles or "node" in roles else settings.userapi.connectors
    opened = [
        (section, host)
        for section, host in (("connector", settings.connector.listen_host), ("userapi", settings.userapi.listen_host))
        if not is_loopback(host)
    ]
    for address in told:
        host = _host(address)
        if is_everywhere(host):
            yield key, f'"{address}" is nobody\'s address: name this machine as clients reach it', False
        elif is_loopback(host) and opened:
            section, open_to = opened[0]
            text = (
                f'"{address}" is what clients are told, and on other machines, which {section}.listen_host = '
                f'"{open_to}" lets in, it is their own: name this one as they reach it'
            )
            # Either would do: what a file says of one section alone is enough.
            yield key, text, False, (opened[-1][0],)


def _broker(settings: Settings) -> Iterator[Found]:
    """What brokers tell one another, and connectors, through etcd."""
    broker = settings.broker
    if broker.presence != "etcd" or not broker.endpoint.startswith("tcp://") or not is_loopback(_host(broker.endpoint)):
        return
    away = [one for one in settings.etcd.endpoints if _host(one) and not is_loopback(_host(one))]
    if away or not is_loopback(_host(broker.listen)):
        text = (
            f"{broker.endpoint} is what connectors and brokers are told, and on other machines it is their own: set "
            "broker.advertise to this one's address"
        )
        yield "broker.advertise", text, False


def _page(settings: Settings, roles: Collection[str]) -> Iterator[Found]:
    """Of a connector whose settings say nothing of the user API: its page's origin cannot be told from them."""
    connector = settings.connector
    if not roles or {"node", "userapi"} & set(roles) or not connector.websocket_listen_port:
        return
    said = any(name == "connector.websocket_origins" or name.startswith("userapi.") for name in settings.written)
    if not said and not is_loopback(connector.listen_host):
        text = (
            "is not set, and these settings say nothing of the user API: only pages of this machine may connect. Name "
            'the page, such as ["https://chat.example.net"]'
        )
        yield "connector.websocket_origins", text, False


def _host(address: str) -> str:
    """Empty where there is none to be made out, which is another's complaint."""
    try:
        return urlsplit(address if "://" in address else f"//{address}").hostname or ""
    except ValueError:
        return ""
