"""HTTPS: the certificate of the user API.

Owns the TLS context, and taking a new certificate when the files have changed.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from protocol.errors import ConfigError
from userapi.settings import UserApiSettings

_log = logging.getLogger("sparrow.userapi")


def make_context(settings: UserApiSettings) -> ssl.SSLContext:
    """TLS 1.2 or newer with the certificate of the settings. Raises `ConfigError`."""
    certificate, key = settings.tls_certificate_file, settings.tls_private_key_file
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An empty password: otherwise OpenSSL would ask at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:
        text = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"userapi.tls_certificate_file, tls_private_key_file: {certificate or '(none)'} and {key or '(none)'} are "
            f"not a PEM certificate and its key without a password ({text})"
        ) from error
    return context


class Certificate:
    """What new connections use: the files, as they were when they were last good."""

    def __init__(self, settings: UserApiSettings) -> None:
        """Raises `ConfigError`."""
        self._settings = settings
        self._seen = self._state()
        self._context = make_context(settings)

    def context(self) -> ssl.SSLContext:
        """For a new connection; a changed file that is no good is logged, and what was is kept."""
        state = self._state()
        if state != self._seen:
            self._seen = state
            try:
                self._context = make_context(self._settings)
            except ConfigError as error:
                _log.error("the certificate is not changed: %s", error)
            else:
                _log.info("the certificate was read again")
        return self._context

    def _state(self) -> tuple[object, ...]:
        state: list[object] = []
        for path in (self._settings.tls_certificate_file, self._settings.tls_private_key_file):
            try:
                found = Path(path).stat()
            except OSError:
                state.append(None)
            else:
                state.append((found.st_ino, found.st_mtime_ns, found.st_size))
        return tuple(state)
