"""Reading and removing inbox rows for connectors, one batch a turn.

Owns page requests under way.
"""

from __future__ import annotations

from collections.abc import Sequence

from broker.core.state import StorePort, Turn
from broker.settings import BrokerSettings
from fabric.control import PageRequest, Remove, Rows
from fabric.records import Record, pack_rows
from protocol.ids import split_address
from store.interface import Page, PageQuery, Removal

Asked = list[tuple[int, PageRequest, PageQuery]]
"""Who waits for a page, what it asked, and what that is to the store."""


class InboxRequests:
    """Pages and removals of a broker."""

    def __init__(self, settings: BrokerSettings, turn: Turn, store: StorePort) -> None:
        self._settings = settings
        self._turn = turn
        self._store = store
        self.asked: Asked = []
        """Pages of this turn."""
        self.removals: list[Removal] = []
        """Of this turn."""
        self.rows = 0
        """Rows given out, repeats among them."""
        self.removed = 0
        """Rows that were asked to be removed."""

    def page(self, connector: int, rec: Record) -> None:
        """A session asks for a page."""
        page = PageRequest.of(rec)
        self.asked.append((connector, page, self._query(page)))

    def remove(self, rec: Record) -> None:
        """A device has rows, and their authors know. Raises `RecordError`."""
        remove = Remove.of(rec)
        user, device = split_address(remove.address)
        self.removed += len(remove.keys)
        self.removals.append(Removal(user, device, tuple(remove.keys)))

    def flush(self) -> None:
        """Hand what this turn has gathered to the store."""
        if self.removals:
            removals, self.removals = self.removals, []
            self._store.remove(removals)
        if self.asked:
            asked, self.asked = self.asked, []
            self._store.page([query for _, _, query in asked], lambda pages: self._answer(asked, pages))

    def _query(self, page: PageRequest) -> PageQuery:
        user, device = split_address(page.address)
        limit = min(max(1, page.limit), self._settings.max_page_rows)
        return PageQuery(user, device, page.cursor, page.fresh, limit)

    def _answer(self, asked: Asked, pages: Sequence[Page] | None) -> None:
        for at, (connector, wanted, _) in enumerate(asked):
            if pages is None:
                rows = Rows(wanted.session, wanted.request, failed=True)
            else:
                page = pages[at]
                self.rows += len(page.rows)
                body = pack_rows((row.key, row.kind, row.body) for row in page.rows)
                rows = Rows(wanted.session, wanted.request, page.next, page.end, body=body)
            self._turn.push(connector, rows.encode())
