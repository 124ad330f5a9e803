"""What a connector knows of one broker.

Owns nothing but that. `connector.core.links` changes it.
"""

from __future__ import annotations

from collections.abc import Mapping


class Link:
    """One broker, by its endpoint."""

    __slots__ = (
        "clear_ms",
        "endpoint",
        "heard",
        "identity",
        "incarnation",
        "knows_changes",
        "knows_groups",
        "knows_signals",
        "learnt",
        "leaving",
        "members",
        "out",
        "outcomes",
        "unwell",
        "up",
        "wall_ahead_ms",
    )

    def __init__(self, endpoint: str, learnt: bool = False) -> None:
        self.endpoint = endpoint
        """The address at which this connector reaches it."""
        self.identity = endpoint
        """What it calls itself: the same for all connectors, however they reach it."""
        self.learnt = learnt
        """A heartbeat has named it, not the settings."""
        self.incarnation = 0
        self.members: Mapping[int, str] = {}
        self.heard = 0.0
        self.up = False
        self.leaving = False
        """The broker answers still, and will not for long."""
        self.unwell = False
        """The broker's store, or its presence, does not answer."""
        self.knows_changes = False
        """The broker knows what an EDIT and an ERASE are."""
        self.knows_groups = False
        """The broker knows what groups are."""
        self.knows_signals = False
        """The broker knows what signals are."""
        self.clear_ms = 0
        """Of groups, what began to be appended before this Unix time is here; 0: not told."""
        self.wall_ahead_ms = 0
        """How far its clock is ahead of ours."""
        self.out: list[bytes] = []
        self.outcomes: dict[int, list[bytes]] = {}
        """Origin → OUTCOME entries that wait for the end of the turn."""
