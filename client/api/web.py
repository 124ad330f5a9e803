"""HTTP to the user API: connections, requests, and what becomes of an answer that is none.

Owns the mapping of failures to our errors. Knows no path.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import AsyncIterator, Collection, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from client import arguments
from client.tls import Trust, untrusted
from protocol.errors import (
    AccountDisabledError,
    AlreadyExistsError,
    ApiError,
    ChecksumError,
    ClosedError,
    ConfigError,
    DeviceRemovedError,
    FileTooLargeError,
    HistoryNotKeptError,
    InvalidIdError,
    InvitationNeededError,
    MisuseError,
    NotAllowedHereError,
    NotFoundError,
    OidcError,
    SearchNotOfferedError,
    SparrowError,
    TokenRejectedError,
    UnavailableError,
    UnreachableError,
    WrongCodeError,
    WrongPasswordError,
)

if TYPE_CHECKING:
    import httpx  # slow to import, and only needed for requests

TIMEOUT_S = 30.0
"""For each step of a request. A login takes seconds when it adds a further device."""
IDLE_S = 1.0
"""A connection that nobody uses is kept for so long: shorter than any server or proxy keeps it."""

_BY_CODE: dict[str, type[SparrowError]] = {
    "wrong_credentials": WrongPasswordError,
    "wrong_password": WrongPasswordError,
    "user_taken": AlreadyExistsError,
    "invitation_needed": InvitationNeededError,
    "oidc_expired": OidcError,
    "oidc_refused": OidcError,
    "oidc_not_allowed": OidcError,
    "oidc_name_unusable": OidcError,
    "wrong_code": WrongCodeError,
    "account_disabled": AccountDisabledError,
    "device_removed": DeviceRemovedError,
    "history_not_kept": HistoryNotKeptError,
    "search_not_offered": SearchNotOfferedError,
    "not_found": NotFoundError,
    "no_such_conversation": NotFoundError,
    "no_such_message": NotFoundError,
    "no_such_device": NotFoundError,
    "no_such_file": NotFoundError,
    "no_such_request": NotFoundError,
    "no_such_user": NotFoundError,
    "not_member": NotFoundError,
    "no_such_member": NotFoundError,
    "no_such_invitation": NotFoundError,
    "no_such_link": NotFoundError,
    "unknown_invitation": NotFoundError,
    "not_allowed_here": NotAllowedHereError,
    "not_friend": NotAllowedHereError,
    "too_many_groups": NotAllowedHereError,
    "too_many_links": NotAllowedHereError,
    "invalid_user_id": InvalidIdError,
    "no_token": TokenRejectedError,
    "invalid_token": TokenRejectedError,
    "logged_out": TokenRejectedError,
    "invalid_refresh_token": TokenRejectedError,
    "refresh_token_reused": TokenRejectedError,
    "file_too_large": FileTooLargeError,
    "wrong_checksum": ChecksumError,
    # What has arrived of an upload may still be on its way to the store: ask again where it stands.
    "wrong_offset": UnavailableError,
    "unavailable": UnavailableError,
    "no_space": UnavailableError,
    "history_full": UnavailableError,
    "too_many_file_bytes": UnavailableError,
}
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_LATER = (408, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed later."""


