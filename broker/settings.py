"""The broker's settings: every limit and its unit. Plain data; read from TOML by `sparrow.config.settings`."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.bounds import number


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """One broker process."""

    name: str = "broker-1"
    """For logs and metrics only."""
    listen: str = "tcp://127.0.0.1:7410"
    """ZeroMQ endpoint of the ROUTER socket that connectors reach."""
    curve_key_file: str = ""
    """The brokers' secret CURVE key, one for all brokers of a cluster (`sparrow keys broker`); empty: no CURVE."""
    allowed_keys_file: str = ""
    """The public keys of those who may link, a name and a key a line; read again at SIGHUP."""
    plain_links: bool = False
    """Allows links beyond this machine without CURVE: everybody who reaches the port can read and write everything."""
    advertise: str = ""
    """The same socket as connectors elsewhere reach it, for brokers to tell of one another; empty: `listen`."""
    node_socket: str = ""
    """The Unix socket where the user API of a node (`sparrow serve`) and `sparrow remove` reach its broker, with a path
    of 107 bytes at most; empty: `store.path` and "-sock". Whoever may write to it can end sessions: it is made for the
    node's own user."""
    presence: str = "memory"
    """memory: this is the only broker. etcd: there may be several, which share presence (section [etcd])."""

    cache_s: float = number(2.0, 0.01, 300)
    """T of docs/design.md: what a broker remembers of devices and contacts is used no longer than this after it was
    read, or after presence was last known to be up to date. A further device's token is kept back for as long."""
    cache_refresh_s: float = number(60.0, 0.01, 86400)
    """What is remembered and in use is read again after this long even if nobody said that it has changed."""
    who_may_write: str = "anyone"
    """anyone, or friends: whose messages a user gets. Blocks hold in any case."""
    blocks_are_silent: bool = False
    """true: who is blocked is told SENT, and nothing is sent: the one lie. false: `Failed{BLOCKED}`."""
    recent_login_s: float = number(10.0, 0.01, 3600)
    """A login is looked at again if its device changes within this time: longer than presence may lag."""
    seen_interval_s: float = number(5.0, 0.01, 3600)
    """Seconds between two times that the store is told who was online."""
    max_cached_users: int = number(200_000, 1, 100_000_000)
    """Users whose devices and contacts a broker remembers."""
    max_cached_members: int = number(2_000_000, 1, 1_000_000_000)
    """Members of groups, of all groups together; ten bytes each, and what their ids take."""
    max_waiting_routes: int = number(50_000, 1, 10_000_000)
    """Messages waiting for a list of devices; beyond it `Failed{UNAVAILABLE, retry_after}`."""
    max_storing_rows: int = number(50_000, 1, 100_000_000)
    """Copies on their way into the inbox; beyond it `Failed{UNAVAILABLE, retry_after}`."""
    max_storing_bytes: int = number(256 * 1024 * 1024, 1025, 1024**4)
    """Bodies of these."""
    inbox_max_rows: int = number(100_000, 1, 10**12)
    """Copies that may wait for one user, on all devices together; beyond it `Failed{INBOX_FULL, retry_after}`. So for
    the three that follow. Brokers count each by itself: docs/design.md, "What may wait", says by how much it may be
    more."""
    inbox_max_bytes: int = number(80 * 1024 * 1024, 1025, 10**15)
    """Bodies of these."""
    inbox_max_rows_of_author: int = number(20_000, 1, 10**12)
    """Copies of one author's messages that may wait for one user; fewer while others fill the user's inbox."""
    inbox_max_bytes_of_author: int = number(16 * 1024 * 1024, 1025, 10**15)
    """Bodies of these."""
    inbox_look_s: float = number(2.0, 0.01, 3600)
    """What waits for a user is counted in the store no more often, and only while it is much."""
    max_batch_rows: int = number(2_000, 1, 1_000_000)
    """Rows in one append."""
    max_appends_in_flight: int = number(4, 1, 1000)
    """Appends on their way into the store at once."""
    max_page_rows: int = number(256, 1, 65_536)
    """Rows that one read of an inbox brings."""
    row_max_age_s: float = number(120.0, 1, 3600)
    """An append that became safe only after this long (a paused broker) is done anew."""
    notify_repeat_s: float = number(0.5, 0.01, 60)
    """A connector is told again of a copy that was stored until it confirms that, this often."""
    notify_timeout_s: float = number(3.0, 0.05, 600)
    """If the connector of a device has not heard of a stored copy by then, it is not safe: its author repeats."""
    group_author_bytes_per_second: float = number(16 * 1024 * 1024, 1, 10**12, zero=True)
    """What one author may have handed out to members of groups: bytes of bodies × sessions that they reach. Over four
    seconds; beyond it `Failed{TOO_FAST, retry_after}`. 0: no limit."""
    group_bytes_per_second: float = number(64 * 1024 * 1024, 1, 10**12, zero=True)
    """The same of one group, all its authors together."""
    signal_author_bytes_per_second: float = number(256 * 1024, 1, 10**12, zero=True)
    """What one author's signals (typing) may cost: bytes, and 640 more, × people that they are for, whoever of them is
    there. Over four seconds; what is beyond is dropped. 0: no limit."""
    signal_group_bytes_per_second: float = number(1024 * 1024, 1, 10**12, zero=True)
    """The same of one group, all its authors together."""
    max_signal_group_members: int = number(50, 1, 1000)
    """In groups with more members there are no signals."""
    max_waiting_signals: int = number(256, 1, 1_000_000)
    """Signals that wait, a second at most, for something to be read from the store; what is beyond is dropped."""
    group_look_s: float = number(0.5, 0.01, 600)
    """What a connector has not confirmed by then of a group, it is told to look for itself, until it confirms that."""
    max_group_messages: int = number(20_000, 1, 10_000_000)
    """Messages to groups that are being appended or handed out; beyond it `Failed{UNAVAILABLE, retry_after}`."""
    max_group_looks: int = number(2_000, 1, 1_000_000)
    """Groups that one connector is to look for; beyond it, it is told to look for all."""
    lease_s: float = number(5.0, 0.1, 600)
    """A connector silent for this long is gone, and its sessions with it; no matter in a node."""
    stop_timeout_s: float = number(5.0, 0.01, 600)
    """A graceful stop takes no longer."""
    link_hwm_batches: int = number(10_000, 1, 10_000_000)
    """ZeroMQ high-water mark of a link, in batches."""
    max_batch_bytes: int = number(64 * 1024 * 1024, 1025, 1024**3)
    """Longest batch accepted from a link (ZeroMQ MAXMSGSIZE)."""

    @property
    def endpoint(self) -> str:
        """What this broker calls itself towards connectors."""
        return self.advertise or self.listen


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """How brokers reach etcd (3.4 or newer); used with broker.presence = "etcd"."""

    endpoints: tuple[str, ...] = ("http://127.0.0.1:2379",)
    """The members' client URLs, all http or all https."""
    ca_file: str = ""
    """PEM of the authorities that may vouch for the members; empty: the usual ones."""
    cert_file: str = ""
    """PEM of our certificate, if the members ask for one; with key_file."""
    key_file: str = ""
    """PEM of its key."""
    user: str = ""
    """Empty: etcd asks for no user. Otherwise one that may read and write all keys under `prefix`."""
    password_file: str = ""
    """The file that holds the user's password, in one line."""
    prefix: str = "sparrow/"
    """What all keys begin with. Brokers of one installation share it."""
    try_timeout_s: float = number(1.0, 0.05, 60)
    """A member that has not answered by then is left for the next."""
    call_timeout_s: float = number(3.0, 0.05, 300)
    """All tries of a call; beyond it logins get "try again", and so do messages that would have to be stored."""
