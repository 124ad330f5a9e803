"""Calls to etcd: one connection to each member, the next member when one does not answer, and errors of our tree.

Owns connections, credentials and retries. Knows no key. A call that is tried again may have happened before: each
caller's must bear that.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import Message

from broker.etcd import api_pb2 as api
from broker.settings import EtcdSettings
from broker.timings import Timings
from protocol.errors import ConfigError, LeaseLostError, OverQuotaError, SparrowError, UnavailableError

log = logging.getLogger("sparrow.etcd")

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Code = grpc.StatusCode

DEFAULT_PORT = 2379
FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 0.5
AWAY_S = 1.0
"""When one member is gone, the next one answers sooner; so long without an answer is trouble."""
_OPTIONS = (
    # etcd closes a connection that pings more often than every 5 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)
_OVER_QUOTA = (
    "etcd has reached its quota and takes no more logins: compact and defragment it, raise --quota-backend-bytes, "
    "disarm the alarm (etcdctl alarm disarm), and switch auto-compaction on"
)


@dataclass(frozen=True, slots=True)
class Call(Generic[Request, Response]):
    """One of etcd's calls."""

    path: str
    response: type[Response]

    @property
    def name(self) -> str:
        """Such as Range."""
        return self.path.rpartition("/")[2]


RANGE: Call[api.RangeRequest, api.RangeResponse] = Call("/etcdserverpb.KV/Range", api.RangeResponse)
PUT: Call[api.PutRequest, api.PutResponse] = Call("/etcdserverpb.KV/Put", api.PutResponse)
TXN: Call[api.TxnRequest, api.TxnResponse] = Call("/etcdserverpb.KV/Txn", api.TxnResponse)
GRANT: Call[api.LeaseGrantRequest, api.LeaseGrantResponse] = Call(
    "/etcdserverpb.Lease/LeaseGrant", api.LeaseGrantResponse
)
REVOKE: Call[api.LeaseRevokeRequest, api.LeaseRevokeResponse] = Call(
    "/etcdserverpb.Lease/LeaseRevoke", api.LeaseRevokeResponse
)
_AUTHENTICATE: Call[api.AuthenticateRequest, api.AuthenticateResponse] = Call(
    "/etcdserverpb.Auth/Authenticate", api.AuthenticateResponse
)
_KEEP_ALIVE: Call[api.LeaseKeepAliveRequest, api.LeaseKeepAliveResponse] = Call(
    "/etcdserverpb.Lease/LeaseKeepAlive", api.LeaseKeepAliveResponse
)
_WATCH: Call[api.WatchRequest, api.WatchResponse] = Call("/etcdserverpb.Watch/Watch", api.WatchResponse)


class _TokenExpiredError(UnavailableError):
    """Log in again."""


