"""The user API's settings: every limit and its unit. Plain data; read from TOML by `sparrow.settings`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UserApiSettings:
    """The HTTP service: where it listens, what it signs with, how it guards passwords."""

    listen_host: str = "127.0.0.1"
    listen_port: int = 7480
    workers: int = 1
    """Processes."""
    threads: int = 8
    """Requests at once in each process."""
    listen_backlog: int = 1024
    request_timeout_s: float = 30.0
    """A request that waits longer for the store gets 503."""
    stop_timeout_s: float = 5.0
    """Requests in hand have this long to finish at a stop."""
    max_body_bytes: int = 16 * 1024
    connectors: tuple[str, ...] = ("127.0.0.1:7400",)
    """host:port of the connectors, or tls://host:port of those that speak TLS, as clients reach them; every login's
    answer names them."""
    tls_certificate_file: str = ""
    """PEM of the certificate, with its chain; empty: plain HTTP. Read again when it changes, like the key."""
    tls_private_key_file: str = ""
    """PEM of the certificate's key, without a password."""
    plain_http: bool = False
    """Allows plain HTTP beyond this machine: everybody on the way can read passwords."""

    token_private_key_file: str = "var/token.key.pem"
    """PEM of the key that signs login tokens; made at the first start if it is missing."""
    token_public_key_file: str = "var/token.pub.pem"
    """PEM of its public half, which connectors verify tokens with; made together with it."""
    token_lifetime_s: float = 30 * 86400.0
    """A client logs in with its password again after this time."""
    further_device_delay_s: float = 2.0
    """The token of a user's second and later device is handed out this long after the device was added, so that
    every broker knows of it by then; at least the brokers' `device_cache_s`."""

    password_min_length: int = 8
    """Characters."""
    argon2_time_cost: int = 2
    """Passes over the memory; with the memory below, one check takes about 25 ms of CPU."""
    argon2_memory_kib: int = 19 * 1024
    """Memory of one check."""
    argon2_parallelism: int = 1
