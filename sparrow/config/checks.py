"""What can be wrong with settings that are each right alone.

Owns the rules between settings, and what of it is said to whom. Changes nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from fabric.networks import parse_networks
from protocol.errors import ConfigError
from sparrow.config.exposure import Found, exposure
from sparrow.config.numbers import out_of_bounds
from sparrow.config.openness import openness
from sparrow.config.places import places
from sparrow.config.provider import provider
from sparrow.config.reach import reach
from sparrow.config.roles import ROLES, of_no_use, sections_of

if TYPE_CHECKING:
    from sparrow.config.tree import Settings

_ENDPOINT = re.compile(r"tcp://(\[[0-9a-fA-F:.%\w]+\]|[^:/\s]+):\d{1,5}|(ipc|inproc)://\S+")
_NOWHERE = re.compile(r"tcp://(0\.0\.0\.0|\*|\[::\]):\d+")
_URL = re.compile(r"(https?)://(\[[0-9a-fA-F:.%\w]+\]|[^:/\s]+)(:\d{1,5})?/?")
_WEBSOCKET = re.compile(r"wss?://(\[[0-9a-fA-F:.%\w]+\]|[^:/\s]+)(:\d{1,5})?(/[!-~]*)?")
_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:.%\w]+\]|[^:/\s]+):\d{1,5}")

_FEW_ROWS = 1000
_ENOUGH_REPLICAS = 3
_ARGON2_KIB = 8

__all__ = ["ROLES", "Finding", "check"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong (`serious`) or unwise with a setting, and the cure."""

    key: str
    text: str
    serious: bool = True
    about: tuple[str, ...] = ()
    """Sections that it is about besides its key's."""


def check(settings: Settings, roles: Collection[str] = ()) -> list[Finding]:
    """All findings for processes of these roles, none: for whoever reads any of it. The server should not start with
    serious ones.

    What is about a section that these have not is said only where somebody has written into it.
    """
    found = [
        *(_finding(each) for each in out_of_bounds(settings)),
        *_limits(settings),
        *_room(settings),
        *_history(settings),
        *_groups(settings),
        *_times(settings),
        *_addresses(settings),
        *_etcd(settings),
        *map(_finding, places(settings)),
        *map(_finding, exposure(settings)),
        *map(_finding, reach(settings, roles)),
        *_cassandra(settings),
        *_replicas(settings, roles),
        *_identity(settings),
        *map(_finding, provider(settings)),
        *map(_finding, openness(settings)),
    ]
    old = [Finding(key, text, serious=False) for key, text in settings.written_in_old_ways]
    return old + (_of(settings, roles, found) if roles else found)


def _of(settings: Settings, roles: Collection[str], found: list[Finding]) -> list[Finding]:
    sections = sections_of(roles)
    there = sections | {name.partition(".")[0] for name in settings.written}
    unused = [_finding(each) for each in of_no_use(settings, roles)]
    keys = {finding.key for finding in unused}
    kept = [
        finding
        for finding in found
        if finding.key.partition(".")[0] in sections and there.issuperset(finding.about) and finding.key not in keys
    ]
    return unused + kept


def _finding(found: Found) -> Finding:
    return Finding(*found)


def _limits(settings: Settings) -> Iterator[Finding]:
    broker, store = settings.broker, settings.store
    rules = (
        ("connector.max_unsettled_per_connection", "connector.max_unsettled_per_stream"),
        ("connector.max_unacked_bytes", "connector.max_frame_bytes"),
        ("connector.max_write_buffer_bytes", "connector.max_unacked_bytes"),
        ("connector.max_buffered_bytes", "connector.max_unacked_bytes"),
        ("connector.max_sessions", "connector.max_before_login"),
        ("broker.max_batch_bytes", "connector.max_frame_bytes"),
        ("broker.max_storing_bytes", "connector.max_frame_bytes"),
        ("broker.max_storing_rows", "broker.max_batch_rows"),
        ("broker.inbox_max_rows", "broker.inbox_max_rows_of_author"),
        ("broker.inbox_max_bytes", "broker.inbox_max_bytes_of_author"),
        ("broker.inbox_max_bytes_of_author", "connector.max_frame_bytes"),
        ("userapi.max_upload_bytes_of_account", "userapi.max_file_bytes"),
        ("userapi.max_file_bytes_per_day_of_account", "userapi.max_file_bytes"),
        ("store.max_waiting_rows", "broker.max_batch_rows"),
    )
    for larger, smaller in rules:
        yield from _at_least(settings, larger, smaller)
    if store.max_waiting_rows < broker.max_batch_rows * broker.max_appends_in_flight:
        text = (
            "is below broker.max_batch_rows * broker.max_appends_in_flight: the store will refuse what the broker sends"
        )
        yield Finding("store.max_waiting_rows", text, serious=False)


