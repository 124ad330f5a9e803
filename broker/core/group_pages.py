"""What devices have to catch up with of their groups, and their checkpoints, for connectors; one batch a turn.

Owns page requests under way, and how many are: a thousand members that have fallen behind in one group ask for the
same large bodies, each a page of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from broker.core.state import StorePort, Turn
from broker.settings import BrokerSettings
from fabric.group_records import Checkpoint, GroupPageRequest, GroupRows, pack_group_rows
from fabric.records import Record
from protocol.ids import split_address
from protocol.sparrow_pb2 import EDIT, About, Message
from store.groups import GroupPage, GroupQuery, GroupRow

AT_ONCE = 128
"""Pages that are read at once."""
BYTES_AT_ONCE = 32 * 1024 * 1024
"""So many pages are read at once as take this, going by those before; `LEAST_AT_ONCE` in any case."""
LEAST_AT_ONCE = 8

_Asked = list[tuple[int, GroupPageRequest, GroupQuery]]


class GroupPages:
    """Pages of groups' timelines, for sessions."""

    def __init__(self, settings: BrokerSettings, turn: Turn, store: StorePort) -> None:
        self._settings = settings
        self._turn = turn
        self._store = store
        self.waiting: dict[tuple[int, int], tuple[GroupPageRequest, GroupQuery]] = {}
        """Connector and session → what it asks for, the longest wait first. Who asks again has given up the former."""
        self._reading = 0
        """Pages that the store is asked for."""
        self._page_bytes = 0
        """What a page takes, as it was lately."""
        self.checkpoints: dict[tuple[str, str], int] = {}
        """Of this turn."""
        self.rows = 0
        """Rows given out, repeats among them."""

    def page(self, connector: int, rec: Record) -> None:
        """A session asks for a page. Raises `RecordError`."""
        page = GroupPageRequest.of(rec)
        user, device = split_address(page.address)
        began_ms = page.began_ms or self._turn.wall_ms
        limit = min(max(1, page.limit), self._settings.max_page_rows)
        query = GroupQuery(user, device, page.group, page.stamp, began_ms, page.cursor, limit)
        self.waiting[connector, page.session] = (page, query)

    def checkpoint(self, rec: Record) -> None:
        """A device has everything up to then."""
        checkpoint = Checkpoint.of(rec)
        self.checkpoints[split_address(checkpoint.address)] = checkpoint.ms

    def flush(self) -> None:
        """Hand what this turn has gathered to the store."""
        if self.checkpoints:
            checkpoints, self.checkpoints = self.checkpoints, {}
            self._store.raise_checkpoints(checkpoints)
        room = self._room() if self.waiting else 0
        if room > 0:
            wanted = list(islice(self.waiting, room))
            asked = [(connector, *self.waiting.pop((connector, session))) for connector, session in wanted]
            self._reading += len(asked)
            self._store.scan_groups([query for _, _, query in asked], lambda pages: self._answer(asked, pages))

    def _room(self) -> int:
        at_once = BYTES_AT_ONCE // max(1, self._page_bytes)
        return min(AT_ONCE, max(LEAST_AT_ONCE, at_once)) - self._reading

    def _answer(self, asked: _Asked, pages: Sequence[GroupPage] | None) -> None:
        self._reading -= len(asked)
        size = 0
        for at, (connector, wanted, query) in enumerate(asked):
            if pages is None:
                rows = GroupRows(wanted.session, wanted.request, failed=True)
            else:
                page = pages[at]
                self.rows += len(page.rows)
                body = pack_group_rows(page.skipped, map(encode_row, page.rows))
                size += len(body)
                rows = GroupRows(wanted.session, wanted.request, query.began_ms, page.next, page.end, body=body)
            self._turn.push(connector, rows.encode())
        if pages is not None:
            self._page_bytes = max(size // len(asked), self._page_bytes // 2)


def encode_row(row: GroupRow) -> bytes:
    """A row as the `Message` that its device gets."""
    kept, name = row.message, row.message.name
    message = Message(
        stream=name.stream,
        id=name.id,
        settled=row.settled,
        from_id=name.author,
        from_device=name.device,
        dest_id=row.group,
        kind=kept.kind,  # type: ignore[arg-type]
        body=kept.body,
        stamp=kept.stamp,
        version=row.version,
        erased=bool(kept.erased_by),
        revision=kept.revision if kept.kind == EDIT else 0,
    )
    if kept.about:
        message.about.CopyFrom(About.FromString(kept.about))
    return message.SerializeToString()
