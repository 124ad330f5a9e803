"""Into the inbox: append, be sure of presence and device, notify until it is heard, and only then *safe*.

Owns copies on their way into the inbox. The order of the steps is the promise (docs/design.md, "Storing").
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

from broker.core.notifier import Notifier
from broker.core.quota import Quota
from broker.core.state import Outbox, Presence, StorePort, Storing
from broker.settings import BrokerSettings
from fabric.records import (
    OTHERS,
    OTHERS_BIT,
    OUTCOME,
    OUTCOMES,
    RECEIPT,
    SAFE,
    STORED,
    TRACED,
    UNAVAILABLE,
    record,
)
from store.interface import COMMON, NewRow, RowKind


class Storage:
    """All appends of a broker."""

    def __init__(
        self,
        settings: BrokerSettings,
        outbox: Outbox,
        presence: Presence,
        store: StorePort,
        notifier: Notifier,
        quota: Quota,
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._presence = presence
        self._store = store
        self._notifier = notifier
        self._quota = quota
        self._queue: deque[Storing] = deque()
        self._in_flight = 0
        self._rows = 0
        self._bytes = 0
        self._outcomes: dict[int, list[bytes]] = {}
        self._stored: dict[tuple[int, int], int] = {}
        self.stored = 0
        """Copies that are safe in an inbox."""
        self.failed = 0
        """Copies that could not be stored; their authors were told to try again."""
        self.refused: Counter[int] = Counter()
        """These, by the outcome's state."""

    def add(self, storing: Storing) -> None:
        """Store this copy with others of its time."""
        size = len(storing.record[9])
        self._rows += 1
        self._bytes += size
        if self._rows > self._settings.max_storing_rows or self._bytes > self._settings.max_storing_bytes:
            self._finish(storing, UNAVAILABLE)
            return
        refused = self._quota.take(storing, size)
        if refused:
            self._finish(storing, refused)
            return
        self._queue.append(storing)

    def flush(self) -> None:
        """Begin what may begin; then put the answers of this turn on their way."""
        while self._queue and self._in_flight < self._settings.max_appends_in_flight:
            size = min(len(self._queue), self._settings.max_batch_rows)
            self._append([self._queue.popleft() for _ in range(size)])
        if self._outcomes:
            outcomes, self._outcomes = self._outcomes, {}
            for origin, entries in outcomes.items():
                self._outbox.push(origin, record(OUTCOMES, origin=origin, body=b"".join(entries)))
        if self._stored:
            stored, self._stored = self._stored, {}
            for (connector, session), count in stored.items():
                self._outbox.push(connector, record(STORED, session=session, attempt=count))

    # The steps, in their order.

    def _append(self, copies: list[Storing]) -> None:
        self._in_flight += 1
        rows = [NewRow(copy.user, copy.device, _row_kind(copy), copy.record[9], copy.author) for copy in copies]
        began = self._outbox.now
        self._store.append(rows, lambda ok: self._appended(copies, began, ok))

    def _appended(self, copies: list[Storing], began: float, ok: bool) -> None:
        self._in_flight -= 1
        self._quota.appended(copies)
        if ok:
            self._presence.barrier(lambda ok: self._passed(copies, began, ok))
        else:
            self._finish_all(copies, UNAVAILABLE)

    def _passed(self, copies: list[Storing], began: float, ok: bool) -> None:
        if ok:
            users = list(dict.fromkeys(copy.user for copy in copies))
            self._store.devices(users, lambda found: self._checked(copies, began, found))
        else:
            self._finish_all(copies, UNAVAILABLE)

    def _checked(self, copies: list[Storing], began: float, found: Mapping[str, tuple[str, ...] | None] | None) -> None:
        if found is None:
            self._finish_all(copies, UNAVAILABLE)
        elif self._outbox.now - began > self._settings.row_max_age_s:
            # A reader's lower bound may have passed these rows while this broker stood still.
            self._queue.extend(copies)
        else:
            for copy in copies:
                self._settle(copy, found.get(copy.user))

    def _settle(self, copy: Storing, devices: tuple[str, ...] | None) -> None:
        if copy.device != COMMON and copy.device not in (devices or ()):
            copy.device = COMMON
            self._queue.append(copy)
            return
        where = self._presence.where(copy.user)
        if copy.device != COMMON:
            where = {copy.device: where[copy.device]} if copy.device in where else {}
        if where:
            # Should this broker die now, nobody else would look: connectors may not count it among the living.
            self._notifier.notify(copy.user, where, lambda heard: self._finish(copy, SAFE if heard else UNAVAILABLE))
        else:
            self._finish(copy, SAFE)

    # Answers.

    def _finish_all(self, copies: list[Storing], state: int) -> None:
        for copy in copies:
            self._finish(copy, state)

    def _finish(self, copy: Storing, state: int) -> None:
        _, flags, index, count, _, _, origin, attempt, session, body = copy.record
        self._rows -= 1
        self._bytes -= len(body)
        self.stored += state == SAFE
        if state != SAFE:
            self.failed += 1
            self.refused[state] += 1
        if flags & TRACED:
            what = "stored for" if state == SAFE else "could not be stored for"
            self._outbox.traces.append((origin, attempt, f"{what} {copy.user}/{copy.device or '(any device)'}"))
        if flags & OTHERS:
            state |= OTHERS_BIT
        self._outcomes.setdefault(origin, []).append(OUTCOME.pack(attempt, index, count, state))
        if copy.returned_by:
            location = (copy.returned_by, session)
            self._stored[location] = self._stored.get(location, 0) + 1

    @property
    def rows(self) -> int:
        """Copies that are not stored yet."""
        return self._rows

    @property
    def bytes(self) -> int:
        """Bodies of these."""
        return self._bytes


def _row_kind(copy: Storing) -> int:
    return RowKind.RECEIPT if copy.record[1] & RECEIPT else RowKind.MESSAGE
