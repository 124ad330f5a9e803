"""File descriptors: how many this process may open, raised as far as it goes.

Owns the limit of this process, which what it starts inherits.
"""

from __future__ import annotations

import resource

from protocol.errors import ConfigError

SPARE = 200
"""For everything but clients."""


def raise_descriptors(clients: int) -> None:
    """Make room for so many connections. Raises `ConfigError` if the system does not allow it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and clients + SPARE > hard:
        raise ConfigError(
            f"{clients} clients in one process need {clients + SPARE} file descriptors, and it may open {hard}: "
            "take more --processes, or raise the limit (as root: ulimit -n 200000, or LimitNOFILE= in a unit)"
        )
