"""Deliberate defects of a node's link: each takes one rule of docs/design/links.md out, and must be found.

Owns nothing but the patches; what a defect is stands in `tests.simulation.defect`.
"""

from __future__ import annotations

from typing import Any

from connector.core.doubts import Doubts
from fabric.pump import Pump
from tests.simulation.defect import Defect


def _waits_for_the_answer_alone(self: Any, sessions: Any) -> None:
    _stood_still(self, sessions)
    if self._waiting:
        self._until = 0.0


_stood_still = Doubts.stood_still


def _nobody_hears(self: Any) -> None:
    pass


NODE_DEFECTS = (
    Defect(
        "a standstill that is over before sockets are read",
        40,
        ((Doubts, "stood_still", _waits_for_the_answer_alone),),
        ("node", "stop connector"),
    ),
    Defect(
        "an end that fails and breaks no link",
        60,
        ((Pump, "_break", _nobody_hears),),
        ("node", "gone in a cut", "cut link"),
    ),
)
