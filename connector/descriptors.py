"""How many connections this process may have.

Owns its limit of file descriptors.
"""

from __future__ import annotations

import resource
import sys

SPARE_FILES = 256
"""Descriptors that clients do not get: databases, links, files, and connections that are told to come back later."""


def most_connections() -> int:
    """How many clients there may be, with the limit raised as far as it goes.

    Every connection is a file descriptor, and some are kept for other things.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else max(1, hard - min(SPARE_FILES, hard // 4))
