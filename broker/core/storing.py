"""Into the inbox: append, be sure of presence and device, notify until it is heard, and only then *safe*.

Owns copies on their way into the inbox. The order of the steps is the promise (docs/design.md, "Storing").
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from broker.core.notifier import Notifier
from broker.core.outcomes import Outcomes
from broker.core.quota import Quota
from broker.core.state import Presence, StorePort, Storing, Turn
from broker.settings import BrokerSettings
from fabric.control import Stored
from fabric.records import (
    BODY,
    FLAGS,
    RECEIPT,
    SAFE,
    TRACED,
    UNAVAILABLE,
)
from store.interface import COMMON, NewRow, RowKind

Steps = Generator[Callable[[Callable[[Any], None]], None], Any, None]
"""What takes time, one after another: each is begun with whoever hears its result, and its result comes back."""


class Storage:
    """All appends of a broker."""

    def __init__(
        self,
        settings: BrokerSettings,
        turn: Turn,
        presence: Presence,
        store: StorePort,
        notifier: Notifier,
        quota: Quota,
        outcomes: Outcomes,
    ) -> None:
        self._settings = settings
        self._turn = turn
        self._presence = presence
        self._store = store
        self._notifier = notifier
        self._quota = quota
        self.queue: deque[Storing] = deque()
        """Copies that no append has begun for."""
        self._appending: dict[int, list[Storing]] = {}
        """Batches that the store is appending, by `id`."""
        self._checking: dict[int, list[Storing]] = {}
        """Batches that are appended, and not known to be where they belong."""
        self._notifying: dict[int, Storing] = {}
        """Copies of which somebody has to hear."""
        self._rows = 0
        self._bytes = 0
        self._outcomes = outcomes
        self.settled: dict[tuple[int, int], int] = {}
        """Connector and session → how many of the copies that it returned were settled in this turn."""
        self.stored = 0
        """Copies that are safe in an inbox."""
        self.failed = 0
        """Copies that could not be stored; their authors were told to try again."""
        self.refused: Counter[int] = Counter()
        """Copies that could not be stored, by the outcome's state."""

    def add(self, storing: Storing) -> None:
        """Store this copy with others of its time."""
        size = len(storing.record[BODY])
        self._rows += 1
        self._bytes += size
        if self._rows > self._settings.max_storing_rows or self._bytes > self._settings.max_storing_bytes:
            self._finish(storing, UNAVAILABLE)
            return
        refused = self._quota.take(storing, size)
        if refused:
            self._finish(storing, refused)
            return
        self.queue.append(storing)

    def flush(self) -> None:
        """Begin what may begin; then tell connectors what of theirs is settled."""
        while self.queue and len(self._appending) < self._settings.max_appends_in_flight:
            size = min(len(self.queue), self._settings.max_batch_rows)
            copies = [self.queue.popleft() for _ in range(size)]
            self._go_on(self._steps(copies), None)
        if self.settled:
            stored, self.settled = self.settled, {}
            for (connector, session), count in stored.items():
                self._turn.push(connector, Stored(session, count).encode())

    def _go_on(self, steps: Steps, result: Any) -> None:
        """Give the step before its result, and begin the next."""
        try:
            begin = steps.send(result)
        except StopIteration:
            return
        begin(lambda result: self._go_on(steps, result))

    def _steps(self, copies: list[Storing]) -> Steps:
        """All that makes a batch of copies *safe*, in its order. Each call that takes time is yielded, and its result
        comes back."""
        began = self._turn.now
        self._appending[id(copies)] = copies
        rows = [NewRow(copy.user, copy.device, _row_kind(copy), copy.record[BODY], copy.author) for copy in copies]
        appended = yield partial(self._store.append, rows)
        del self._appending[id(copies)]
        self._checking[id(copies)] = copies
        self._quota.appended(copies)
        # Presence must be newer than the rows: else a device may have read its inbox before, unknown to this broker.
        passed = appended and (yield self._presence.barrier)
        # Of devices, past the cache: rows behind one that was being removed are appended anew.
        found = (yield partial(self._store.devices, _users(copies))) if passed else None
        del self._checking[id(copies)]
        if found is None:
            for copy in copies:
                self._finish(copy, UNAVAILABLE)
        elif self._turn.now - began > self._settings.row_max_age_s:
            # A reader's lower bound may have passed these rows while this broker stood still.
            self.queue.extend(copies)
        else:
            for copy in copies:
                self._settle(copy, found.get(copy.user))

    def _settle(self, copy: Storing, devices: tuple[str, ...] | None) -> None:
        """The row is where it belongs, or is appended anew; and who may have read past it is told, and has heard."""
        if copy.device != COMMON and copy.device not in (devices or ()):
            copy.device = COMMON
            self.queue.append(copy)
            return
        where = self._presence.where(copy.user)
        if copy.device != COMMON:
            where = {copy.device: where[copy.device]} if copy.device in where else {}
        if where:
            # Should this broker die now, nobody else would look: connectors may not count it among the living.
            self._notifying[id(copy)] = copy
            self._notifier.notify(copy.user, where, lambda heard: self._notified(copy, heard))
        else:
            self._finish(copy, SAFE)

    def _notified(self, copy: Storing, heard: bool) -> None:
        del self._notifying[id(copy)]
        self._finish(copy, SAFE if heard else UNAVAILABLE)

    # Answers.

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
            self._turn.traces.append((origin, attempt, f"{what} {copy.user}/{copy.device or '(any device)'}"))
        self._outcomes.add(origin, attempt, index, count, state, flags)
        if copy.returned_by:
            location = (copy.returned_by, session)
            self.settled[location] = self.settled.get(location, 0) + 1

    def check(self) -> None:
        """Assert that the counts are what they count."""
        batches = (*self._appending.values(), *self._checking.values())
        copies = [*self.queue, *self._notifying.values(), *(copy for batch in batches for copy in batch)]
        assert self._rows == len(copies), f"{self._rows} rows are counted, and {len(copies)} are being stored"
        size = sum(len(copy.record[BODY]) for copy in copies)
        assert self._bytes == size, f"{self._bytes} bytes are counted, and {size} are being stored"

    @property
    def rows(self) -> int:
        """Copies that are not stored yet."""
        return self._rows

    @property
    def bytes(self) -> int:
        """Bytes of the bodies of copies that are not stored yet."""
        return self._bytes


def _users(copies: list[Storing]) -> list[str]:
    return list(dict.fromkeys(copy.user for copy in copies))


def _row_kind(copy: Storing) -> int:
    return RowKind.RECEIPT if copy.record[FLAGS] & RECEIPT else RowKind.MESSAGE
