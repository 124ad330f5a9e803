"""The phases of a session, and which may follow which (docs/design/session.md has the drawing).

Owns the table. Whether it is time for the next phase is decided by `connector.core.catchup`, and by
`connector.core.logins` for the first and the last.
"""

from __future__ import annotations

from typing import Final, NamedTuple

ENDED: Final = 0
GREETING: Final = 1
BEHIND: Final = 2
SETTLING: Final = 3
LIVE: Final = 4

PHASES: Final = {
    GREETING: ("GREETING", "not logged in, or presence has not answered yet"),
    BEHIND: ("BEHIND", "inbox pages go to the device, live copies back to the broker"),
    SETTLING: ("SETTLING", "the end of the inbox is in sight, live copies wait for it"),
    LIVE: ("LIVE", "live copies go to the device"),
    ENDED: ("ENDED", "the client is told Goodbye or gone, its copies go back to the broker"),
}
"""Name and meaning of each."""


class Transition(NamedTuple):
    """One phase that may follow another."""

    before: int
    after: int
    when: str


TRANSITIONS: Final = (
    Transition(GREETING, SETTLING, "presence names it: the inbox is read from its start"),
    Transition(SETTLING, BEHIND, "a page has come that is not the last"),
    Transition(BEHIND, SETTLING, "the last page has come"),
    Transition(SETTLING, LIVE, "the scan has ended, and nothing is owed, returned or waited for"),
    Transition(LIVE, SETTLING, "there may be a row that it does not know of"),
    Transition(LIVE, BEHIND, "the device takes no more copies, or has not acked one in time"),
    Transition(GREETING, ENDED, "refused, or gone"),
    Transition(BEHIND, ENDED, "Goodbye, or gone"),
    Transition(SETTLING, ENDED, "Goodbye, or gone"),
    Transition(LIVE, ENDED, "Goodbye, or gone"),
)
ALLOWED: Final = frozenset((transition.before, transition.after) for transition in TRANSITIONS)
