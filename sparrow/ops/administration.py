"""Requests to `/v1/admin` of a user API, by the operator's commands.

Owns where it is, its credential, and which certificate is believed. Knows no path.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import ssl
from pathlib import Path
from typing import Any

from client.api.web import Web, code_of
from client.tls import Trust
from protocol.errors import ConfigError, MisuseError, UnreachableError
from userapi.endpoints.admin import read_admin_token
from userapi.server import base_url
from userapi.settings import UserApiSettings

_TIMEOUT_S = 60.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class Administration:
    """Of the user API that the settings describe, on this machine, or at another address."""

    def __init__(
        self, settings: UserApiSettings, api: str | None = None, ca: Path | None = None, timeout_s: float = _TIMEOUT_S
    ) -> None:
        """Raises `ConfigError` where there is no administration, or its credential or a certificate cannot be read."""
        self._token = read_admin_token(settings)
        if not self._token:
            raise ConfigError(
                "userapi.admin_token_file is not set, so there is no administration: make one for the user API's user "
                "to read (openssl rand -hex 32 | install -m 0600 -o sparrow /dev/stdin /etc/sparrow/admin.token), name "
                "it there, and restart the user API"
            )
        if ca is not None and api is None:
            raise ConfigError("--ca is for --api: without it, the certificate in the settings is believed")
        self._elsewhere = api is not None
        trust = Trust(ca) if self._elsewhere or not settings.tls_certificate_file else _Own(settings)
        self._web = Web(api or address_of(settings), timeout_s, trust)
        if self._elsewhere and self._web.open_to_all:
            raise ConfigError(f"--api {api}: everybody on the way could read the administrator's token: use https://")

    def ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        """The JSON object that it answers, empty for none. `more`: as `Web.request` takes it.

        Raises `UnreachableError` where nobody answers, `MisuseError` for what is refused, and what `Web` raises.
        """
        return asyncio.run(self._ask(method, path, **more))

    async def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        try:
            answer = await self._web.request(method, path, token=self._token, **more)
        except UnreachableError as error:
            hint = "" if self._elsewhere else "; is the node, or the user API, up? (--api names another one)"
            raise UnreachableError(f"{error}{hint}") from error
        if answer.status_code == 401:
            raise MisuseError(
                f"{self._web.url} takes another administrator's token: is userapi.admin_token_file the same there, "
                "and was it restarted since it changed?"
            )
        if answer.status_code == 404 and code_of(answer) == "not_found":
            raise MisuseError(
                f"{self._web.url} has no such administration: set userapi.admin_token_file there; if it has "
                "userapi.admin_listen_port, name that; one of an older release has to be upgraded"
            )
        return self._web.answer(answer) if answer.content else self._nothing(answer)

    def _nothing(self, answer: Any) -> dict[str, Any]:
        self._web.check(answer)
        return {}


def address_of(settings: UserApiSettings) -> str:
    """Where `/v1/admin` is, for this machine."""
    host, port = settings.listen_host, settings.listen_port
    if settings.admin_listen_port:
        host, port = settings.admin_listen_host, settings.admin_listen_port
    return base_url(dataclasses.replace(settings, listen_host=_EVERYWHERE.get(host, host), listen_port=port))


class _Own(Trust):
    """Believes the certificate in the settings, and no other, by whatever name: what listens there has its key."""

    def __init__(self, settings: UserApiSettings) -> None:
        super().__init__()
        name = settings.tls_certificate_file
        try:
            first = _CERTIFICATE.search(Path(name).read_text(encoding="ascii", errors="replace"))
            context = ssl.create_default_context(cadata=first.group() if first else None)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "no certificate is in it"
            raise ConfigError(f"userapi.tls_certificate_file: {name}: {reason}") from error
        if first is None:
            raise ConfigError(f"userapi.tls_certificate_file: {name}: no certificate is in it")
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._web = context
