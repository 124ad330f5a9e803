"""What history promises (docs/design/history.md, H1 to H5), checked: at each SENT, and when all is quiet.

Owns what was seen of timelines. Sees the checker's messages and the database; changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.ids import stamp_ms
from protocol.sparrow_pb2 import ERASE, READ
from store.timelines import KeptMessage, Name, conversation_of, members_of
from tests.simulation.groups import is_group
from tests.simulation.world import EPOCH_S

if TYPE_CHECKING:
    from tests.simulation.checker import Checker, Sent
    from tests.simulation.cluster import Cluster

MAX_OFF_MS = 120_000 + 30_000 + 5_000
"""How far a stamp may be from the true time of SENT: rule R-B, a broker's clock, and the way."""


def conversation(sent: Sent) -> str:
    """Where a message belongs."""
    return sent.dest if is_group(sent.dest) else conversation_of(sent.name[0], sent.dest)


class HistoryChecker:
    """Timelines of one run."""

    def __init__(self, cluster: Cluster, checker: Checker) -> None:
        self._cluster = cluster
        self._checker = checker
        self.erased: set[tuple[str, Name]] = set()
        """What somebody has asked to be erased."""
        self._bodies: dict[tuple[str, Name], bytes] = {}
        """What a page has shown of each unedited message."""

    def _fail(self, text: str) -> None:
        self._checker.fail(text)

    def settled(self, sent: Sent, stamp: int) -> None:
        """H1: SENT also means that it stands in the timeline, at the place that its author is told."""
        if not self._cluster.keeps or sent.kind in self._checker.SILENT or is_group(sent.dest):
            return
        where = conversation(sent)
        name = Name(*sent.name)
        if name not in self._names(where, name.author):
            self._fail(f"{sent.author} saw SENT for {sent.name[2:]}, which is not in the timeline")
        elif stamp not in self._cluster.database.timelines.stamps(where, name):
            self._fail(f"{sent.author} was told another stamp of {sent.name[2:]} than the timeline has")
        off_ms = abs((EPOCH_S + self._cluster.world.now) * 1000 - stamp_ms(stamp))
        if off_ms > MAX_OFF_MS:
            self._fail(f"{sent.name[2:]} was SENT with a place {off_ms / 1000:.0f} s off, which pages have passed")

    def is_erased(self, sent: Sent) -> bool:
        """Whether its author has asked that it be erased, by now: nobody need have it."""
        return (conversation(sent), Name(*sent.name)) in self.erased

    def _names(self, conversation: str, reader: str) -> dict[Name, KeptMessage]:
        found: dict[Name, KeptMessage] = {}
        for message in self._cluster.database.timelines.page(conversation, reader):
            if message.name in found:
                self._fail(f"a page for {reader} has {message.name} twice")
            found[message.name] = message
            self._same(conversation, message)
        return found

    def _same(self, conversation: str, message: KeptMessage) -> None:
        """A name has one body (P6)."""
        if message.erased_by or message.revision:
            return
        first = self._bodies.setdefault((conversation, message.name), message.body)
        if first != message.body:
            self._fail(f"{message.name} was {first!r}, and is {message.body!r}")

    def finish(self) -> None:
        """All that was SENT is there for both, and what may not be seen is not (H2, H5)."""
        if not self._cluster.keeps:
            return
        for sent in self._checker.messages.values():
            if sent.failed or sent.sent_at is None or sent.kind == READ or sent.kind in self._checker.SILENT:
                continue
            if is_group(sent.dest):
                continue
            conversation, name = conversation_of(sent.name[0], sent.dest), Name(*sent.name)
            if name not in self._names(conversation, name.author):
                self._fail(f"{name} was SENT, and its author does not find it")
            elif name not in self._names(conversation, sent.dest) and not self._checker.blocked(sent):
                self._fail(f"{name} was SENT, and {sent.dest} does not find it")
        self._finish_changes()
        for user, conversation, public in self._cluster.database.timelines.marks:
            if public and user in self._cluster.database.hiding:
                self._fail(f"the mark of {user} in {conversation} is seen, who hides")

    def _finish_changes(self) -> None:
        """What was SENT of edits and erasures is how the messages read (H4, R-E)."""
        for sent in self._checker.messages.values():
            if sent.target is None or sent.failed or sent.sent_at is None or is_group(sent.dest):
                continue
            conversation, target = conversation_of(sent.name[0], sent.dest), Name(*sent.target)
            for reader in {target.author} if self._checker.blocked(sent) else members_of(conversation):
                there = self._names(conversation, reader).get(target)
                if there is None or there.erased_by:
                    if there is not None and there.body:
                        self._fail(f"{target} was erased, and {reader} reads {there.body!r}")
                elif sent.kind == ERASE:
                    self._fail(f"{target} was erased, and {reader} reads {there.body!r}")
                elif (there.revision, there.edit or ()) < (sent.revision, sent.name):
                    self._fail(f"{target} was edited by {sent.name}, and {reader} reads {there.body!r}")
