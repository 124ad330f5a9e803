"""HTTPS: the certificate of the user API.

Owns the TLS context, and taking a new certificate when the files have changed.
"""

from __future__ import annotations

import logging
import ssl

from fabric.certificates import NamedFile, Reloaded
from protocol.errors import ConfigError
from userapi.settings import UserApiSettings

_log = logging.getLogger("sparrow.userapi")


def make_context(settings: UserApiSettings, section: str = "userapi") -> ssl.SSLContext:
    """TLS 1.2 or newer with the certificate of the settings, which `section` has. Raises `ConfigError`."""
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
            f"{section}.tls_certificate_file, tls_private_key_file: {certificate or '(none)'} and {key or '(none)'} "
            f"are not a PEM certificate and its key without a password ({text})"
        ) from error
    return context


class Certificate(Reloaded):
    """What new connections use: the files, as they were when they were last good."""

    def __init__(self, settings: UserApiSettings, section: str = "userapi") -> None:
        """Raises `ConfigError`."""
        self._settings, self._section = settings, section
        file = NamedFile(f"{section}.tls_certificate_file", settings.tls_certificate_file)
        super().__init__(file, settings.tls_private_key_file, _log)

    def _load(self) -> None:
        self._context = make_context(self._settings, self._section)

    def context(self) -> ssl.SSLContext:
        """For a new connection, which also looks whether the files have changed."""
        self.look()
        return self._context
