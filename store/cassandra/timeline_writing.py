"""Messages, edits and erasures on their way into Cassandra.

Owns the statements that write `bodies`, `timeline`, `spans` and `group_newest`, and a conversation into lists. A
message takes two rounds: its row in the timeline, with the index of spans and the lists; then its body. So a body's
lowest stamp always has its row, and a row without a body is nothing. What fails, fails for its own entries.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from cassandra.query import BatchStatement, BatchType

from store.cassandra.batches import ROW_BYTES
from store.cassandra.connecting import Connection
from store.cassandra.requests import Requests
from store.cassandra.timeline_keys import (
    MARKER_TTL_S,
    SPARE_S,
    Place,
    attempt_key,
    edit_time,
    marker_time,
    message_time,
    newest_until,
    pack_edit,
    pack_value,
    place_of,
    tie_of,
)
from store.cassandra.timeline_rows import ATTEMPT, BOTH_VIEW, Body, view_of
from store.group_rules import lives_of
from store.settings import StoreSettings
from store.timeline_rules import day_of, stamp_ms_of, stored
from store.timelines import Audience, Edit, Entry, Erasure, is_group, members_of

_SPAN = "INSERT INTO spans (conversation, viewers, span) VALUES (?, ?, ?) USING TTL ?"
_LIST = "UPDATE members USING TIMESTAMP ? SET span = ? WHERE user = ? AND other = ?"
_ROW = (
    "INSERT INTO timeline (conversation, viewers, span, stamp, tie, author, device, stream, id, kind, size) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TTL ?"
)
_GROUP_ROW = (
    "INSERT INTO timeline (conversation, viewers, span, stamp, tie, author, device, stream, id, kind, size, version, "
    f"open, settled) VALUES (?, {BOTH_VIEW}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TTL ?"
)
# Its own value as the write time: it only rises.
_NEWEST = "UPDATE group_newest USING TIMESTAMP ? AND TTL ? SET until = ? WHERE group_id = ?"
_ATTEMPT = (
    "INSERT INTO bodies (conversation, author, device, stream, part, id, editor, audience, edit_stream, stamp, "
    f"version, open) VALUES (?, ?, ?, ?, ?, ?, '', {ATTEMPT}, ?, ?, ?, ?) USING TTL ?"
)
_BODY = (
    "INSERT INTO bodies (conversation, author, device, stream, part, id, editor, audience, edit_stream, kind, stamp, "
    "value{more}) VALUES (?, ?, ?, ?, ?, ?, '', 0, 0, ?, ?, ?{mark}) USING TIMESTAMP ? AND TTL ?"
)
_EDIT = (
    "INSERT INTO bodies (conversation, author, device, stream, part, id, editor, audience, edit_stream, value) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?"
)
_MARK = (
    "UPDATE bodies USING TIMESTAMP ? AND TTL ? SET value = 0x, erased_by = ? WHERE conversation = ? AND author = ? "
    "AND device = ? AND stream = ? AND part = ? AND id = ? AND editor = '' AND audience = 0 AND edit_stream = 0"
)
_DROP_EDITS = (
    "DELETE FROM bodies USING TIMESTAMP ? WHERE conversation = ? AND author = ? AND device = ? AND stream = ? "
    "AND part = ? AND id = ? AND editor > ''"
)
_REMEMBERED = 200_000

Outcomes = list[bool]


class TimelineWriting:
    """The writing operations. `now_ms` is Unix time."""

    def __init__(
        self, settings: StoreSettings, connection: Connection, requests: Requests, now_ms: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._requests = requests
        self._now_ms = now_ms
        self._span = connection.prepare(_SPAN)
        self._list = connection.prepare(_LIST)
        self._row = connection.prepare(_ROW)
        self._group_row = connection.prepare(_GROUP_ROW)
        self._newest = connection.prepare(_NEWEST)
        self._attempt = connection.prepare(_ATTEMPT)
        self._body = connection.prepare(_BODY.format(more="", mark=""))
        self._body_for_both = connection.prepare(_BODY.format(more=", both_stamp", mark=", ?"))
        self._edit = connection.prepare(_EDIT)
        self._mark = connection.prepare(_MARK)
        self._drop_edits = connection.prepare(_DROP_EDITS)
        # What is written already, so it need not be again; known only after it has succeeded.
        self._written: OrderedDict[Hashable, None] = OrderedDict()

    async def entries(
        self, entries: Sequence[Entry], keep_days: int, standing: Mapping[int, Body] | None = None
    ) -> Outcomes:
        """Keep these; whether each is. `standing`: what stands already, of groups' entries by their numbers."""
        needs, first = self._first_round(entries, keep_days)
        done = await self._run(first)
        good = [all(done.get(need, False) for need in needed) for needed in needs]
        self._remember(key for key, well in done.items() if well and key[0] != "row")
        second = []
        for number, entry in enumerate(entries):
            if not good[number]:
                continue
            place = place_of(entry.conversation, entry.name)
            value = pack_value(entry.body, entry.about, entry.file)
            if is_group(entry.conversation):
                there = None if standing is None else standing.get(number)
                for at, bound in enumerate(self._of_group(entry, place, value, there, keep_days)):
                    second.append((("body", number, at), place.partition, len(value), bound))
                continue
            values: tuple[Any, ...] = (*place, entry.kind, entry.stamp, value)
            statement = self._body
            if entry.audience is Audience.BOTH:
                values, statement = (*values, entry.stamp), self._body_for_both
            bound = statement.bind((*values, message_time(entry.stamp), self._ttl_s(entry, keep_days)))
            second.append((("body", number, 0), place.partition, len(value), bound))
        done = await self._run(second)
        for number, well in enumerate(good):
            good[number] = well and done[("body", number, 0)] and done.get(("body", number, 1), True)
        return good

    def _of_group(self, entry: Entry, place: Place, value: bytes, there: Body | None, keep_days: int) -> list[Any]:
        """The attempt, and the body of the first one, which lives as long as the last."""
        ttl_s = self._ttl_s(entry, keep_days)
        key = attempt_key(entry.version, entry.stamp)
        bound = [self._attempt.bind((*place, key, entry.stamp, entry.version, entry.open, ttl_s))]
        first = entry.stamp
        if there is not None and there.stamp is not None:
            if there.erased_by:
                return bound
            # Of two cells of one write time the one that ends later stays.
            first = min(first, there.stamp)
            ttl_s = max(ttl_s, self._ttl_s(entry._replace(stamp=there.stamp), keep_days))
        values = (*place, entry.kind, first, value, first, message_time(first), ttl_s)
        return [*bound, self._body_for_both.bind(values)]

    def _first_round(
        self, entries: Sequence[Entry], keep_days: int
    ) -> tuple[list[list[Hashable]], list[tuple[Any, Hashable, int, Any]]]:
        """What each entry needs, and the writes that bring it."""
        needs: list[list[Hashable]] = []
        writes: dict[Hashable, tuple[Any, Hashable, int, Any]] = {}
        for number, entry in enumerate(entries):
            needed: list[Hashable] = []
            for key, partition, statement, values in self._leading_to(number, entry, keep_days):
                if key not in self._written:
                    needed.append(key)
                    if key not in writes:
                        writes[key] = (key, partition, 0, statement.bind(values))
            needs.append(needed)
        return needs, list(writes.values())

    def _leading_to(
        self, number: int, entry: Entry, keep_days: int
    ) -> list[tuple[Hashable, Hashable, Any, tuple[Any, ...]]]:
        """The row, and what leads to it: key, partition, statement and values of each."""
        conversation, name, span = entry.conversation, entry.name, day_of(entry.stamp)
        ttl_s = self._ttl_s(entry, keep_days)
        told = (*name[:2], stored(name.stream), name.id, entry.kind, len(entry.body))
        if is_group(conversation):
            of_group = (entry.version, entry.open, entry.settled, ttl_s)
            row: tuple[Any, ...] = (conversation, span, entry.stamp, tie_of(name, entry.version), *told, *of_group)
            until = newest_until(entry.stamp)
            newest = (until, ttl_s + SPARE_S, until, conversation)
            index = (conversation, BOTH_VIEW, span)
            return [
                (("row", number), index, self._group_row, row),
                (("span", *index, keep_days), index[:2], self._span, (*index, ttl_s + SPARE_S)),
                (("newest", conversation, until, keep_days), ("newest", conversation), self._newest, newest),
            ]
        both = entry.audience is Audience.BOTH
        view = BOTH_VIEW if both else view_of(conversation, name.author)
        row = (conversation, view, span, entry.stamp, tie_of(name), *told, ttl_s)
        writes: list[tuple[Hashable, Hashable, Any, tuple[Any, ...]]] = [
            (("row", number), (conversation, view, span), self._row, row),
            (
                ("span", conversation, view, span, keep_days),
                (conversation, view),
                self._span,
                (conversation, view, span, ttl_s + SPARE_S),
            ),
        ]
        one, other = members_of(conversation)
        for user in (one, other) if both else (name.author,):
            listing = (span + 1, span, user, other if user == one else one)
            writes.append((("list", user, conversation, span), ("list", user), self._list, listing))
        return writes

    def _remember(self, keys: Iterable[Hashable]) -> None:
        for key in keys:
            self._written[key] = None
        while len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)

    def _ttl_s(self, one: Entry | Edit, keep_days: int) -> int:
        lives = lives_of(keep_days, self._settings)
        life_ms = lives.group if is_group(one.conversation) else lives.kept
        return max(1, (life_ms - self._now_ms() + stamp_ms_of(one.stamp)) // 1000)

    async def _run(self, writes: Sequence[tuple[Any, Hashable, int, Any]]) -> dict[Any, bool]:
        """Whether each write, of (key, partition, bytes, statement), was done; those of a partition go together."""
        settings = self._settings
        partitions: dict[Hashable, list[tuple[Any, Hashable, int, Any]]] = {}
        for write in writes:
            partitions.setdefault(write[1], []).append(write)
        groups: list[list[tuple[Any, Hashable, int, Any]]] = []
        for some in partitions.values():
            group: list[tuple[Any, Hashable, int, Any]] = []
            size = 0
            for write in some:
                more = write[2] + ROW_BYTES
                if group and (
                    len(group) >= settings.cassandra_batch_rows or size + more > settings.cassandra_batch_bytes
                ):
                    groups.append(group)
                    group, size = [], 0
                group.append(write)
                size += more
            groups.append(group)
        answers = await self._requests.outcomes([_statement([write[3] for write in group]) for group in groups])
        return {
            write[0]: not isinstance(answer, Exception)
            for group, answer in zip(groups, answers, strict=True)
            for write in group
        }

    async def edits(self, edits: Sequence[tuple[Edit, bool]], keep_days: int) -> Outcomes:
        """Keep these, of (edit, whether its target allowed it); whether each is."""
        writes = []
        for number, (edit, checked) in enumerate(edits):
            place = place_of(edit.conversation, edit.target)
            value = pack_edit(edit, checked)
            cell = (edit.name.device, int(edit.audience), stored(edit.name.stream), value)
            bound = self._edit.bind((*place, *cell, edit_time(edit), self._ttl_s(edit, keep_days)))
            writes.append((number, place.partition, len(value), bound))
        done = await self._run(writes)
        return [done[number] for number in range(len(edits))]

    async def markers(self, erasures: Sequence[Erasure]) -> Outcomes:
        """Put markers in the places of these; whether each stands."""
        statements = []
        for erasure in erasures:
            place = place_of(erasure.conversation, erasure.target)
            at = marker_time(erasure.stamp)
            mark = self._mark.bind((at, MARKER_TTL_S, erasure.by, *place))
            statements.append(_statement([mark, self._drop_edits.bind((at, *place))]))
        answers = await self._requests.outcomes(statements)
        return [not isinstance(answer, Exception) for answer in answers]


def _statement(statements: Sequence[Any]) -> Any:
    if len(statements) == 1:
        return statements[0]
    batch = BatchStatement(BatchType.UNLOGGED)
    batch.is_idempotent = True
    for statement in statements:
        batch.add(statement)
    return batch