def _room(settings: Settings) -> Iterator[Finding]:
    # A broker looks when a sixteenth of it has been stored.
    if settings.broker.inbox_max_rows_of_author < _FEW_ROWS:
        text = f"is below {_FEW_ROWS}: a person who comes back from a holiday would miss messages"
        yield Finding("broker.inbox_max_rows_of_author", text, serious=False)


def _history(settings: Settings) -> Iterator[Finding]:
    history = settings.history
    if history.max_bytes_of_author < history.max_bytes_per_day_of_author:
        yield Finding("history.max_bytes_of_author", "must not be below history.max_bytes_per_day_of_author")
    if history.keep_days and settings.store.inbox_ttl_days > history.keep_days:
        yield Finding(
            "history.keep_days",
            "is below store.inbox_ttl_days: what still waits for a device is gone from its conversation",
            serious=False,
        )


def _groups(settings: Settings) -> Iterator[Finding]:
    broker = settings.broker
    if broker.group_look_s > broker.lease_s:
        text = "must not be above broker.lease_s: a connector would be gone before it is told to look for more"
        yield Finding("broker.group_look_s", text)
    if 0 < broker.group_bytes_per_second < (broker.group_author_bytes_per_second or inf):
        text = "is below broker.group_author_bytes_per_second: one author keeps all others of a group from writing"
        yield Finding("broker.group_bytes_per_second", text, serious=False)
    if 0 < broker.signal_group_bytes_per_second < (broker.signal_author_bytes_per_second or inf):
        text = "is below broker.signal_author_bytes_per_second: one member keeps all others of a group from signalling"
        yield Finding("broker.signal_group_bytes_per_second", text, serious=False)
    of_account = settings.userapi.max_group_changes_per_minute_of_account
    if 0 < settings.userapi.max_group_changes_per_minute_of_group < (of_account or inf):
        text = "is below max_group_changes_per_minute_of_account: one member keeps all others from changing a group"
        yield Finding("userapi.max_group_changes_per_minute_of_group", text, serious=False)


def _times(settings: Settings) -> Iterator[Finding]:
    connector, broker, store, userapi = settings.connector, settings.broker, settings.store, settings.userapi
    yield from _at_least(settings, "userapi.further_device_delay_s", "broker.cache_s")
    for key, timeout in (("connector.link_timeout_s", connector.link_timeout_s), ("broker.lease_s", broker.lease_s)):
        if timeout <= 2 * connector.link_heartbeat_s:
            yield Finding(
                key, "must be above twice connector.link_heartbeat_s, or a link that is well is taken for lost"
            )
    if connector.attempt_timeout_s <= connector.store_after_s + connector.request_timeout_s:
        text = "must be above connector.store_after_s + connector.request_timeout_s, or messages are forgotten"
        yield Finding("connector.attempt_timeout_s", text)
    if store.inbox_ttl_days * 86400 <= 10 * broker.row_max_age_s:
        yield Finding("store.inbox_ttl_days", "must be well above broker.row_max_age_s (ten times)")
    yield from _at_least(settings, "store.call_timeout_s", "store.busy_timeout_s")
    if userapi.stop_timeout_s <= userapi.further_device_delay_s:
        text = "is not above userapi.further_device_delay_s: logins of further devices are cut off at a stop"
        yield Finding("userapi.stop_timeout_s", text, serious=False)


def _at_least(settings: Settings, larger: str, smaller: str) -> Iterator[Finding]:
    if _value(settings, larger) < _value(settings, smaller):
        yield Finding(larger, f"must be at least {smaller}, {_value(settings, smaller)}")


def _value(settings: Settings, key: str) -> float:
    section, _, name = key.partition(".")
    value: float = getattr(getattr(settings, section), name)
    return value


def _is_origin(text: str) -> bool:
    return _URL.fullmatch(text) is not None and not text.endswith("/")


