"""The archive copy: what is written in a kept conversation goes into its timeline (docs/design/history.md).

Owns entries on their way there, and marks that are to rise. Decides nothing of who may write to whom.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from broker.core.memberships import Plan
from broker.core.outcomes import Outcomes
from broker.core.quota import Quota
from broker.core.state import StorePort, Turn
from broker.settings import BrokerSettings
from fabric.records import (
    ATTEMPT,
    BODY,
    FLAGS,
    HISTORY_FULL,
    NO_SPACE,
    NOT_ALLOWED,
    SAFE,
    TRACED,
    UNAVAILABLE,
    Record,
    outcome_name,
)
from protocol.errors import FileReferenceError, RecordError
from protocol.files import parse_file_reference
from protocol.ids import STAMP_SHIFT, is_group_id
from protocol.sparrow_pb2 import EDIT, FILE, Message
from store.settings import HistorySettings
from store.timelines import (
    R_B_MS,
    Archived,
    Audience,
    Edit,
    Entry,
    Erasure,
    HistoryTerms,
    Mark,
    Name,
    Result,
    conversation_of,
)

STATES: Final = {
    Result.KEPT: SAFE,
    Result.FAILED: UNAVAILABLE,
    Result.FULL: HISTORY_FULL,
    Result.NOT_ALLOWED: NOT_ALLOWED,
}
MARKS_S: Final = 0.5
"""Marks are raised this often: of many READ of one conversation the last one counts."""
Kept = Entry | Edit | Erasure
OnKept = Callable[[int, bool, int], None]
"""Told what became of it: the outcome's state; of a change, whether the other side may see its target; and the stamp
of the row that stands for it, which may be an earlier attempt's."""


class Archiving(NamedTuple):
    """One entry on its way: the copy of an attempt, or a change of which `then` is told."""

    origin: int
    attempt: int
    copy: int
    copies: int
    flags: int
    entry: Kept
    size: int
    then: OnKept | None


