"""What others on the network could read or do: links, clients and HTTP that leave this machine unprotected.

Owns the rules on CURVE, TLS and their files. Beyond this machine everything is protected, or the settings say that
it need not be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from connector.settings import ConnectorSettings
from fabric.curve import read_allowed, read_public, read_secret
from fabric.networks import is_loopback
from protocol.errors import ConfigError
from sparrow.config.origins import unknown_origins
from sparrow.config.page import unreached
from userapi.settings import UserApiSettings

if TYPE_CHECKING:
    from sparrow.config.tree import OperatorSettings, Settings

Found: TypeAlias = tuple[str, str, bool] | tuple[str, str, bool, tuple[str, ...]]
"""Key, text, whether it is serious, and sections that it is about besides its key's."""

CLIENTS_PORTS = ("listen_port", "plain_listen_port", "websocket_listen_port", "plain_websocket_listen_port")
"""Where a connector may listen for clients."""


def exposure(settings: Settings) -> Iterator[Found]:
    """What is wrong with protection."""
    yield from _broker(settings)
    yield from _links("connector", settings.connector)
    yield from _links("userapi", settings.userapi)
    yield from _clients(settings)
    yield from _web(settings)
    yield from _etcd(settings)
    yield from _cassandra(settings)
    yield from _monitor(settings)
    yield from _operator(settings)


def _broker(settings: Settings) -> Iterator[Found]:
    broker = settings.broker
    if bool(broker.curve_key_file) != bool(broker.allowed_keys_file):
        empty = "allowed_keys_file" if broker.curve_key_file else "curve_key_file"
        yield f"broker.{empty}", "is empty: CURVE needs the key and the list of allowed keys, or neither", True
    elif broker.curve_key_file:
        yield from _read("broker.curve_key_file", read_secret, broker.curve_key_file)
        yield from _read("broker.allowed_keys_file", read_allowed, broker.allowed_keys_file)
    elif _leaves(broker.listen) and not broker.plain_links:
        text = (
            f"{broker.listen} can be reached from other machines, and without CURVE by anybody: make keys with "
            "`sparrow keys broker` and set "
            "broker.curve_key_file and allowed_keys_file, or say broker.plain_links = true"
        )
        yield "broker.listen", text, True


def _read(key: str, read: Callable[[str], object], path: str) -> Iterator[Found]:
    """What keeps a file of keys from being used."""
    try:
        read(path)
    except ConfigError as error:
        yield key, str(error), True


def _links(room: str, section: ConnectorSettings | UserApiSettings) -> Iterator[Found]:
    """Those to brokers."""
    if bool(section.curve_key_file) != bool(section.broker_public_key_file):
        empty = "broker_public_key_file" if section.curve_key_file else "curve_key_file"
        text = f"is empty: CURVE needs the {room}'s key and the brokers' public key, or neither"
        yield f"{room}.{empty}", text, True
    elif section.curve_key_file:
        yield from _read(f"{room}.curve_key_file", read_secret, section.curve_key_file)
        yield from _read(f"{room}.broker_public_key_file", read_public, section.broker_public_key_file)
    elif not section.plain_links:
        for endpoint in filter(_leaves, section.brokers):
            text = (
                f"the link to {endpoint} leaves this machine without CURVE: make a key with `sparrow keys {room}` "
                f"and set {room}.curve_key_file and broker_public_key_file, or say {room}.plain_links = true"
            )
            yield f"{room}.brokers", text, True


def _clients(settings: Settings) -> Iterator[Found]:
    connector = settings.connector
    yield from _certificate("connector", connector)
    if not connector.tls_certificate_file:
        if not is_loopback(connector.listen_host) and not connector.plain_tcp:
            text = (
                f"{connector.listen_host} can be reached from other machines, and without TLS others can read tokens "
                "and messages: set connector.tls_certificate_file and tls_private_key_file, or say "
                "connector.plain_tcp = true"
            )
            yield "connector.listen_host", text, True
        for plain, other in (
            ("plain_listen_port", "listen_port"),
            ("plain_websocket_listen_port", "websocket_listen_port"),
        ):
            if getattr(connector, plain):
                text = f"is of use only beside TLS: connector.{other} is without TLS already"
                yield f"connector.{plain}", text, True
    yield from _ports(connector)
    yield from unknown_origins(settings)
    yield from _told(settings)
    yield from unreached(settings)


def _told(settings: Settings) -> Iterator[Found]:
    """What clients are told of the connector on this machine, and is not so."""
    connector = settings.connector
    speaks_tls = bool(connector.tls_certificate_file)
    for port, bare, tls in (
        (connector.listen_port, "", "tls://"),
        (connector.websocket_listen_port, "ws://", "wss://"),
    ):
        for address in settings.userapi.connectors:
            scheme, colon, rest = address.rpartition("://")
            if scheme + colon not in (bare, tls) or not rest.partition("/")[0].endswith(f":{port}"):
                continue
            if (scheme + colon == tls) != speaks_tls:
                text = f'"{address}" tells clients ' + (
                    "of TLS, which the connector on this machine does not speak: set connector.tls_certificate_file"
                    if not speaks_tls
                    else f'nothing of TLS, which the connector on this machine speaks: write "{tls}{rest}"'
                )
                yield "userapi.connectors", text, False, ("connector",)


def _ports(connector: ConnectorSettings) -> Iterator[Found]:
    """Each is another's."""
    taken: dict[int, str] = {}
    for key in CLIENTS_PORTS:
        port: int = getattr(connector, key)
        if port and port in taken:
            yield f"connector.{key}", f"is connector.{taken[port]} too: choose another", True
        taken.setdefault(port, key)