class Web:
    """Requests to one base URL. Each has a connection of its own, unless `keep_connections` was called."""

    def __init__(self, url: str, timeout_s: float, trust: Trust) -> None:
        """Raises `ConfigError` for what is no URL of a server."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise ConfigError(f"api {url!r}: give a URL such as http://127.0.0.1:7480")
        self.url = url.rstrip("/")
        self.local = _is_loopback(parts.hostname)
        """On this machine."""
        self._secure = parts.scheme == "https"
        self._timeout_s = timeout_s
        self._trust = trust
        self._keeps = self._closed = False
        self.open_to_all = not self._secure and not self.local
        """Passwords and tokens can be read on the way."""
        self._kept: httpx.AsyncClient | None = None

    def keep_connections(self) -> None:
        """From now on requests share connections, until `aclose`."""
        self._keeps = True

    async def aclose(self) -> None:
        """Close what is kept. Requests raise `ClosedError` from now on."""
        self._closed = True
        kept, self._kept = self._kept, None
        if kept is not None:
            await kept.aclose()

    async def request(self, method: str, path: str, *, token: str = "", **more: Any) -> httpx.Response:
        """One request and its answer, whatever that is. `more`: as `httpx.AsyncClient.request` takes it.

        Raises `UnreachableError`, `UntrustedError`, `ConfigError`, `ClosedError`, `MisuseError` (text that UTF-8 cannot
        carry).
        """
        import httpx

        for part in ("json", "params", "headers"):
            arguments.texts("a text", more.get(part))
        arguments.texts("the path", path)
        more["headers"] = _headers(token, more.get("headers"))
        async with self._client() as client:
            with self._failures():
                try:
                    return await client.request(method, self.url + path, **more)
                except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                    # A connection that was kept may have been closed just now. What is a stream cannot be told twice.
                    if client is not self._kept or "content" in more:
                        raise
                return await client.request(method, self.url + path, **more)

    @contextlib.asynccontextmanager
    async def stream(self, path: str, *, token: str, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
        """A GET whose answer is read bit by bit. Raises what `request` raises, within the block, too."""
        async with self._client() as client:
            with self._failures():
                async with client.stream("GET", self.url + path, headers=_headers(token, headers)) as response:
                    yield response

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        if self._closed:
            raise ClosedError("the client is closed")
        if self._keeps:
            if self._kept is None:
                self._kept = self._make()
            yield self._kept
        else:
            async with self._make() as client:
                yield client

    def _make(self) -> httpx.AsyncClient:
        import httpx

        try:
            # A proxy that is set for the world is not meant for this machine; without TLS no certificates are read.
            return httpx.AsyncClient(
                timeout=self._timeout_s,
                verify=self._trust.for_web if self._secure else False,
                trust_env=not self.local,
                limits=httpx.Limits(keepalive_expiry=IDLE_S),
            )
        except (ImportError, ValueError, httpx.InvalidURL):
            # Not their values: a proxy's password may be among them.
            raise ConfigError(
                f"{_proxies()} in the environment: this program takes http:// and https:// proxies, and names and "
                "addresses without / or [] in NO_PROXY; change or unset them"
            ) from None

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except httpx.TimeoutException:
            raise UnreachableError(f"{self.url} does not answer") from None
        except httpx.TransportError as error:
            distrust = untrusted(self.url, error)
            if distrust is not None:
                raise distrust from error
            raise UnreachableError(f"cannot reach {self.url}: {_reason(error)}") from error
        except httpx.InvalidURL as error:
            raise ConfigError(f"api {self.url!r}: {error}") from error

    def check(self, response: httpx.Response, accept: Collection[int] = ()) -> httpx.Response:
        """`response`, if it is a success or its status is one of `accept`. Otherwise raises the error that it tells."""
        status = response.status_code
        if response.is_success or status in accept:
            return response
        problem = _object(response) or {}
        code, detail = problem.get("code"), problem.get("detail")
        if isinstance(code, str) and isinstance(detail, str) and code in _BY_CODE:
            raise _BY_CODE[code](detail)
        if status in _LATER:
            raise UnavailableError(f"{self.url}: {detail or 'the service cannot do this now'}")
        if not isinstance(code, str) or not isinstance(detail, str):
            raise self.strange(status)
        raise MisuseError(detail)

    def answer(self, response: httpx.Response) -> dict[str, Any]:
        """The JSON object in a success. Raises the error that anything else tells, or `ApiError`."""
        found = _object(self.check(response))
        if found is None:
            raise self.strange(response.status_code)
        return found

    def strange(self, status: int = 200) -> ApiError:
        """What to raise for an answer that is none of a user API."""
        return ApiError(f"{self.url} does not answer like a user API (status {status}): is the address right?")


def code_of(response: httpx.Response) -> str:
    """The `code` of a problem; empty if there is none."""
    code = (_object(response) or {}).get("code")
    return code if isinstance(code, str) else ""


def told_devices(response: httpx.Response) -> tuple[str, list[dict[str, Any]]]:
    """What a problem says, and the devices that it lists; a server of 0.1 lists none."""
    found = _object(response) or {}
    devices = found.get("devices")
    listed = [one for one in devices if isinstance(one, dict)] if isinstance(devices, list) else []
    return str(found.get("detail")), [one for one in listed if isinstance(one.get("device"), str)]


def _proxies() -> str:
    names = sorted(name for name in os.environ if name.lower() in _PROXY_VARIABLES and os.environ[name])
    return ", ".join(names) or "the proxy settings"


def _headers(token: str, more: dict[str, str] | None) -> dict[str, str]:
    return (more or {}) | ({"Authorization": f"Bearer {token}"} if token else {})


def _object(response: httpx.Response) -> dict[str, Any] | None:
    try:
        value = response.json()
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: Exception) -> str:
    text = str(error)
    return "nothing answers there" if "attempts failed" in text or "refused" in text else text or "it hung up"
