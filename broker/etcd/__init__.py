"""A small client of etcd's v3 API over gRPC: only what presence and membership need. Knows nothing of either."""

from broker.etcd.client import Etcd
from broker.etcd.mirror import Mirror

__all__ = ["Etcd", "Mirror"]