def _web(settings: Settings) -> Iterator[Found]:
    userapi = settings.userapi
    yield from _certificate("userapi", userapi)
    if not userapi.tls_certificate_file and not is_loopback(userapi.listen_host) and not userapi.plain_http:
        text = (
            f"{userapi.listen_host} can be reached from other machines, and without TLS others can read passwords: "
            "set userapi.tls_certificate_file and tls_private_key_file, or say userapi.plain_http = true"
        )
        yield "userapi.listen_host", text, True
    if userapi.admin_listen_port:
        if (userapi.admin_listen_host, userapi.admin_listen_port) == (userapi.listen_host, userapi.listen_port):
            yield "userapi.admin_listen_port", "is userapi.listen_port too: choose another", True
        if not userapi.admin_token_file:
            text = "is of no use without userapi.admin_token_file: there is no administration"
            yield "userapi.admin_listen_port", text, False
        if not userapi.tls_certificate_file and not is_loopback(userapi.admin_listen_host) and not userapi.plain_http:
            text = (
                f"{userapi.admin_listen_host} can be reached from other machines, and without TLS others can read the "
                "administrator's token: set userapi.tls_certificate_file and tls_private_key_file"
            )
            yield "userapi.admin_listen_host", text, True


def _etcd(settings: Settings) -> Iterator[Found]:
    """Not serious, as networks of their own are common; but whoever is there can do it."""
    etcd = settings.etcd
    if settings.broker.presence != "etcd":
        return
    away = [one for one in etcd.endpoints if _host(one) and not is_loopback(_host(one))]
    plain = [one for one in away if not one.startswith("https:")]
    if plain:
        text = (
            f"{plain[0]} is on another machine, and without TLS others on the way can read and change who is online "
            "where: write https, and set etcd.ca_file"
        )
        yield "etcd.endpoints", text, False
    if away and not (etcd.user or etcd.cert_file or etcd.key_file):
        text = (
            f"is empty, and so is etcd.cert_file: whoever reaches {away[0]} can end sessions and name brokers of "
            "their own. Let etcd ask for a user or a certificate"
        )
        yield "etcd.user", text, False


def _cassandra(settings: Settings) -> Iterator[Found]:
    store = settings.store
    if store.engine != "cassandra":
        return
    away = [one for one in store.cassandra_contact_points if not is_loopback(_host(f"//{one}"))]
    if away and not store.cassandra_tls_ca_file:
        text = (
            f"is empty, and {away[0]} is on another machine: without TLS others on the way can read and change "
            "messages, accounts and hashes of passwords"
        )
        yield "store.cassandra_tls_ca_file", text, False
    if away and not store.cassandra_credentials_file and not store.cassandra_tls_cert_file:
        text = (
            f"is empty, and so is store.cassandra_tls_cert_file: whoever reaches {away[0]} can read and change all "
            "that is kept. Let Cassandra ask for a user (PasswordAuthenticator) or a certificate"
        )
        yield "store.cassandra_credentials_file", text, False


def _monitor(settings: Settings) -> Iterator[Found]:
    monitor = settings.monitor
    if not monitor.listen_port or is_loopback(monitor.listen_host):
        return
    shown = "metrics and addresses of servers"
    if monitor.allow_trace:
        shown += ", and, since monitor.allow_trace is true, who writes to whom"
    text = (
        f"{monitor.listen_host} can be reached from other machines, without TLS or a password: whoever is there sees "
        f"{shown}. Let a firewall keep others away, or listen on 127.0.0.1"
    )
    yield "monitor.listen_host", text, False


def _operator(settings: Settings) -> Iterator[Found]:
    operator = settings.operator
    yield from _certificate("operator", operator)
    if not is_loopback(operator.listen_host) and not operator.tls_certificate_file:
        text = (
            f"{operator.listen_host} can be reached from other machines, and without TLS others can read the "
            "administrator's token: set operator.tls_certificate_file and tls_private_key_file, or listen on 127.0.0.1 "
            "and go there through ssh -L"
        )
        yield "operator.listen_host", text, True
    url = operator.userapi_url
    if url.startswith("http://") and not is_loopback(_host(url)):
        yield "operator.userapi_url", f"{url}: others on the way can read the administrator's token: use https://", True
    if operator.userapi_ca_file and not url:
        yield "operator.userapi_ca_file", "is for operator.userapi_url, which is empty", False


def _host(url: str) -> str:
    """Empty where there is none to be made out, which is another's complaint."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _certificate(room: str, section: ConnectorSettings | UserApiSettings | OperatorSettings) -> Iterator[Found]:
    """Whether certificate and key are there, readable, and the key is nobody else's; the rest is found out at start."""
    certificate, key = section.tls_certificate_file, section.tls_private_key_file
    if bool(certificate) != bool(key):
        empty = "tls_private_key_file" if certificate else "tls_certificate_file"
        yield f"{room}.{empty}", "is empty: TLS needs a certificate and its key, or neither", True
        return
    for name, path in (("tls_certificate_file", certificate), ("tls_private_key_file", key)):
        if not path:
            continue
        try:
            Path(path).read_bytes()
            # A group may: certificates are often shared by the services of a machine that way.
            if name == "tls_private_key_file" and Path(path).stat().st_mode & 0o007:
                yield f"{room}.{name}", f"{path} can be read by others: chmod o= {path}", True
        except OSError as error:
            yield f"{room}.{name}", f"cannot read {path} ({error.strerror})", True


def _leaves(endpoint: str) -> bool:
    """Whether a link to this endpoint, or the ones that it takes, may leave the machine."""
    if not endpoint.startswith("tcp://"):
        return False
    return not is_loopback(_host(endpoint))
