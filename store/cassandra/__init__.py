"""The engine for clusters: tables in Cassandra, reached through its driver."""

from store.cassandra.engine import CassandraStore
from store.cassandra.schema import apply

__all__ = ["CassandraStore", "apply"]
