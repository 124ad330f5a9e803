"""The embedded engine: one SQLite file, written by one thread and read by another."""

from store.sqlite.engine import SqliteStore

__all__ = ["SqliteStore"]
