"""The store's settings: every limit and its unit. Plain data; read from TOML by `sparrow.config.settings`."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.bounds import number


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where things are kept, and how much may wait to be kept."""

    engine: str = "sqlite"
    """Which engine: "sqlite", for one machine, or "cassandra", for a cluster."""
    path: str = "var/sparrow.db"
    """The SQLite database; two companions, `-wal` and `-shm`, stand beside it while it is in use."""

    min_free_bytes: int = number(256 * 1024 * 1024, 0, 1024**5)
    """With less free on the disk of `path`, what adds (messages to be stored, accounts, uploads) is refused, while
    logins, acks, reads and removals go on. 0: only what the disk itself refuses. For the engine "sqlite" only."""
    inbox_ttl_days: float = number(30.0, 0.0001, 3650)
    """How long a message waits for a device that does not come."""
    purge_interval_s: float = number(600.0, 0.001, 7 * 86400, zero=True)
    """Expired rows are deleted this often; 0 leaves it to other processes."""
    chunk_rows: int = number(1000, 1, 1_000_000)
    """Rows that one transaction of a purge, or of a removed device's move, touches."""

    busy_timeout_s: float = number(5.0, 0.001, 600)
    """How long to wait while another process writes to the database."""
    call_timeout_s: float = number(30.0, 0.01, 3600)
    """A call without an answer by then fails; its work may still happen."""
    max_batch_rows: int = number(10_000, 1, 10_000_000)
    """Rows in one commit (one call's rows always stay together)."""
    max_waiting_rows: int = number(200_000, 1, 1_000_000_000)
    """Rows of all waiting calls; a call beyond it fails at once."""
    max_waiting_bytes: int = number(512 * 1024 * 1024, 1025, 1024**4)
    """Bodies of all waiting calls; a call beyond it fails at once."""
    checkpoint_pages: int = number(4000, 1, 1_000_000)
    """The write-ahead log is copied into the database when it has grown by this many pages of 4 KiB."""
    cache_kib: int = number(64 * 1024, 1, 64 * 1024 * 1024)
    """Memory for database pages, in KiB, of each of the two connections."""

    cassandra_contact_points: tuple[str, ...] = ("127.0.0.1:9042",)
    """Nodes to begin with, host or host:port; they tell of the others. All settings that begin with `cassandra_` are
    for the engine "cassandra" only."""
    cassandra_keyspace: str = "sparrow"
    """Where the tables are; `sparrow schema apply` makes them."""
    cassandra_replication: str = "SimpleStrategy:1"
    """How `sparrow schema apply` makes the keyspace: "SimpleStrategy:3", or "NetworkTopologyStrategy:dc1=3" with the
    replicas of each data centre."""
    cassandra_local_dc: str = ""
    """The data centre that all servers work with (LOCAL_QUORUM); empty: QUORUM over all replicas."""
    cassandra_credentials_file: str = ""
    """The user's name in its first line and the password in its second, mode 0600; empty: Cassandra asks for none."""
    cassandra_tls_ca_file: str = ""
    """Certificates (PEM) that sign those of the nodes; empty: no TLS."""
    cassandra_tls_cert_file: str = ""
    """Our own certificate (PEM), where the nodes ask for one."""
    cassandra_tls_key_file: str = ""
    """The key of our own certificate (PEM)."""
    cassandra_start_timeout_s: float = number(60.0, 0.1, 86400)
    """How long to go on trying at the start while no node answers."""
    cassandra_request_timeout_s: float = number(5.0, 0.05, 600)
    """How long to wait for the answer to one statement, repeats at other nodes included."""
    cassandra_max_requests: int = number(256, 1, 100_000)
    """Statements on their way at once; further ones wait."""
    cassandra_batch_rows: int = number(25, 1, 65_535)
    """Rows in one statement."""
    cassandra_batch_bytes: int = number(4096, 64, 32 * 1024)
    """Bytes of rows in one statement, unless it is a single row: bodies, and 64 bytes for each. Beyond 5 KiB Cassandra
    warns, beyond 50 KiB it refuses."""
    cassandra_trail_s: float = number(600.0, 60, 86400)
    """A fresh scan of an inbox goes back this far behind the begin of the one before. It bounds how far brokers'
    clocks may be apart and how late an append may become durable."""

    @property
    def inbox_ttl_ms(self) -> int:
        """`inbox_ttl_days` in milliseconds."""
        return int(self.inbox_ttl_days * 86_400_000)


@dataclass(frozen=True, slots=True)
class HistorySettings:
    """What is kept of conversations, and how much of it one person may fill (docs/design/history.md)."""

    keep_days: int = number(365, 0, 3650)
    """How long messages stay readable in their conversations; 0: they are not kept. A new store takes it from here;
    then the store itself holds it, and `sparrow history keep` changes it."""
    edit_hours: float = number(48.0, 0.001, 3650 * 24, zero=True)
    """A text may be edited for so long; 0: for as long as it is kept."""
    max_rows_per_day_of_author: int = number(100_000, 1, 10**12)
    """Messages, edits and erasures of one person that are kept, of one day."""
    max_bytes_per_day_of_author: int = number(256 * 1024 * 1024, 1, 10**15)
    """The same in bytes of bodies."""
    max_bytes_of_author: int = number(4 * 1024 * 1024 * 1024, 1, 10**15)
    """Bytes of bodies of one person, of all days that are kept."""
    words_of_deleted_accounts: str = "keep"
    """"keep": the others of a conversation go on reading them; "erase": they go with the account."""
    ledger: str = "var/erased.log"
    """Names of what was erased, one a line, outside the store: `sparrow restore` erases it again from older backups.
    Each process that erases (brokers, user API) adds to the one of its machine. Empty: none is kept."""
    search: bool = True
    """Keep an index of words, for `GET /v1/search`. For the engine "sqlite" only."""
    max_archiving_rows: int = number(100_000, 1, 100_000_000)
    """Messages on their way into timelines at once; further ones are tried again later."""
    max_archiving_bytes: int = number(256 * 1024 * 1024, 1025, 1024**4)
    """The same in bytes of bodies."""

    @property
    def keep_ms(self) -> int:
        """`keep_days` in milliseconds."""
        return self.keep_days * 86_400_000


NOT_KEPT = HistorySettings(keep_days=0, ledger="")
"""For stores that programs open beside the servers': a database that they make keeps no conversations."""
