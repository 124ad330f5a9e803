"""DELIVERED that travels on its own: for inbox rows that were acked, and for the author's other devices.

Owns these receipts until every device they are for has them safely; only then a row is removed, or SENT is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from connector.core.links import Link, Links
from connector.core.state import ENDED, SentRow, Session, Turn
from connector.settings import ConnectorSettings
from fabric.records import (
    BLOCKED,
    BLOCKS,
    DELIVERED,
    NO_SUCH_USER,
    NOT_FRIEND,
    OTHERS_BIT,
    RECEIPT,
    REMOVE,
    ROUTE,
    SAFE,
    UNSEEN,
    pack_keys,
    record,
)
from protocol.ids import split_address
from protocol.sparrow_pb2 import Receipt

DONE = frozenset((DELIVERED, SAFE, NO_SUCH_USER, BLOCKED, BLOCKS, NOT_FRIEND))
"""What ends a copy. Of a state that a later release has added nobody here can say so: it is tried again."""


@dataclass(slots=True)
class Telling:
    """One receipt on its way to an author's devices."""

    session: Session
    author: str
    receipt: Receipt
    rows: list[bytes] = field(default_factory=list)
    """To remove from the session's inbox when it is safe."""
    stamps: list[int] = field(default_factory=list)
    """With these, it is the session's own message: tell it SENT when it is safe."""
    unseen: bool = False
    """For the author only if they are a friend of the session's user."""
    done: set[int] = field(default_factory=set)
    due: float = 0.0
    """When to try again."""


class Receipts:
    """All receipts of a connector that are not safe yet."""

    MAX_IDS = 256

    def __init__(self, settings: ConnectorSettings, turn: Turn, links: Links, first: int) -> None:
        self._settings = settings
        self._turn = turn
        self._links = links
        self._counter = first
        self._telling: dict[int, Telling] = {}
        self._waiting: list[Telling] = []
        self._own: dict[tuple[int, int], Telling] = {}

    def __len__(self) -> int:
        return len(self._telling) + len(self._waiting) + len(self._own)

    # What is owed.

    def acked_rows(self, session: Session, rows: Iterable[SentRow]) -> None:
        """The device has these rows: tell their authors, then remove them."""
        plain: list[bytes] = []
        groups: dict[tuple[str, str, int, bool], Telling] = {}
        for row in rows:
            if row.author is None:
                plain.append(row.key)
                continue
            group = (row.author, row.author_device, row.stream, row.unseen)
            telling = groups.get(group)
            if telling is None or len(telling.rows) >= self.MAX_IDS:
                receipt = Receipt(stream=row.stream, delivered=True, from_device=row.author_device)
                telling = groups[group] = Telling(session, row.author, receipt, unseen=row.unseen)
                self._waiting.append(telling)
            telling.receipt.ids.append(row.id)
            telling.rows.append(row.key)
        if plain:
            self._remove(session, plain)

    def tell_others(self, session: Session, stream: int, number: int, stamp: int) -> None:
        """The session's own message is delivered: tell the author's other devices, then the session."""
        telling = self._own.get((session.number, stream))
        if telling is None or len(telling.stamps) >= self.MAX_IDS:
            user, device = split_address(session.key)
            receipt = Receipt(stream=stream, delivered=True, from_device=device)
            telling = self._own[session.number, stream] = Telling(session, user, receipt)
            self._waiting.append(telling)
        telling.receipt.ids.append(number)
        telling.stamps.append(stamp)

    # On its way.

    def flush(self) -> None:
        """Send what this turn has gathered."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._own.clear()
            for telling in waiting:
                self._send(telling)

    def _send(self, telling: Telling) -> None:
        counter = self._counter
        self._counter = counter + 1
        self._telling[counter] = telling
        telling.done.clear()
        telling.due = self._turn.now + self._settings.receipt_retry_s
        route = self._links.for_user(telling.author)
        if route is not None:
            link, to = route
            by = telling.session.key if telling.stamps or telling.unseen else b""
            flags = RECEIPT | UNSEEN if telling.unseen else RECEIPT
            body = telling.receipt.SerializeToString()
            link.out.append(record(ROUTE, flags=flags, to=to, by=by, attempt=counter, body=body))

    def outcome(self, counter: int, index: int, count: int, state: int) -> None:
        """One copy of a receipt has come to something."""
        telling = self._telling.get(counter)
        if telling is None:
            return
        state &= ~OTHERS_BIT
        if state not in DONE:
            return  # tried again when it is due
        telling.done.add(index)
        if state == NO_SUCH_USER or len(telling.done) >= count:
            del self._telling[counter]
            self._safe(telling)

    def _safe(self, telling: Telling) -> None:
        session = telling.session
        if telling.stamps:
            if session.phase != ENDED:
                for number, stamp in zip(telling.receipt.ids, telling.stamps, strict=True):
                    session.wire.sent(telling.receipt.stream, number, stamp, True)
                self._turn.mark(session)
            return
        self._remove(session, telling.rows)

    def _remove(self, session: Session, keys: list[bytes]) -> None:
        session.rows.difference_update(keys)
        route = self._links.for_user(session.user)
        if route is not None:
            link: Link = route[0]
            for at in range(0, len(keys), self.MAX_IDS):
                body = pack_keys(keys[at : at + self.MAX_IDS])
                link.out.append(record(REMOVE, to=session.key, body=body))

    def tick(self) -> None:
        """Try again what is due; a row of a session that ended stays in its inbox and comes again."""
        now = self._turn.now
        for counter, telling in list(self._telling.items()):
            if telling.due > now:
                break
            del self._telling[counter]
            if telling.session.phase != ENDED:
                self._send(telling)
