"""The HTTP hook: somebody's own user system is asked by POST, and answers with a status.

Owns the question and the meaning of the answers.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

from protocol.errors import ConfigError, UnavailableError
from userapi.credentials import client_context, read_secret
from userapi.settings import UserApiSettings


class HookIdentity:
    """`userapi.identity.port.Identity` over HTTP. `{"user": ..., "password": ...}` gets 200 for yes, 401 or 403 for no;
    whatever else is an outage."""

    def __init__(self, settings: UserApiSettings) -> None:
        """Raises `ConfigError`."""
        self._url = settings.hook_url
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f'userapi.hook_url = "{self._url}" is no URL: write https://host/path')
        headers = {}
        if settings.hook_secret_file:
            secret = read_secret("userapi.hook_secret_file", settings.hook_secret_file)
            headers["Authorization"] = f"Bearer {secret}"
        self._client = httpx.Client(
            headers=headers,
            timeout=settings.identity_timeout_s,
            verify=client_context("userapi.hook_ca_file", settings.hook_ca_file),
            follow_redirects=False,
            trust_env=False,
        )

    def check(self, user: str, password: str) -> bool:
        """See `Identity`."""
        try:
            with self._client.stream("POST", self._url, json={"user": user, "password": password}) as answer:
                status = answer.status_code
        except (httpx.HTTPError, OSError) as error:
            raise UnavailableError(f"the login hook {self._url}: {type(error).__name__}: {error}") from error
        if status == httpx.codes.OK:
            return True
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return False
        raise UnavailableError(f"the login hook {self._url} answers {status}: it must be 200, 401 or 403")

    def close(self) -> None:
        """See `Identity`."""
        self._client.close()