def _addresses(settings: Settings) -> Iterator[Finding]:
    connector, broker, userapi = settings.connector, settings.broker, settings.userapi
    for key, endpoint in (("broker.listen", broker.listen), *(("connector.brokers", one) for one in connector.brokers)):
        if not _ENDPOINT.fullmatch(endpoint):
            yield Finding(key, f'"{endpoint}" is no endpoint: write tcp://host:port')
    proxies = {"connector.proxies": connector.proxies, "connector.trusted_proxies": connector.trusted_proxies}
    for key, networks in proxies.items():
        try:
            parse_networks(key, networks)
        except ConfigError as error:
            yield Finding(key, str(error))
    for address in userapi.connectors:
        if not _HOST_PORT.fullmatch(address.removeprefix("tls://")) and not _WEBSOCKET.fullmatch(address):
            text = "write host:port, tls://host:port, ws://host:port or wss://host/path"
            yield Finding("userapi.connectors", f'"{address}" is no address: {text}')
    for origin in userapi.cors_origins:
        if origin != "*" and not _is_origin(origin):
            yield Finding("userapi.cors_origins", f'"{origin}" is no origin: write https://host, and :port if not 443')
    for origin in connector.websocket_origins:
        if not _is_origin(origin):
            text = "write https://host, and :port if not 443"
            yield Finding("connector.websocket_origins", f'"{origin}" is no origin: {text}')
    connectors_ports = (connector.listen_port, connector.websocket_listen_port)
    if connector.listen_host == userapi.listen_host and userapi.listen_port in connectors_ports:
        yield Finding("userapi.listen_port", "is the connector's too: choose another", about=("connector",))
    for section, listens in (("connector", connector), ("userapi", userapi)):
        if broker.listen == f"tcp://{listens.listen_host}:{listens.listen_port}":
            text = "is the address of the connector or the user API: choose another port"
            yield Finding("broker.listen", text, about=(section,))


def _etcd(settings: Settings) -> Iterator[Finding]:
    broker, etcd = settings.broker, settings.etcd
    if broker.advertise and not _ENDPOINT.fullmatch(broker.advertise):
        yield Finding("broker.advertise", f'"{broker.advertise}" is no endpoint: write tcp://host:port')
    if broker.presence != "etcd":
        return
    if _NOWHERE.fullmatch(broker.endpoint):
        text = f"{broker.endpoint} cannot be reached from elsewhere: set broker.advertise to the address of this broker"
        yield Finding("broker.advertise", text)
    for endpoint in etcd.endpoints:
        if not _URL.fullmatch(endpoint):
            yield Finding("etcd.endpoints", f'"{endpoint}" is no URL: write http://host:2379 or https://host:2379')
    if len({endpoint.partition(":")[0] for endpoint in etcd.endpoints}) > 1:
        yield Finding("etcd.endpoints", "some are http and some are https: all must be the same")
    secure = etcd.endpoints[0].startswith("https:")
    if not secure and (etcd.ca_file or etcd.cert_file):
        yield Finding("etcd.endpoints", "are http, so that etcd.ca_file and cert_file would not be used: write https")
    if bool(etcd.cert_file) != bool(etcd.key_file):
        yield Finding("etcd.cert_file", "goes with etcd.key_file: set both, or neither")
    if bool(etcd.user) != bool(etcd.password_file):
        yield Finding("etcd.user", "goes with etcd.password_file: set both, or neither")
    if etcd.user and etcd.password_file and not secure:
        yield Finding("etcd.user", "its password crosses the network in the clear: use https endpoints", serious=False)
    if not etcd.prefix.endswith("/"):
        yield Finding("etcd.prefix", 'must end in "/", so that no other keys begin with it')
    yield from _at_least(settings, "etcd.call_timeout_s", "etcd.try_timeout_s")
    if broker.lease_s <= 3 * etcd.try_timeout_s:
        text = "must be above three times etcd.try_timeout_s, or leases run out while etcd elects a leader"
        yield Finding("broker.lease_s", text, serious=False)
    if etcd.call_timeout_s >= settings.connector.request_timeout_s:
        text = "must be below connector.request_timeout_s, or connectors give up before brokers answer"
        yield Finding("etcd.call_timeout_s", text)
    for name in ("ca_file", "cert_file", "key_file", "password_file"):
        path = getattr(etcd, name)
        if path and not os.access(path, os.R_OK):
            yield Finding(f"etcd.{name}", f"{path} cannot be read: is it there, and may the server's user read it?")


