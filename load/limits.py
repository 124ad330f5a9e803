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
    needed = clients + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= needed:
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, needed))  # root may
    except (ValueError, OSError):
        raise ConfigError(
            f"{clients} clients need {needed} file descriptors in a process, and it may open {hard}: spread them over "
            "more --processes, or raise the limit (as root: ulimit -n 200000; LimitNOFILE= in a unit of systemd)"
        ) from None
