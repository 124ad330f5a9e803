"""What is said of other messages: that they read otherwise from now on, are no more, or were read.

Owns which revision an edit has, what is refused at the call, and what is told together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from client import arguments
from client.changes import Target
from client.core import ClientCore
from client.memory import ClientJournal
from client.messages import NO_TEXT
from client.streams import StreamKey
from protocol import sparrow_pb2 as pb
from protocol.allowed import MAX_ABOUT_IDS, MAX_REVISION
from protocol.errors import MisuseError
from protocol.ids import stamp_ms
from protocol.outbound import Outgoing

ABOUT_BYTES = 64
"""What names the target of a change takes at most so much, and its revision."""


@dataclass(frozen=True, slots=True)
class Amendment:
    """Another text for a message of one's own, or the end of it (`text` is None)."""

    target: Target
    text: str | None
    known: int
    """The highest revision of it that the application knows."""

    def check(self, max_message: int) -> None:
        """Raises `MisuseError`, `MessageTooLargeError`."""
        body = b"" if self.text is None else arguments.content(self.text, pb.TEXT)
        arguments.fits(body, self.target.peer, max_message, ABOUT_BYTES)

    def send(self, core: ClientCore, journal: ClientJournal) -> Outgoing:
        """Give it to the core. Raises `MisuseError`."""
        if self.text is None:
            return core.send(self.target.peer, int(pb.ERASE), b"", self._about)
        revision = self._revision(core, journal)
        return core.send(self.target.peer, int(pb.EDIT), self.text.encode(), self._about, revision=revision)

    @property
    def _about(self) -> pb.About:
        return pb.About(from_device=self.target.device, stream=self.target.stream, ids=[self.target.id])

    def _revision(self, core: ClientCore, journal: ClientJournal) -> int:
        """Above all that are known, those that are on their way included."""
        change = journal.changes.get(self.target)
        line = None if journal.history is None else journal.history.line(self.target.peer, self.target.name)
        if (change is not None and change.erased_by) or (line is not None and line.erased_by):
            raise MisuseError("it is erased")
        if line is not None and line.kind != pb.TEXT:
            raise MisuseError(NO_TEXT)
        if line is not None and line.stamp and core.edit_hours and core.server_ms:
            age_ms = core.server_ms - stamp_ms(line.stamp)
            if age_ms > core.edit_hours * 3_600_000:
                raise MisuseError(f"a text may be edited for {core.edit_hours} hours: erase it, and send another")
        pending = [each.revision for each in core.outgoing() if each.kind == pb.EDIT and each.about == self._about]
        known = [0 if each is None else each.revision for each in (change, line)]
        found = max(self.known, *known, *pending)
        if found >= MAX_REVISION:
            raise MisuseError("it was edited too often: erase it, and send another")
        return found + 1


class Reads:
    """What was read since the last turn, told together."""

    def __init__(self, journal: ClientJournal) -> None:
        self._journal = journal
        self._read: dict[StreamKey, tuple[list[int], int]] = {}
        """Ids, and the highest stamp among them, as far as it is known."""

    def put(self, key: StreamKey, ids: Iterable[int], mark: int) -> None:
        """These of a stream were read; `mark`: the highest stamp among them, if it is known."""
        names, known = self._read.setdefault(key, ([], 0))
        new = list(ids)
        names.extend(new)
        if self._journal.history is not None:
            mark = max(mark, self._journal.history.stamps(*key, new))
        self._read[key] = names, max(mark, known)

    def send(self, core: ClientCore) -> None:
        """Tell it to their authors."""
        for (author, device, stream), (ids, mark) in self._read.items():
            for at in range(0, len(ids), MAX_ABOUT_IDS):
                about = pb.About(from_device=device, stream=stream, ids=ids[at : at + MAX_ABOUT_IDS])
                core.send(author, int(pb.READ), b"", about, mark=mark)
        self._read.clear()