class Archive:
    """All that a broker puts into timelines."""

    def __init__(
        self,
        settings: BrokerSettings,
        history: HistorySettings,
        turn: Turn,
        store: StorePort,
        quota: Quota,
        outcomes: Outcomes,
    ) -> None:
        self._settings = settings
        self._history = history
        self._turn = turn
        self._store = store
        self._quota = quota
        self._outcomes = outcomes
        self.queue: deque[Archiving] = deque()
        """What `flush` hands to the store."""
        self._appending: dict[int, list[Archiving]] = {}
        """Batches that the store is appending, by `id`."""
        self._rows = 0
        self._bytes = 0
        self._marks: dict[tuple[str, str, bool], int] = {}
        self._marks_due = 0.0
        self.keeps = False
        """Whether conversations are kept."""
        self.kept = 0
        """Messages and changes that stand in a timeline."""
        self.refused: Counter[int] = Counter()
        """Those that do not, by the outcome's state."""

    def terms(self, terms: HistoryTerms) -> None:
        """What the store says of history."""
        self.keeps = terms.keep_days > 0

    def add(self, origin: int, rec: Record, flags: int, index: int, count: int, to: str, audience: Audience) -> None:
        """The copy for the timeline of a message to the user `to`. Raises `RecordError`."""
        message = read_message(rec)
        entry = entry_of(message, conversation_of(message.from_id, to))._replace(audience=audience)
        self._add(Archiving(origin, rec[ATTEMPT], index, count, flags, entry, len(rec[BODY]), None))

    def keep(self, origin: int, rec: Record, entry: Entry, then: OnKept) -> None:
        """Keep a group's message, before anybody gets it."""
        self._add(Archiving(origin, rec[ATTEMPT], 0, 0, rec[FLAGS] & TRACED, entry, len(rec[BODY]), then))

    def change(self, origin: int, rec: Record, change: Edit | Erasure, then: OnKept) -> None:
        """Keep an EDIT or ERASE before anybody gets it."""
        self._add(Archiving(origin, rec[ATTEMPT], 0, 0, rec[FLAGS] & TRACED, change, len(rec[BODY]), then))

    def read(self, rec: Record, to: str, public: bool) -> None:
        """A READ of what `to` wrote: its author's mark rises, which `to` may see if it is public."""
        message = read_message(rec)
        if message.mark:
            key = message.from_id, conversation_of(message.from_id, to), public
            ahead = self._turn.wall_ms + R_B_MS << STAMP_SHIFT
            self._marks[key] = max(self._marks.get(key, 0), min(message.mark, ahead))

    def _add(self, archiving: Archiving) -> None:
        self._rows += 1
        self._bytes += archiving.size
        history = self._history
        if self._rows > history.max_archiving_rows or self._bytes > history.max_archiving_bytes:
            self._finish(archiving, UNAVAILABLE)
        elif self._quota.no_space and not isinstance(archiving.entry, Erasure):
            self._finish(archiving, NO_SPACE)
        else:
            self.queue.append(archiving)

    def tick(self) -> None:
        """Raise marks, of the last moment together."""
        now = self._turn.now
        if self._marks and now >= self._marks_due:
            self._marks_due = now + MARKS_S
            marks, self._marks = self._marks, {}
            self._store.raise_marks(
                [Mark(user, conversation, stamp, public) for (user, conversation, public), stamp in marks.items()]
            )

    def flush(self) -> None:
        """Begin what may begin."""
        while self.queue and len(self._appending) < self._settings.max_appends_in_flight:
            size = min(len(self.queue), self._settings.max_batch_rows)
            batch = [self.queue.popleft() for _ in range(size)]
            self._appending[id(batch)] = batch
            self._store.archive([each.entry for each in batch], partial(self._archived, batch))

    def _archived(self, batch: list[Archiving], found: Sequence[Archived] | None) -> None:
        del self._appending[id(batch)]
        if found is None:
            for archiving in batch:
                self._finish(archiving, UNAVAILABLE)
            return
        wall_ms = self._turn.wall_ms
        for archiving, (result, visible, stamp) in zip(batch, found, strict=True):
            # Whoever has paged past this place by now would never see it (rule R-B).
            late = abs(wall_ms - (archiving.entry.stamp >> STAMP_SHIFT)) > R_B_MS and isinstance(archiving.entry, Entry)
            state = UNAVAILABLE if late and result == Result.KEPT else STATES[result]
            self._finish(archiving, state, visible, stamp)

    def _finish(self, archiving: Archiving, state: int, visible: bool = True, stamp: int = 0) -> None:
        origin, attempt, copy, copies, flags, entry, size, then = archiving
        self._rows -= 1
        self._bytes -= size
        if state == SAFE:
            self.kept += 1
        else:
            self.refused[state] += 1
        if flags & TRACED:
            what = "stands in the timeline" if state == SAFE else f"is not in the timeline: {outcome_name(state)}"
            self._turn.traces.append((origin, attempt, what))
        if then is None:
            self._outcomes.add(origin, attempt, copy, copies, state, flags)
        else:
            then(state, visible, stamp or entry.stamp)

    def check(self) -> None:
        """Assert that the counts are what they count."""
        under_way = [*self.queue, *(each for batch in self._appending.values() for each in batch)]
        assert self._rows == len(under_way), f"{self._rows} entries are counted, and {len(under_way)} are on their way"
        size = sum(each.size for each in under_way)
        assert self._bytes == size, f"{self._bytes} bytes are counted, and {size} are on their way"

    @property
    def rows(self) -> int:
        """Entries that are not in a timeline yet."""
        return self._rows


def read_message(rec: Record) -> Message:
    """The message that a ROUTE carries, as its connector has signed it. Raises `RecordError`."""
    try:
        return Message.FromString(rec[BODY])
    except DecodeError as error:
        raise RecordError("a message is not valid protobuf") from error


def name_of(message: Message) -> Name:
    """What names it."""
    return Name(message.from_id, message.from_device, message.stream, message.id)


def entry_of(message: Message, conversation: str, group: Plan | None = None) -> Entry:
    """A message as it is kept; `group`: the one that it is for, in the version in which it was sent."""
    kind, body = int(message.kind), message.body
    about = message.about.SerializeToString() if message.HasField("about") else b""
    file = _file_of(body) if kind == FILE else ""
    version, may_all_see, settled = (0, False, 0) if group is None else (group.version, group.open, message.settled)
    return Entry(
        conversation,
        name_of(message),
        message.stamp,
        kind,
        body,
        about,
        file=file,
        version=version,
        open=may_all_see,
        settled=settled,
    )


def change_of(message: Message, audience: Audience) -> Edit | Erasure:
    """What an EDIT or ERASE asks of the store."""
    about, author = message.about, message.from_id
    to = message.dest_id
    conversation = to if is_group_id(to) else conversation_of(author, to)
    target = Name(author, about.from_device, about.stream, about.ids[0])
    if message.kind == EDIT:
        name, revision = name_of(message), message.revision
        return Edit(conversation, target, name, message.stamp, revision, message.body, audience)
    return Erasure(conversation, target, message.stamp, author)


def _file_of(body: bytes) -> str:
    """The file that a FILE names, if it can be read."""
    try:
        return parse_file_reference(body).file
    except FileReferenceError:
        return ""
