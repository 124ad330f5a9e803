"""What systemd is told of a process (sd_notify(3)): ready, reloading, stopping, alive.

Owns the socket that $NOTIFY_SOCKET names. Without one, nothing is told to anybody.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from fabric.abilities import Abilities

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"


class Systemd:
    """The service manager that has started us, if it was systemd."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environ)
        """It wants to hear that we live at least this often; 0: it does not."""

    def tell(self, *facts: str) -> None:
        """Pass facts on, such as `READY` or "STATUS=…"."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            try:
                out.sendto("\n".join(facts).encode(), address)
            except OSError:
                return  # it is about to notice anything that matters by itself

    def ready(self) -> None:
        """We do our work, or a reload has ended."""
        self.tell(READY)

    def status(self, text: str) -> None:
        """A line for `systemctl status`."""
        self.tell(f"STATUS={text}")

    def alive(self) -> None:
        """For the watchdog."""
        self.tell(ALIVE)

    def stopping(self) -> None:
        """We end."""
        self.tell(STOPPING)

    def able(self, abilities: Abilities) -> None:
        """Nothing: systemd listens to a service's main process alone, and its monitor says it."""

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def _watchdog_s(environ: Mapping[str, str]) -> float:
    text = environ.get("WATCHDOG_USEC", "")
    ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(text) / 1e6 if ours and text.isdecimal() else 0.0