class Etcd:
    """A client of one etcd cluster, in a running event loop. Close it.

    Raises `ConfigError` if a file of the settings cannot be used.
    """

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        self._password = _read(settings, "password_file").decode().strip() if settings.password_file else ""
        self._credentials = _credentials(settings)
        self._targets = [_target(endpoint) for endpoint in settings.endpoints]
        self._channels: dict[int, Any] = {}
        self._at = random.randrange(len(self._targets))
        self._token = ""
        self.timings = Timings("etcd", "calls of etcd, all tries together,")
        self._trouble = ""
        self._trouble_since = 0.0
        self._full = False

    @property
    def trouble(self) -> str:
        """Why etcd does not do what is asked, by what was lately tried; empty if it does."""
        if self._trouble and asyncio.get_running_loop().time() - self._trouble_since >= AWAY_S:
            return self._trouble
        return _OVER_QUOTA if self._full else ""

    async def call(self, call: Call[Request, Response], request: Request, *, writes: bool = False) -> Response:
        """Call some member that answers.

        Raises `UnavailableError` when none did in `call_timeout_s`, its subclass `OverQuotaError`, `LeaseLostError`,
        and `ConfigError` if etcd does not let us.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            response = await self._insist(call, request, began + self._settings.call_timeout_s, writes)
        except SparrowError:
            self.timings.failed(call.name)
            raise
        self.timings.took(call.name, clock() - began)
        return response

    async def _insist(self, call: Call[Request, Response], request: Request, end: float, writes: bool) -> Response:
        """Member after member, until `end`."""
        pause_s = FIRST_PAUSE_S
        while True:
            left_s = end - asyncio.get_running_loop().time()
            try:
                response = await self._try(call, request, min(self._settings.try_timeout_s, max(left_s, 0.01)))
            except UnavailableError as error:
                if left_s <= pause_s or isinstance(error, OverQuotaError):
                    self._warn(error)
                    raise
            except ConfigError as error:
                self._warn(error)
                raise
            else:
                self._well(writes)
                return response
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    async def _try(self, call: Call[Request, Response], request: Request, timeout_s: float) -> Response:
        at = self._at
        metadata = await self._metadata(timeout_s)
        try:
            response: Response = await self._stub(at, "unary_unary", call)(
                request, timeout=timeout_s, metadata=metadata
            )
        except grpc.aio.AioRpcError as error:
            raise self._explained(error, at) from None
        return response

    async def keep_alive(self, leases: Sequence[int]) -> dict[int, int]:
        """Lease → seconds that it now lives on, 0 for one that has run out. One try; raises as `call`."""
        at, timeout_s = self._at, self._settings.try_timeout_s
        try:
            metadata = await self._metadata(timeout_s)
            stream = self._stub(at, "stream_stream", _KEEP_ALIVE)(timeout=timeout_s, metadata=metadata)
            found: dict[int, int] = {}
            try:
                for lease in leases:
                    await stream.write(api.LeaseKeepAliveRequest(id=lease))
                await stream.done_writing()
                while len(found) < len(leases):
                    response = await stream.read()
                    if response is grpc.aio.EOF:
                        raise UnavailableError(f"etcd at {self._targets[at]} broke off keeping leases")
                    found[response.id] = response.ttl
            except asyncio.InvalidStateError:  # a write to a stream that has ended
                raise UnavailableError(f"etcd at {self._targets[at]}: {await stream.details()}") from None
            except grpc.aio.AioRpcError as error:
                raise self._explained(error, at) from None
            finally:
                stream.cancel()
        except SparrowError as error:
            self._next(at)
            self._warn(error)
            raise
        self._well(writes=False)
        return found

    async def watch(self, key: bytes, end: bytes, revision: int) -> AsyncIterator[api.WatchResponse]:
        """What happens to keys in [key, end) from a revision on, beginning with the answer that says that it began.

        Raises `UnavailableError` or `ConfigError` when it ends. It may also fall silent: whoever knows better
        should begin a new one.
        """
        at, timeout_s = self._at, self._settings.try_timeout_s
        metadata = await self._metadata(timeout_s)
        stream = self._stub(at, "stream_stream", _WATCH)(metadata=metadata)
        create = api.WatchCreateRequest(key=key, range_end=end, start_revision=revision)
        try:
            async with asyncio.timeout(timeout_s):
                await stream.write(api.WatchRequest(create=create))
                first = await stream.read()
            if first is grpc.aio.EOF:
                raise UnavailableError(f"etcd at {self._targets[at]} ended a watch at once")
            yield first
            while (response := await stream.read()) is not grpc.aio.EOF:
                yield response
            raise UnavailableError(f"etcd at {self._targets[at]} ended a watch")
        except TimeoutError:
            self._next(at)
            raise UnavailableError(f"etcd at {self._targets[at]} does not begin a watch") from None
        except asyncio.InvalidStateError:
            self._next(at)
            raise UnavailableError(f"etcd at {self._targets[at]}: {await stream.details()}") from None
        except grpc.aio.AioRpcError as error:
            raise self._explained(error, at) from None
        finally:
            stream.cancel()

    def next_member(self) -> None:
        """Use another member from now on: this one's word is doubted."""
        self._next(self._at)

    async def close(self) -> None:
        """Close all connections; calls under way fail."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close()

    # Members.

    def _stub(self, at: int, kind: str, call: Call[Any, Any]) -> Callable[..., Any]:
        channel = self._channels.get(at)
        if channel is None:
            target = self._targets[at]
            if self._credentials is None:
                channel = grpc.aio.insecure_channel(target, _OPTIONS)
            else:
                channel = grpc.aio.secure_channel(target, self._credentials, _OPTIONS)
            self._channels[at] = channel
        make = getattr(channel, kind)
        stub: Callable[..., Any] = make(call.path, _serialize, call.response.FromString)
        return stub

    def _next(self, failed: int) -> None:
        if failed == self._at:
            self._at = (failed + 1) % len(self._targets)

    async def _metadata(self, timeout_s: float) -> tuple[tuple[str, str], ...]:
        """A member without a leader must refuse rather than wait; and who we are."""
        if self._settings.user and not self._token:
            at = self._at
            request = api.AuthenticateRequest(name=self._settings.user, password=self._password)
            try:
                response = await self._stub(at, "unary_unary", _AUTHENTICATE)(request, timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                raise self._explained(error, at) from None
            self._token = response.token
        leader = ("hasleader", "true")
        return (leader, ("token", self._token)) if self._token else (leader,)

    # Errors.

    def _explained(self, error: Any, at: int) -> SparrowError:
        """What an error of gRPC means to us; goes on to the next member where that may help."""
        code, details = error.code(), " ".join((error.details() or "").split())
        user = f'"{self._settings.user}"' if self._settings.user else "nobody"
        if code is Code.UNAUTHENTICATED or "revision of auth store is old" in details:
            self._token = ""
            return _TokenExpiredError(f"etcd: {details}")
        if code is Code.NOT_FOUND and "lease" in details:
            return LeaseLostError(f"etcd: {details}")
        if code is Code.RESOURCE_EXHAUSTED and "space" in details:
            return OverQuotaError(_OVER_QUOTA)
        if code is Code.PERMISSION_DENIED:
            return ConfigError(
                f"etcd lets {user} not use {self._settings.prefix}: grant the user of etcd.user read and write access "
                f"to this prefix ({details})"
            )
        if "user ID or password" in details or "user name is empty" in details:
            return ConfigError(f"etcd refuses {user}: set etcd.user and etcd.password_file ({details})")
        if "authentication is not enabled" in details:
            return ConfigError("etcd asks for no user: leave etcd.user empty, or switch etcd's authentication on")
        self._next(at)
        if code is Code.DEADLINE_EXCEEDED:
            details = "no answer in time"
        elif "handshake" in details.lower() or "ssl" in details.lower():
            details = f"no TLS connection; check etcd.ca_file, cert_file, key_file and the member's name ({details})"
        return UnavailableError(f"etcd at {self._targets[at]}: {details or code}")

    def _warn(self, error: SparrowError) -> None:
        """Say in the log, once, that etcd is away."""
        if isinstance(error, LeaseLostError | _TokenExpiredError):
            return
        if isinstance(error, OverQuotaError):
            if not self._full:
                log.error("%s", error)
            self._full = True
        elif not self._trouble:
            self._trouble, self._trouble_since = str(error), asyncio.get_running_loop().time()
            log.error("%s (endpoints: %s); trying again", error, ", ".join(self._settings.endpoints))

    def _well(self, writes: bool) -> None:
        if self._trouble or (self._full and writes):
            self._trouble, self._full = "", self._full and not writes
            log.info("etcd works again")


def prefix_end(prefix: bytes) -> bytes:
    """The key behind all that begin with `prefix`, which must not end in 0xff."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _target(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or DEFAULT_PORT}"


def _credentials(settings: EtcdSettings) -> object | None:
    if not settings.endpoints[0].startswith("https://"):
        return None
    return grpc.ssl_channel_credentials(  # type: ignore[no-any-return]
        root_certificates=_read(settings, "ca_file") or None,
        private_key=_read(settings, "key_file") or None,
        certificate_chain=_read(settings, "cert_file") or None,
    )


def _read(settings: EtcdSettings, name: str) -> bytes:
    path: str = getattr(settings, name)
    try:
        return Path(path).read_bytes() if path else b""
    except OSError as error:
        raise ConfigError(f"etcd.{name}: cannot read {path} ({error.strerror})") from error
