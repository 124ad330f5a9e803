"""Deliberate defects of signals: each takes one rule of docs/design/signals.md out, and must be found.

Owns nothing but the patches; what a defect is stands in `tests.simulation.defect`.
"""

from __future__ import annotations

from typing import Any

from broker.core.looks import Looks
from broker.core.signals import Signals as BrokerSignals
from connector.core import signals as connector_signals
from connector.core.phases import LIVE
from connector.core.signals import Signals
from tests.simulation.defect import Defect


def _reaches_everybody(self: Any, author: str, user: str, in_group: bool) -> bool:
    return True


def _whoever_is_live(self: Any, session: Any) -> bool:
    return bool(session.phase == LIVE)


def _tried_again(self: Any, signal: Any) -> bool:
    """It waits on, though it was handed out."""
    return _go(self, signal) and signal.until <= self._turn.now


_go = BrokerSignals._go


def _whoever_asks(self: Any, author: str, group: Any) -> bool:
    return True


def _any_connector(self: Any, connector: int) -> bool:
    return True


def _kinds_of_any_release(kind: int) -> bool:
    return True


SIGNAL_DEFECTS = (
    Defect(
        "a signal to who has blocked its author",
        40,
        ((BrokerSignals, "_reaches", _reaches_everybody),),
        ("signals", "blocks"),
    ),
    Defect("a signal for who cannot read it", 40, ((Signals, "_takes", _whoever_is_live),), ("signals",)),
    Defect(
        "a signal for a connector that knows none",
        40,
        ((Looks, "knows_signals", _any_connector),),
        ("signals", "older servers"),
    ),
    Defect("a signal that is tried again", 40, ((BrokerSignals, "_go", _tried_again),), ("signals",)),
    Defect("typing of one who hides", 40, ((connector_signals, "PRESENCE_SIGNALS", frozenset[int]()),), ("signals",)),
    Defect(
        "a signal of who is in the group no more",
        100,
        ((BrokerSignals, "_may_signal", _whoever_asks),),
        ("signals", "groups", "people come and go"),
    ),
    Defect(
        "a signal of a kind that may tell of presence",
        20,
        ((connector_signals, "carries_signal", _kinds_of_any_release),),
        ("signals",),
    ),
)
