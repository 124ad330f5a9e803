"""Connections to Cassandra: the driver's cluster and session, made from our settings.

Owns the driver's configuration: consistency, retries, TLS, timeouts. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from cassandra import ConsistencyLevel, InvalidRequest
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    HostStateListener,
    RetryPolicy,
    RoundRobinPolicy,
    TokenAwarePolicy,
)
from cassandra.query import SimpleStatement, dict_factory, tuple_factory

from protocol.errors import ConfigError
from store.cassandra.addresses import parse_contact_points, read_credentials, where
from store.cassandra.failures import store_error
from store.settings import StoreSettings

_log = logging.getLogger("sparrow.store")

SERIAL = "serial"
"""The execution profile of conditional statements; their rows are dicts."""
SERIAL_READ = "serial read"
"""Of reads that see what conditional statements have come to, those among them whose outcome nobody was told."""
_PROTOCOL = 4
_RECONNECT_S = (0.5, 10.0)
_RETRIES = 2

# The driver reports what it cannot do with tracebacks; we say what matters ourselves.
logging.getLogger("cassandra").setLevel(logging.CRITICAL)


class Connection:
    """A session with one cluster; a context manager."""

    def __init__(self, settings: StoreSettings, cluster: Any, session: Any) -> None:
        self._settings = settings
        self._cluster = cluster
        self.session = session
        self._keyspace = ""
        self._copies = 0

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections."""
        self._cluster.shutdown()

    def execute(self, statement: str, parameters: tuple[object, ...] = ()) -> list[Any]:
        """Run one statement and return its rows. Raises the driver's `InvalidRequest`, and ours for all else."""
        try:
            return list(self.session.execute(statement, parameters or None))
        except InvalidRequest:
            raise
        except Exception as error:
            raise store_error(self._settings, error) from error

    def scan(self, statement: str, at_once: int) -> Iterator[Any]:
        """All rows that it finds, some at a time. Raises ours."""
        try:
            yield from self.session.execute(SimpleStatement(statement, fetch_size=at_once))
        except Exception as error:
            raise store_error(self._settings, error) from error

    def prepare(self, statement: str) -> Any:
        """A prepared statement that may be repeated. Raises as `execute` does."""
        try:
            prepared = self.session.prepare(statement)
        except Exception as error:
            raise store_error(self._settings, error) from error
        prepared.is_idempotent = True
        prepared.fetch_size = None
        return prepared

    def enter(self, keyspace: str) -> None:
        """Use this keyspace. Raises as `execute` does."""
        self.execute(f"USE {keyspace}")
        replication = self.replication(keyspace) or {}
        self._keyspace = keyspace
        self._copies = sum(int(value) for name, value in replication.items() if name != "class")

    def replicas(self, key: Sequence[str]) -> Hashable:
        """Which nodes keep a partition of our keyspace, as far as they differ. `key` is its partition key."""
        metadata = self._cluster.metadata
        if len(metadata.all_hosts()) <= self._copies:
            return None  # all nodes keep everything
        parts = [part.encode() for part in key]
        packed = b"".join([len(part).to_bytes(2, "big") + part + b"\0" for part in parts]) if parts[1:] else parts[0]
        return frozenset(metadata.get_replicas(self._keyspace, packed))

    def replication(self, keyspace: str) -> dict[str, Any] | None:
        """The replication of a keyspace; None without such a keyspace."""
        rows = self.execute("SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = %s", (keyspace,))
        return dict(rows[0][0]) if rows else None


class _Repeat(RetryPolicy):  # type: ignore[misc]
    """All our statements may be repeated, so all are, a little."""

    def on_read_timeout(self, *_: object, retry_num: int, **__: object) -> tuple[int, None]:
        # Not at once: the caller reads a smaller part instead.
        return self.RETHROW, None

    def on_write_timeout(self, *_: object, retry_num: int, **__: object) -> tuple[int, None]:
        return (self.RETRY, None) if retry_num < _RETRIES else (self.RETHROW, None)

    def on_unavailable(self, *_: object, retry_num: int, **__: object) -> tuple[int, None]:
        return (self.RETRY_NEXT_HOST, None) if retry_num < 1 else (self.RETHROW, None)

    def on_request_error(self, *_: object, retry_num: int, **__: object) -> tuple[int, None]:
        return (self.RETRY_NEXT_HOST, None) if retry_num < _RETRIES else (self.RETHROW, None)


class _Log(HostStateListener):  # type: ignore[misc]
    """Nodes that come and go."""

    def on_up(self, host: Any) -> None:
        _log.warning("Cassandra's node %s is back", host.endpoint)

    def on_down(self, host: Any) -> None:
        _log.warning("Cassandra's node %s is lost", host.endpoint)

    def on_add(self, host: Any) -> None:
        _log.info("Cassandra's node %s is known", host.endpoint)

    def on_remove(self, host: Any) -> None:
        _log.info("Cassandra's node %s has left", host.endpoint)


def connect(settings: StoreSettings) -> Connection:
    """Raises `ConfigError` for wrong settings, a refused login included, and `StoreError` when no node answers."""
    points = parse_contact_points(settings)
    credentials = read_credentials(settings)
    cluster = Cluster(
        contact_points=points,
        port=points[0][1],
        protocol_version=_PROTOCOL,
        auth_provider=PlainTextAuthProvider(*credentials) if credentials else None,
        ssl_context=_tls(settings),
        execution_profiles=_profiles(settings),
        reconnection_policy=ExponentialReconnectionPolicy(*_RECONNECT_S),
        connect_timeout=settings.cassandra_request_timeout_s,
        control_connection_timeout=settings.cassandra_request_timeout_s,
        idle_heartbeat_interval=10,
        idle_heartbeat_timeout=settings.cassandra_request_timeout_s,
        monitor_reporting_enabled=False,
    )
    try:
        session = cluster.connect()
    except Exception as error:
        cluster.shutdown()
        raise store_error(settings, error) from error
    cluster.register_listener(_Log())
    return Connection(settings, cluster, session)


def _profiles(settings: StoreSettings) -> dict[Any, ExecutionProfile]:
    local = settings.cassandra_local_dc
    inner = DCAwareRoundRobinPolicy(local) if local else RoundRobinPolicy()

    quorum = ConsistencyLevel.LOCAL_QUORUM if local else ConsistencyLevel.QUORUM
    serial = ConsistencyLevel.LOCAL_SERIAL if local else ConsistencyLevel.SERIAL

    def profile(row_factory: Any, consistency: int = quorum) -> ExecutionProfile:
        return ExecutionProfile(
            load_balancing_policy=TokenAwarePolicy(inner),
            retry_policy=_Repeat(),
            consistency_level=consistency,
            serial_consistency_level=serial,
            request_timeout=settings.cassandra_request_timeout_s,
            row_factory=row_factory,
        )

    return {
        EXEC_PROFILE_DEFAULT: profile(tuple_factory),
        SERIAL: profile(dict_factory),
        SERIAL_READ: profile(tuple_factory, serial),
    }


def _tls(settings: StoreSettings) -> ssl.SSLContext | None:
    if not settings.cassandra_tls_ca_file:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.cassandra_tls_ca_file)
        if settings.cassandra_tls_cert_file:
            context.load_cert_chain(settings.cassandra_tls_cert_file, settings.cassandra_tls_key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"store {where(settings)}: one of the files in store.cassandra_tls_* cannot be used: {error}"
        ) from error
    # The driver finds nodes by their IP address, which certificates rarely name.
    context.check_hostname = False
    return context
