"""The user API, as a client sees it: registering and logging in.

Owns HTTP and the mapping of its answers to our errors. Keeps nothing.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from protocol.errors import (
    AlreadyExistsError,
    ApiError,
    ConfigError,
    DeviceRemovedError,
    InvalidIdError,
    MisuseError,
    SparrowError,
    TokenRejectedError,
    UnavailableError,
    UnreachableError,
    WrongPasswordError,
)
from sparrow.client.tls import Trust, untrusted

if TYPE_CHECKING:
    import httpx  # slow to import, and only needed to log in

TIMEOUT_S = 30.0
"""For a whole request. A login takes seconds when it adds a further device."""

_BY_CODE: dict[str, type[SparrowError]] = {
    "wrong_credentials": WrongPasswordError,
    "user_taken": AlreadyExistsError,
    "no_such_device": DeviceRemovedError,
    "invalid_user_id": InvalidIdError,
    "invalid_refresh_token": TokenRejectedError,
    "refresh_token_reused": TokenRejectedError,
    "unavailable": UnavailableError,
}
_LATER = (408, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed later."""


@dataclass(frozen=True, slots=True)
class Login:
    """What a login gives."""

    token: str
    user: str
    device: str
    connectors: tuple[str, ...]
    """host:port, or tls://host:port."""
    refresh_token: str = ""
    """For the next token, once."""


class UserApi:
    """The user API at a base URL, such as `http://127.0.0.1:7480`."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S, trust: Trust | None = None) -> None:
        """Raises `ConfigError` for what is no URL of a server."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise ConfigError(f"api {url!r}: give a URL such as http://127.0.0.1:7480")
        self.url = url.rstrip("/")
        self._host = parts.hostname
        self._secure = parts.scheme == "https"
        self._timeout_s = timeout_s
        self._trust = trust or Trust()

    async def register(self, user: str, password: str) -> None:
        """Make an account.

        Raises `AlreadyExistsError` if the name is taken, `InvalidIdError`, `MisuseError` (a password that is too
        short), `UnreachableError`, `UntrustedError`, `UnavailableError`, `ApiError`.
        """
        await self._post("/v1/accounts", {"user": user, "password": password})

    async def login(self, user: str, password: str, device: str = "", label: str = "") -> Login:
        """Get a token, for a known device or (without one) for a new one.

        Raises `WrongPasswordError`, `DeviceRemovedError`, `UnreachableError`, `UntrustedError`, `UnavailableError`,
        `ApiError`.
        """
        body = {"user": user, "password": password}
        if device:
            body["device"] = device
        elif label:
            body["label"] = label
        return self._login(await self._post("/v1/login", body))

    async def refresh(self, refresh_token: str) -> Login:
        """Get a new token without the password; the refresh token is replaced by the one that comes with it.

        Raises `TokenRejectedError` when only the password helps, `UnreachableError`, `UntrustedError`,
        `UnavailableError`, `ApiError`.
        """
        return self._login(await self._post("/v1/token", {"refresh_token": refresh_token}))

    def _login(self, answer: dict[str, Any]) -> Login:
        match answer:
            case {
                "access_token": str(token),
                "refresh_token": str(refresh_token),
                "user": str(name),
                "device": str(made),
                "connectors": [_, *_] as connectors,
            }:
                if all(isinstance(address, str) for address in connectors):
                    return Login(token, name, made, tuple(connectors), refresh_token)
        raise self._strange()

    async def _post(self, path: str, body: dict[str, str]) -> dict[str, Any]:
        import httpx

        try:
            # A proxy that is set for the world is not meant for this machine; without TLS no certificates are read.
            async with httpx.AsyncClient(
                timeout=self._timeout_s,
                verify=self._trust.for_web if self._secure else False,
                trust_env=not _is_loopback(self._host),
            ) as client:
                response = await client.post(self.url + path, json=body)
        except httpx.TimeoutException:
            raise UnreachableError(f"{self.url} does not answer") from None
        except httpx.TransportError as error:
            distrust = untrusted(self.url, error)
            if distrust is not None:
                raise distrust from error
            raise UnreachableError(f"cannot reach {self.url}: {_reason(error)}") from error
        except httpx.InvalidURL as error:
            raise ConfigError(f"api {self.url!r}: {error}") from error
        answer = _object(response)
        if response.is_success and answer is not None:
            return answer
        raise self._error(response.status_code, answer or {})

    def _error(self, status: int, problem: dict[str, Any]) -> SparrowError:
        code, detail = problem.get("code"), problem.get("detail")
        if status in _LATER:
            return UnavailableError(f"{self.url}: {detail or 'the service cannot do this now'}")
        if not isinstance(code, str) or not isinstance(detail, str):
            return self._strange(status)
        return _BY_CODE.get(code, MisuseError)(detail)

    def _strange(self, status: int = 200) -> ApiError:
        return ApiError(f"{self.url} does not answer like a user API (status {status}): is the address right?")


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


async def register(
    user: str, password: str, *, api: str = "http://127.0.0.1:7480", ca: str | os.PathLike[str] | None = None
) -> None:
    """Make an account at the user API. Raises what `UserApi.register` raises."""
    await UserApi(api, trust=Trust(ca)).register(user, password)
