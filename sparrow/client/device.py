"""The core as a shell needs it: when to wake it, acks that can wait, and history noted in its transactions.

Owns nothing of what is promised; that is the core's. Pure, like the core.
"""

from __future__ import annotations

from collections.abc import Callable

from protocol.client import ACTIVE, ClientSession
from protocol.outbound import Outgoing
from sparrow.client.core import DeviceCore, Event
from sparrow.client.journal import ClientJournal


class _Session(ClientSession):
    """A session that can put acks off: what is not acked, the server sends no more than a window of."""

    __slots__ = ("hold_acks",)

    def __init__(self) -> None:
        super().__init__()
        self.hold_acks = False

    def ack(self) -> None:
        """See `ClientSession`."""
        if not self.hold_acks:
            super().ack()


class ClientCore(DeviceCore):
    """One device of an application."""

    BLOCKED_TICK_S = 0.5
    """How often a stream that waits for something missing is looked at."""

    def __init__(self, journal: ClientJournal, random64: Callable[[], int]) -> None:
        self._history = journal.history
        self._hold_acks = False
        super().__init__(journal, random64)

    def _new_session(self) -> _Session:
        session = _Session()
        session.hold_acks = self._hold_acks
        return session

    def disconnected(self) -> None:
        """See `DeviceCore`."""
        super().disconnected()
        # Nothing more may be said, or taken to be said, on the connection that is gone.
        self._session = _Session()

    @property
    def hold_acks(self) -> bool:
        """Whether acks wait: the application has enough to do."""
        return self._hold_acks

    @hold_acks.setter
    def hold_acks(self, hold: bool) -> None:
        self._hold_acks = hold
        if isinstance(self._session, _Session):
            self._session.hold_acks = hold

    def touch(self) -> None:
        """The journal has something of ours to commit."""
        self._dirty = True

    def flush(self) -> tuple[bytes, list[Event]]:
        """See `DeviceCore`. Raises `StateError` if it could not be kept; then the core is of no more use."""
        if self._history is not None and self._events and self._history.note(self._events):
            self._dirty = True
        return super().flush()

    def next_wake(self) -> float | None:
        """When `flush` will have something to do, even if nothing happens."""
        if self._session.state != ACTIVE:
            return None
        due = self._outbox.next_due()
        if self._blocked:
            tick = self._now + self.BLOCKED_TICK_S
            due = tick if due is None else min(due, tick)
        return due

    def outgoing(self) -> list[Outgoing]:
        """All that is not settled."""
        return [message for stream in self._outbox.streams.values() for message in stream.messages.values()] + [
            *self.doubtful.values(),
            *self._drafts,
        ]
