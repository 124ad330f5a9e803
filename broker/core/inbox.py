"""Reading and removing inbox rows for connectors, one batch a turn.

Owns page requests under way.
"""

from __future__ import annotations

from collections.abc import Sequence

from broker.core.state import Outbox, StorePort
from broker.settings import BrokerSettings
from fabric.records import END, FAILED, FRESH, ROWS, Record, pack_rows, record, unpack_keys
from protocol.ids import split_address
from store.interface import Page, PageQuery, Removal


class Inbox:
    """Pages and removals."""

    def __init__(self, settings: BrokerSettings, outbox: Outbox, store: StorePort) -> None:
        self._settings = settings
        self._outbox = outbox
        self._store = store
        self._asked: list[tuple[int, Record]] = []
        self._removals: list[Removal] = []
        self.rows = 0
        """Given out, repeats among them."""
        self.removed = 0
        """Rows that were asked to be removed."""

    def page(self, connector: int, rec: Record) -> None:
        """A session asks for a page."""
        self._asked.append((connector, rec))

    def remove(self, rec: Record) -> None:
        """A device has rows, and their authors know. Raises `RecordError`."""
        user, device = split_address(rec[4])
        keys = tuple(unpack_keys(rec[9]))
        self.removed += len(keys)
        self._removals.append(Removal(user, device, keys))

    def flush(self) -> None:
        """Hand what this turn has gathered to the store."""
        if self._removals:
            removals, self._removals = self._removals, []
            self._store.remove(removals)
        if self._asked:
            asked, self._asked = self._asked, []
            self._store.page([self._query(rec) for _, rec in asked], lambda pages: self._answer(asked, pages))

    def _query(self, rec: Record) -> PageQuery:
        user, device = split_address(rec[4])
        limit = min(max(1, rec[3]), self._settings.max_page_rows)
        return PageQuery(user, device, rec[5], bool(rec[1] & FRESH), limit)

    def _answer(self, asked: list[tuple[int, Record]], pages: Sequence[Page] | None) -> None:
        for at, (connector, rec) in enumerate(asked):
            if pages is None:
                encoded = record(ROWS, flags=FAILED, session=rec[8], attempt=rec[7])
            else:
                page = pages[at]
                self.rows += len(page.rows)
                body = pack_rows((row.key, row.kind, row.body) for row in page.rows)
                flags = END if page.end else 0
                encoded = record(ROWS, flags=flags, by=page.next, session=rec[8], attempt=rec[7], body=body)
            self._outbox.push(connector, encoded)
