"""Pages of history among the lines of a state file, and which stretches of a conversation are here as a whole.

Owns the table `pages`, and what counts where a page and what is here already differ. Fetches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from client import lines
from client.changes import NO_NAME, Change, Changes, Target
from client.lines import Do, HistoryEntry, Query
from client.messages import State
from client.schema import signed
from client.state import MessageName
from protocol.ids import stamp_ms

OPEN: Final = (1 << 63) - 1
"""Where a stretch ends that goes on with what comes as messages."""
SLOW_MS: Final = 180_000
"""A message that is stamped may take so long until a page has it (rule R-B, and some)."""


@dataclass(frozen=True, slots=True)
class PagedLine:
    """A message as a page tells it."""

    name: MessageName
    stamp: int
    kind: int
    body: bytes
    """The effective one; empty of what was erased."""
    revision: int = 0
    edited_stamp: int = 0
    edit: tuple[str, int, int] = NO_NAME
    """Device, stream and id of the edit that counts, where the page tells."""
    erased_by: str = ""

    def change(self, peer: str) -> Change | None:
        """What was changed of it; None: nothing."""
        if not self.revision and not self.erased_by:
            return None
        body = b"" if self.erased_by else self.body
        return Change(Target(peer, *self.name), self.revision, self.edit, body, self.edited_stamp, self.erased_by)


class Stretch(NamedTuple):
    """Everything with a stamp from `low` to `upto` is here."""

    upto: int
    low: int
    before: str | None
    """The cursor of what is older; None: nothing is."""
    fetched_ms: int
    """The server's Unix time when it was the newest page, and is to be looked at once more; else 0."""


class Lines(Protocol):
    """The lines that pages are put among: `client.history`."""

    user: str

    def line(self, peer: str, name: MessageName) -> HistoryEntry | None: ...

    def line_name(self, peer: str, name: MessageName) -> tuple[object, ...]: ...

    def grown(self, by: int) -> None: ...


class Pages:
    """Of all conversations. Written through the journal's next commit, read as committed."""

    def __init__(self, history: Lines, do: Do, query: Query, changes: Changes) -> None:
        self._history = history
        self._do = do
        self._query = query
        self._changes = changes

    # Stretches.

    def at(self, peer: str, stamp: int) -> Stretch | None:
        """The stretch in which this place is, and something below it."""
        found = self._query(
            "SELECT upto, low, before, fetched_ms FROM pages WHERE peer = ? AND upto >= ? AND low < ? "
            "ORDER BY low LIMIT 1",
            *(peer, stamp, stamp),
        )
        return Stretch(*found[0]) if found else None

    def cover(self, peer: str, stretch: Stretch) -> None:
        """From now on this is here."""
        # What it reaches into stays, and so does the way on from there.
        self._do("DELETE FROM pages WHERE peer = ? AND low >= ? AND upto <= ?", peer, stretch.low, stretch.upto)
        self._do("INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?, ?)", peer, *stretch)

    def forget(self, peer: str, low: int, high: int) -> None:
        """What is here between these stamps may not be all."""
        self._do("DELETE FROM pages WHERE peer = ? AND low <= ? AND upto >= ?", peer, high, low)

    def close(self, peer: str, stamp: int) -> None:
        """What came as messages behind this stamp may not be all; `peer` empty: in no conversation."""
        which = ("? IN ('', peer)", peer)
        self._do(f"DELETE FROM pages WHERE upto = ? AND low >= ? AND {which[0]}", OPEN, stamp, which[1])
        self._do(f"UPDATE pages SET upto = ?, fetched_ms = 0 WHERE upto = ? AND {which[0]}", stamp, OPEN, which[1])

    def again(self) -> dict[str, int]:
        """Conversations whose newest page is to be looked at once more, and when it was fetched."""
        rows = self._query("SELECT peer, fetched_ms FROM pages WHERE upto = ? AND fetched_ms != 0", OPEN)
        return dict(rows)

    # Lines.

    def put(self, peer: str, page: Iterable[PagedLine], mark: int, read_by_other: int) -> list[Change]:
        """Put what stands on a page among the lines; returns what changed of those that were here.

        `mark`, `read_by_other`: up to where we have read, and they have.
        """
        found, new = [], 0
        for line in page:
            mine = line.name[0] == self._history.user
            read = line.stamp <= (read_by_other if mine else mark)
            state = State.READ if read else State.SENT if mine else State.QUEUED
            known, change = self._history.line(peer, line.name), line.change(peer)
            counts = change is not None and self._changes.apply(change)
            if known is None:
                self._insert(peer, line, state)
                new += 1
                continue
            self._update(peer, line, known, state)
            if change is not None and counts and _differs(known, change):
                found.append(change)
        self._history.grown(new)
        return found

    def _insert(self, peer: str, line: PagedLine, state: State) -> None:
        best = self._changes.get(Target(peer, *line.name))
        if best is not None and not best.applies_to(line.kind):
            best = None
        body = line.body if best is None or _same(best, line) else best.body
        self._do(
            lines.INSERT_PAGED,
            *(*self._history.line_name(peer, line.name), line.kind, body, signed(line.stamp), stamp_ms(line.stamp)),
            *(int(state), *lines.changed_columns(best)),
        )

    def _update(self, peer: str, line: PagedLine, known: HistoryEntry, state: State) -> None:
        which = self._history.line_name(peer, line.name)
        # Of two stamps the lower counts; one's own that has failed here has been SENT after all.
        stamp = min(line.stamp, known.stamp or line.stamp)
        self._do(
            f"UPDATE history SET stamp = ?, at_ms = ?, state = max(state, ?), note = '' WHERE {lines.NAMED}",
            *(signed(stamp), stamp_ms(stamp), int(state), *which),
        )
        if known.erased_by or line.erased_by or known.revision != line.revision or known.body == line.body:
            return
        best = self._changes.get(Target(peer, *line.name))
        if best is None or _same(best, line):
            self._do(f"UPDATE history SET body = ? WHERE {lines.NAMED}", line.body, *which)


def _same(change: Change, line: PagedLine) -> bool:
    """Whether the page tells of no other edit than this, as far as it tells."""
    return change.revision == line.revision and line.edit in (NO_NAME, change.edit) and not change.erased_by


def _differs(known: HistoryEntry, change: Change) -> bool:
    if change.erased_by:
        return not known.erased_by
    return not known.erased_by and (known.body, known.revision) != (change.body, change.revision)
