"""DELIVERED that travels on its own: for inbox rows that were acked, and for the author's other devices.

Owns these receipts until every device they are for has them safely; only then a row is removed, or SENT is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from connector.core.link import Link
from connector.core.links import Links
from connector.core.phases import ENDED
from connector.core.state import SentRow, Session, Turn
from connector.settings import ConnectorSettings
from fabric.control import Remove
from fabric.records import (
    BLOCKED,
    BLOCKS,
    DELIVERED,
    NO_SUCH_USER,
    NOT_FRIEND,
    OTHERS_BIT,
    RECEIPT,
    ROUTE,
    SAFE,
    UNSEEN,
    record,
)
from protocol.ids import split_address
from protocol.sparrow_pb2 import Receipt

DONE = frozenset((DELIVERED, SAFE, NO_SUCH_USER, BLOCKED, BLOCKS, NOT_FRIEND))
"""States that end a copy. Of a state that a later release has added nobody here can say so: it is tried again."""


@dataclass(slots=True)
class OwedReceipt:
    """One receipt on its way to an author's devices."""

    session: Session
    author: str
    receipt: Receipt
    rows: list[bytes] = field(default_factory=list)
    """Keys of rows that go from the session's inbox when the receipt is safe."""
    stamps: list[int] = field(default_factory=list)
    """Stamps of the session's own messages, if these are what the receipt is of: it is told SENT when it is safe."""
    unseen: bool = False
    """The author is told only if they are a friend of the session's user."""
    done: set[int] = field(default_factory=set)
    due: float = 0.0
    """When to try again, in seconds of the turn's clock."""


class Receipts:
    """All receipts of a connector that are not safe yet."""

    MAX_IDS: ClassVar[int] = 256

    def __init__(self, settings: ConnectorSettings, turn: Turn, links: Links, first: int) -> None:
        self._settings = settings
        self._turn = turn
        self._links = links
        self._counter = first
        self._under_way: dict[int, OwedReceipt] = {}
        self.waiting: list[OwedReceipt] = []
        """Those of this turn."""
        self._own: dict[tuple[int, int], OwedReceipt] = {}

    def __len__(self) -> int:
        return len(self._under_way) + len(self.waiting) + len(self._own)

    # What is owed.

    def acked_rows(self, session: Session, rows: Iterable[SentRow]) -> None:
        """The device has these rows: tell their authors, then remove them."""
        plain: list[bytes] = []
        groups: dict[tuple[str, str, int, bool], OwedReceipt] = {}
        for row in rows:
            if row.author is None:
                plain.append(row.key)
                continue
            group = (row.author, row.author_device, row.stream, row.unseen)
            owed = groups.get(group)
            if owed is None or len(owed.rows) >= self.MAX_IDS:
                receipt = Receipt(stream=row.stream, delivered=True, from_device=row.author_device)
                owed = groups[group] = OwedReceipt(session, row.author, receipt, unseen=row.unseen)
                self.waiting.append(owed)
            owed.receipt.ids.append(row.id)
            owed.rows.append(row.key)
        if plain:
            self._remove(session, plain)

    def tell_others(self, session: Session, stream: int, number: int, stamp: int) -> None:
        """The session's own message is delivered: tell the author's other devices, then the session."""
        owed = self._own.get((session.number, stream))
        if owed is None or len(owed.stamps) >= self.MAX_IDS:
            user, device = split_address(session.key)
            receipt = Receipt(stream=stream, delivered=True, from_device=device)
            owed = self._own[session.number, stream] = OwedReceipt(session, user, receipt)
            self.waiting.append(owed)
        owed.receipt.ids.append(number)
        owed.stamps.append(stamp)

    # On its way.

    def flush(self) -> None:
        """Send what this turn has gathered."""
        if self.waiting:
            waiting, self.waiting = self.waiting, []
            self._own.clear()
            for owed in waiting:
                self._send(owed)

    def _send(self, owed: OwedReceipt) -> None:
        counter = self._counter
        self._counter = counter + 1
        self._under_way[counter] = owed
        owed.done.clear()
        owed.due = self._turn.now + self._settings.receipt_retry_s
        route = self._links.for_user(owed.author)
        if route is not None:
            link, to = route
            by = owed.session.key if owed.stamps or owed.unseen else b""
            flags = RECEIPT | UNSEEN if owed.unseen else RECEIPT
            body = owed.receipt.SerializeToString()
            link.out.append(record(ROUTE, flags=flags, to=to, by=by, attempt=counter, body=body))

    def outcome(self, counter: int, index: int, count: int, state: int) -> None:
        """One copy of a receipt has come to something."""
        owed = self._under_way.get(counter)
        if owed is None:
            return
        state &= ~OTHERS_BIT
        if state not in DONE:
            return  # tried again when it is due
        owed.done.add(index)
        if state == NO_SUCH_USER or len(owed.done) >= count:
            del self._under_way[counter]
            self._safe(owed)

    def _safe(self, owed: OwedReceipt) -> None:
        session = owed.session
        if owed.stamps:
            if session.phase != ENDED:
                for number, stamp in zip(owed.receipt.ids, owed.stamps, strict=True):
                    session.wire.sent(owed.receipt.stream, number, stamp, True)
                self._turn.mark(session)
            return
        self._remove(session, owed.rows)

    def _remove(self, session: Session, keys: list[bytes]) -> None:
        if session.rows is not None:
            session.rows.difference_update(keys)
        route = self._links.for_user(session.user)
        if route is not None:
            link: Link = route[0]
            for at in range(0, len(keys), self.MAX_IDS):
                link.out.append(Remove(session.key, keys[at : at + self.MAX_IDS]).encode())

    def tick(self) -> None:
        """Try again what is due; a row of a session that ended stays in its inbox and comes again."""
        now = self._turn.now
        for counter, owed in list(self._under_way.items()):
            if owed.due > now:
                break
            del self._under_way[counter]
            if owed.session.phase != ENDED:
                self._send(owed)
