"""The store's settings: every limit and its unit. Plain data; read from TOML by `sparrow.settings`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where things are kept, and how much may wait to be kept."""

    engine: str = "sqlite"
    """Which engine; "sqlite" is the only one so far."""
    path: str = "var/sparrow.db"
    """The SQLite database; two companions, `-wal` and `-shm`, stand beside it while it is in use."""

    inbox_ttl_days: float = 30.0
    """How long a message waits for a device that does not come."""
    purge_interval_s: float = 600.0
    """Expired rows are deleted this often; 0 leaves it to other processes."""
    chunk_rows: int = 1000
    """Rows that one transaction of a purge, or of a removed device's move, touches."""

    busy_timeout_s: float = 5.0
    """How long to wait while another process writes to the database."""
    call_timeout_s: float = 30.0
    """A call without an answer by then fails; its work may still happen."""
    max_batch_rows: int = 10_000
    """Rows in one commit (one call's rows always stay together)."""
    max_waiting_rows: int = 200_000
    """Rows of all waiting calls; a call beyond it fails at once."""
    max_waiting_bytes: int = 512 * 1024 * 1024
    """Bodies of all waiting calls; a call beyond it fails at once."""
    checkpoint_pages: int = 4000
    """The write-ahead log is copied into the database when it has grown by this many pages of 4 KiB."""
    cache_kib: int = 64 * 1024
    """Memory for database pages, in KiB, of each of the two connections."""
