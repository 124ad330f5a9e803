"""Where everybody is: presence in memory, for one broker, and in etcd (`broker.presence.etcd`), for several.

Owns both implementations of `broker.core.state.Presence`. etcd's is imported by those alone who need it.
"""

from broker.presence.memory import MemoryPresence

__all__ = ["MemoryPresence"]
