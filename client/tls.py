"""Whom a client trusts: TLS to connectors and HTTPS to the user API.

Owns the contexts. They are made when they are needed, since reading all the system's certificates takes a while.
"""

from __future__ import annotations

import os
import ssl

from protocol.errors import ConfigError, UntrustedError

ALPN = "sparrow/1"
WEBSOCKET_ALPN = "http/1.1"


class Trust:
    """Certificates that the system trusts, or only those in the file `ca` (PEM)."""

    def __init__(self, ca: str | os.PathLike[str] | None = None) -> None:
        """Raises `ConfigError` if the file is not there or not PEM."""
        self._ca = None if ca is None else os.fspath(ca)
        self._link: ssl.SSLContext | None = None
        self._websocket: ssl.SSLContext | None = None
        self._web: ssl.SSLContext | None = None
        if self._ca is not None:
            self._web = self._make()

    @property
    def for_connectors(self) -> ssl.SSLContext:
        """For connections to connectors."""
        if self._link is None:
            self._link = self._make()
            self._link.set_alpn_protocols([ALPN])
        return self._link

    @property
    def for_websockets(self) -> ssl.SSLContext:
        """For connections to connectors, or to proxies in front of them, over WebSocket."""
        if self._websocket is None:
            self._websocket = self._make()
            self._websocket.set_alpn_protocols([WEBSOCKET_ALPN])
        return self._websocket

    @property
    def for_web(self) -> ssl.SSLContext:
        """For HTTPS; httpx sets it the names of its own protocols."""
        if self._web is None:
            self._web = self._make()
        return self._web

    def _make(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self._ca)
        except OSError as error:
            text = getattr(error, "reason", None) or error.strerror or str(error)
            raise ConfigError(f"ca {self._ca}: no PEM file of certificates ({text})") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def untrusted(address: str, error: BaseException | None) -> UntrustedError | None:
    """What to raise if somewhere behind `error` is a certificate that we do not trust; None if it is something else."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = error.verify_message or error.reason
            return UntrustedError(
                f"{address} has a certificate that is not trusted ({reason}): "
                "name the right address, or give the CA's certificate (ca)"
            )
        error = error.__cause__ or error.__context__
    return None
