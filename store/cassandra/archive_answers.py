"""Answers to what is to be kept, and what is refused before anything is read.

Owns no statement.
"""

from __future__ import annotations

from store.timeline_rules import stamp_is_sound
from store.timelines import Archived, Name, Result

KEPT, FAILED = Archived(Result.KEPT), Archived(Result.FAILED)
FULL, NOT_ALLOWED = Archived(Result.FULL), Archived(Result.NOT_ALLOWED)


def soundness(sound: bool, stamp: int, *names: Name) -> Archived:
    """KEPT: it may be tried."""
    if not sound:
        return NOT_ALLOWED
    if not stamp_is_sound(stamp):
        return FAILED
    try:
        for name in names:
            name.device.encode()
    except UnicodeEncodeError:
        return NOT_ALLOWED
    return KEPT
