"""The connector's settings: every limit and its unit. Plain data; read from TOML by `sparrow.config.settings`."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.bounds import number, port


@dataclass(frozen=True, slots=True)
class ConnectorSettings:
    """One connector process: where it listens, what it allows a client, how it treats its brokers."""

    name: str = "connector-1"
    """For logs and metrics only; correctness does not depend on it."""
    listen_host: str = "127.0.0.1"
    """Where clients come in. 0.0.0.0 or :: is every address of this machine."""
    listen_port: int = port(7400, zero=True)
    """0: one that is free, for tests."""
    brokers: tuple[str, ...] = ("tcp://127.0.0.1:7410",)
    """ZeroMQ endpoints of brokers to start with: they tell of the others. One is enough, two are safer."""
    curve_key_file: str = ""
    """This connector's own secret CURVE key (`sparrow keys connector`); empty: no CURVE."""
    broker_public_key_file: str = ""
    """The brokers' public CURVE key; two while it changes. Read again at SIGHUP, like all keys."""
    plain_links: bool = False
    """Allows links beyond this machine without CURVE."""
    tls_certificate_file: str = ""
    """PEM of the certificate for clients, with its chain; empty: no TLS. Read again when it changes, like the key."""
    tls_private_key_file: str = ""
    """PEM of the certificate's key, without a password."""
    plain_tcp: bool = False
    """Allows clients beyond this machine without TLS: everybody on the way can read their tokens and messages."""
    plain_listen_port: int = port(0, zero=True)
    """A second port, for clients without TLS, beside a `listen_port` with TLS; 0: none."""
    websocket_listen_port: int = port(0, zero=True)
    """A port for clients over WebSocket, browsers above all, with TLS where there is a certificate; 0: none. A node
    (`sparrow serve`) without TLS that only this machine reaches has 7402, unless this or userapi.connectors is set."""
    plain_websocket_listen_port: int = port(0, zero=True)
    """The same without TLS, beside a `websocket_listen_port` with TLS, for a proxy in front; 0: none."""
    websocket_origins: tuple[str, ...] = ()
    """Origins of web pages that may connect, such as "https://chat.example.net"; empty: that of the user API in this
    file. What sends no Origin is no browser, and may."""
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    """Addresses or networks of HTTP proxies in front of WebSocket ports, whose `X-Forwarded-For` is believed."""
    proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies in front. Their connections, and nobody else's, begin with a PROXY header
    (version 1 or 2), which says where the client is.
    """
    token_public_key_file: str = "var/token.pub.pem"
    """PEM of the keys that verify login tokens."""

    max_frame_bytes: int = number(64 * 1024, 1025, 64 * 1024 * 1024)
    """Longest frame either way; `max_message_bytes` is this less `MESSAGE_OVERHEAD_BYTES`."""
    max_unsettled_per_stream: int = number(256, 1, 65_535)
    """Messages of one stream that are not settled; beyond it `Goodbye{WINDOW_EXCEEDED}`."""
    max_unsettled_per_connection: int = number(4096, 1, 10_000_000)
    """The same of all streams of a connection."""
    max_unacked: int = number(256, 4, 65_535)
    """Counted frames sent to a client beyond its last ack."""
    max_unacked_bytes: int = number(1024 * 1024, 1025, 1024**3)
    """Their bytes. What is beyond either waits in the inbox until the client acks."""
    max_write_buffer_bytes: int = number(8 * 1024 * 1024, 1025, 1024**3)
    """A client whose socket lets this much pile up is let go."""
    max_write_buffers_bytes: int = number(256 * 1024 * 1024, 1025, 1024**4)
    """What may pile up for all clients together; beyond it whoever has most is let go."""
    max_sessions: int = number(100_000, 1, 10_000_000)
    """Clients that are logged in; those beyond get `Goodbye{TRY_AGAIN}`."""
    max_before_login: int = number(4096, 1, 1_000_000)
    """Connections that have not logged in; beyond it the oldest one of the address with most of them goes."""
    max_before_login_of_address: int = number(1024, 1, 1_000_000)
    """Connections from one address (an IPv6 network /64 counts as one) that have not logged in; beyond it the oldest of
    them goes."""
    max_messages_per_second: int = number(100, 1, 1_000_000, zero=True)
    """Per session, over some time; 0: no limit. What is beyond gets `Failed{TOO_FAST, retry_after}`."""
    max_messages_per_second_of_account: int = number(300, 1, 1_000_000, zero=True)
    """Messages per second of all sessions that an account has here; 0: no limit."""
    message_burst_s: float = number(20.0, 0.01, 3600)
    """As many messages as these limits allow in this time may come at once: what was written without a connection."""
    max_signals_per_second: int = number(10, 1, 100_000, zero=True)
    """Signals (typing) per session; 0: no limit. What is beyond is dropped."""
    max_frames_per_second: int = number(1000, 1, 1_000_000, zero=True)
    """Per session, frames of any kind, over some time; 0: no limit. What is beyond is read later."""
    max_frames_per_turn: int = number(128, 1, 100_000)
    """What one client may have handled before everybody else gets their turn."""
    max_logins_per_minute_of_device: int = number(60, 1, 1_000_000, zero=True)
    """Logins of one device; those beyond get `Goodbye{TRY_AGAIN}`; 0: no limit."""
    inbox_full_retry_s: float = number(3600.0, 0.001, 30 * 86400)
    """An author whose message does not fit into the inbox of somebody absent is told to try again after so long."""
    inbox_busy_retry_s: float = number(5.0, 0.001, 30 * 86400)
    """The time to try again where the device is online and about to take what waits."""
    no_space_retry_s: float = number(60.0, 0.001, 30 * 86400)
    """The time to try again while the store's disk is nearly full."""
    history_full_retry_s: float = number(3600.0, 0.001, 30 * 86400)
    """The time to try again where as much of an author is kept as may be."""
    max_buffered_bytes: int = number(256 * 1024 * 1024, 1025, 1024**4)
    """All unacked copies of all sessions; beyond it copies go to the inbox at once."""
    listen_backlog: int = number(4096, 1, 1_000_000)
    """Connections that the kernel keeps until they are accepted; cut to `net.core.somaxconn`."""
    reuse_port: bool = False
    """Several connectors of one user may listen on one port (SO_REUSEPORT), one for each core; clients are spread."""

    login_timeout_s: float = number(10.0, 0.1, 600)
    """A client that has not logged in by then is let go."""
    token_overdue_s: float = number(3600.0, 0.001, 30 * 86400, zero=True)
    """A session goes on for so long (and up to a tenth more) after its token has expired; then its client has to come
    back with a new one. What ends a login ends its sessions at once: this is for when nobody could be told."""
    heartbeat_s: float = number(60.0, 0.1, 3600)
    """A client that is silent for two of these is let go."""
    store_after_s: float = number(0.5, 0.001, 60, zero=True)
    """An unacked copy goes to the inbox after this time; 0 stores first."""
    receipt_retry_s: float = number(3.0, 0.05, 600)
    """A DELIVERED that is not safe by then is tried again."""
    attempt_timeout_s: float = number(60.0, 0.5, 3600)
    """An attempt without an outcome is forgotten by then; its sender repeats long before."""
    group_scan_s: float = number(10.0, 0.01, 86400, zero=True)
    """A session reads all its groups from its checkpoint no more often, but for two reads at once; 0: no limit."""
    predecessor_timeout_s: float = number(5.0, 0.01, 600)
    """How long a new session waits for the one it replaced to store what it had in hand."""
    request_timeout_s: float = number(5.0, 0.05, 600)
    """A page, a login or a returned copy without an answer is asked again or given up."""
    drain_per_second: int = number(2000, 1, 1_000_000)
    """Clients told to move on in a second when the connector stops: as many log in elsewhere, or come back here."""
    stop_timeout_s: float = number(5.0, 0.01, 600)
    """A graceful stop takes no longer, once all clients have been told."""
    link_heartbeat_s: float = number(0.25, 0.01, 60)
    """A link to a broker that is idle says so this often."""
    link_timeout_s: float = number(2.0, 0.05, 600)
    """A broker that is silent for this time is gone; no matter in a node."""
    rejoin_per_tick: int = number(1000, 1, 1_000_000)
    """Sessions that register again or read their inbox again per 0.1 s after a broker was lost."""
    link_hwm_batches: int = number(10_000, 1, 10_000_000)
    """ZeroMQ high-water mark of a link, in batches."""


MESSAGE_OVERHEAD_BYTES = 1024
"""Room in a frame for everything but the body."""
