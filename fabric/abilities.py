"""What processes are for, by names that mean the same in each of them, in status, metrics and alarms.

Owns the names. Whether a process is able is its own business, and goes by what it has lately tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

LOG_IN = "log_in"
"""Devices can begin sessions."""
DELIVER = "deliver"
"""Messages come to who is online."""
STORE = "store"
"""Messages are kept: for who is away, and in conversations."""
SERVE = "serve"
"""Requests of the user API are answered."""
NOTIFY = "notify"
"""What the user API changes is told to brokers, and so to sessions."""

Abilities: TypeAlias = Mapping[str, str]
"""Ability → why it is not there now; empty: it is."""


def lacking(abilities: Abilities) -> dict[str, str]:
    """Those that are not there, and why."""
    return {name: why for name, why in abilities.items() if why}