def _cassandra(settings: Settings) -> Iterator[Finding]:
    store = settings.store
    if store.engine != "cassandra":
        return
    from store.cassandra.addresses import parse_contact_points, parse_replication, read_credentials

    readers = {
        "cassandra_contact_points": parse_contact_points,
        "cassandra_replication": parse_replication,
        "cassandra_credentials_file": read_credentials,
    }
    for name, read in readers.items():
        try:
            read(store)
        except ConfigError as error:
            yield Finding(f"store.{name}", str(error))
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", store.cassandra_keyspace):
        yield Finding("store.cassandra_keyspace", "must be a lower-case letter and up to 47 of a-z, 0-9 and _")
    if bool(store.cassandra_tls_cert_file) != bool(store.cassandra_tls_key_file):
        yield Finding("store.cassandra_tls_cert_file", "needs store.cassandra_tls_key_file, and the other way round")
    if store.cassandra_tls_cert_file and not store.cassandra_tls_ca_file:
        yield Finding("store.cassandra_tls_ca_file", "must be set too: without it there is no TLS")
    if store.cassandra_trail_s < 2 * settings.broker.row_max_age_s + 300:
        text = "must be at least twice broker.row_max_age_s and 300 s, or a row of a broker with a slow clock is missed"
        yield Finding("store.cassandra_trail_s", text)
    yield from _at_least(settings, "store.call_timeout_s", "store.cassandra_request_timeout_s")


def _replicas(settings: Settings, roles: Collection[str]) -> Iterator[Finding]:
    """Of whoever makes the keyspace: `sparrow schema apply`, with a broker's settings."""
    store, key = settings.store, "store.cassandra_replication"
    if store.engine != "cassandra" or (roles and not {"node", "broker"} & set(roles) and key not in settings.written):
        return
    from store.cassandra.addresses import parse_replication

    try:
        centres = {name: count for name, count in parse_replication(store).items() if isinstance(count, int)}
    except ConfigError:
        return  # which is told already
    nodes, fewest = len(store.cassandra_contact_points), min(centres.values())
    if nodes >= _ENOUGH_REPLICAS > fewest:
        lost = "while one is away, rows on it can be neither read nor written"
        text = (
            f'"{store.cassandra_replication}" keeps each row on {fewest} of the {nodes} nodes that are named: '
            f"{lost if fewest > 1 else 'when one is lost, so is what was SENT'}. Write 3 before `sparrow schema "
            "apply`; a keyspace that is there wants ALTER KEYSPACE, and then `nodetool repair --full` on each node"
        )
        yield Finding(key, text, serious=False)
    local = store.cassandra_local_dc
    if local and "replication_factor" not in centres and local not in centres:
        text = f'"{local}" has no replica by store.cassandra_replication, so that no call would succeed: name one of it'
        yield Finding("store.cassandra_local_dc", text)


def _identity(settings: Settings) -> Iterator[Finding]:
    from userapi.endpoints.admin import read_admin_token
    from userapi.identity import open_identity
    from userapi.identity.breaches import check_list

    userapi = settings.userapi

    def look_at_identity() -> None:
        identity = open_identity(userapi)
        if identity is not None:
            identity.close()

    def look_at_list() -> None:
        if userapi.password_breached_file:
            check_list(userapi.password_breached_file)

    looks: dict[str, Callable[[], object]] = {
        "identity": look_at_identity,
        "trusted_proxies": lambda: parse_networks("userapi.trusted_proxies", userapi.trusted_proxies),
        "unlimited_addresses": lambda: parse_networks("userapi.unlimited_addresses", userapi.unlimited_addresses),
        "password_breached_file": look_at_list,
        "admin_token_file": lambda: read_admin_token(userapi),
    }
    for name, look in looks.items():
        try:
            look()
        except ConfigError as error:
            yield Finding(f"userapi.{name}", str(error))
    plain = userapi.identity == "hook" and userapi.hook_url.startswith("http:")
    if plain or (userapi.identity == "ldap" and userapi.ldap_url.startswith("ldap:") and not userapi.ldap_start_tls):
        key = "hook_url" if plain else "ldap_start_tls"
        text = "passwords go there in the clear: use TLS unless it is on this machine"
        yield Finding(f"userapi.{key}", text, serious=False)
    makes_none = userapi.registration != "open" and not userapi.admin_token_file and userapi.identity == "own"
    if makes_none and not userapi.oidc_issuer:
        text = f'"{userapi.registration}" lets nobody in without userapi.admin_token_file: there is no administration'
        yield Finding("userapi.registration", text, serious=False)
    if userapi.page_url and not userapi.page_url.startswith(("https://", "http://")):
        yield Finding("userapi.page_url", 'must be a URL, such as "https://chat.example.net/"')
    yield from _at_least(settings, "userapi.password_max_length", "userapi.password_min_length")
    if userapi.argon2_memory_kib < _ARGON2_KIB * userapi.argon2_parallelism:
        text = f"must be at least {_ARGON2_KIB} times userapi.argon2_parallelism, or no password can be checked"
        yield Finding("userapi.argon2_memory_kib", text)
    yield from _at_least(settings, "userapi.refresh_grace_s", "userapi.refresh_bare_grace_s")
