"""Deliberate defects: proof that the simulation can fail.

Each takes one rule of docs/design.md out of the real cores, or out of the simulated services, and must be found
within the number of seeds that stands beside it. Owns nothing but the patches.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any
from unittest.mock import patch

from google.protobuf.message import DecodeError

from broker.core import archive as broker_archive
from broker.core.archive import Archive
from broker.core.cached import Freshness
from broker.core.closings import Closings
from broker.core.devices import Devices
from broker.core.hiding import Hiding
from broker.core.logins import Registrations
from broker.core.notifier import Notifier
from broker.core.state import Rank
from broker.core.storing import Storage
from client.core import ClientCore
from client.streams import stream_key
from connector.core import attempts as connector_attempts
from connector.core import catchup as connector_catchup
from connector.core.attempts import Attempts, Partial
from connector.core.catchup import Catchup
from connector.core.delivery import Delivery
from connector.core.departures import Departures
from connector.core.doubts import Doubts
from connector.core.logins import Logins
from connector.core.phases import LIVE, SETTLING
from connector.core.receipts import Receipts
from connector.core.state import Session
from fabric.control import Notify
from fabric.records import BODY, DELIVERED, INBOX_BUSY, INBOX_FULL, ORIGIN, OTHERS, OTHERS_BIT, RECEIPT, SAFE
from protocol import ids
from protocol.framing import FrameReader
from protocol.outbound import Outbox
from protocol.sparrow_pb2 import Frame
from store.sessions import Standing
from store.timelines import Archived, Result
from tests.simulation import nodes
from tests.simulation.defect import Defect
from tests.simulation.group_defects import GROUP_DEFECTS
from tests.simulation.network import Connection
from tests.simulation.node_defects import NODE_DEFECTS
from tests.simulation.services import Database, SimPresence, SimStore
from tests.simulation.signal_defects import SIGNAL_DEFECTS
from tests.simulation.timelines import Timelines


def _sent_before_append(self: Any, storing: Any) -> None:
    self._rows += 1
    self._bytes += len(storing.record[BODY])
    self._finish(storing, SAFE)
    self._rows += 1
    self._bytes += len(storing.record[BODY])
    storing.record = (*storing.record[:ORIGIN], 0, *storing.record[ORIGIN + 1 :])  # its real outcome goes nowhere
    self.queue.append(storing)


def _without_step(steps: Any, number: int, result: Any) -> Any:
    """One of the steps of storing is not done, and taken for done."""

    def broken(self: Any, copies: Any) -> Any:
        real = steps(self, copies)
        answer = None
        for at in count():
            try:
                step = real.send(answer)
            except StopIteration:
                return
            answer = result if at == number else (yield step)

    return broken


def _notification_ignored_while_paging(self: Any, link: Any, rec: Any) -> None:
    notify = Notify.of(rec)
    session = self._sessions.get(notify.session)
    if session is not None and session.key == notify.address and not session.scan.request:
        self.read_again(session)
    link.out.append(notify.encode_heard())


def _registered_late(real: Callable[..., None]) -> Callable[..., None]:
    """The answer, and with it the reading of the inbox, comes before the location is in presence."""

    def online(self: Any, user: str, device: str, location: Any, lease: int, again: bool, done: Any, rank: Any) -> None:
        from broker.core.state import Swapped

        held = self._etcd.keys.get((user, device))
        done(Swapped(held[0] if held else None))
        self._world.after(0.3, lambda: real(self, user, device, location, lease, again, _no_op, rank))

    return online


def _copies_counted(real: Callable[..., None]) -> Callable[..., None]:
    """A repeat takes part in the attempt before it, and copies are counted."""

    def submit(self: Any, session: Any, incoming: Any) -> None:
        before = next(
            (counter for counter, a in self._attempts.items() if a[0] is session and a[1:3] == incoming[:2]),
            None,
        )
        real(self, session, incoming)
        if before is not None and self._counter in self._attempts:
            partial = self._partial.setdefault(before, Partial())
            if not isinstance(partial.done, _Counted):
                partial.done = _Counted(partial.done)
            self._partial[self._counter] = partial

    return submit


class _Counted(set[int]):
    def add(self, index: int) -> None:
        super().add(len(self))


def _acked_before_kept(self: Any) -> Any:
    commit, self._dirty = self._dirty, False
    self._receiving.dirty, dirty = False, self._receiving.dirty
    commit = commit or dirty
    data, events = _flush(self)
    self._receiving.keep()
    self._later = getattr(self, "_later", 0) + commit
    if self._later > 3:  # the disk comes last
        self._later = 0
        self._journal.commit()
    return data, events


_flush = ClientCore.flush


def _repeat_not_acked(self: Any, data: bytes) -> None:
    inbound, session = self._receiving._inbound, self._session
    known = {key: (stream.next, set(stream.gaps)) for key, stream in inbound.items()}
    told = []
    with patch.object(self._receiving, "message", lambda message, now: told.append(message)):
        _data(self, data)
    for message in told:
        next_id, gaps = known.get(stream_key(message), (0, set()))
        if message.id < next_id and message.id not in gaps:
            session.counted -= 1
        self._receiving.message(message, self._now)


_data = ClientCore.data


def _row_removed_first(self: Any, session: Any, rows: Any) -> None:
    rows = list(rows)
    self._remove(session, [row.key for row in rows])
    _acked_rows(self, session, rows)
    for telling in self._waiting:
        telling.rows.clear()


_acked_rows = Receipts.acked_rows


def _removed_by_range(self: Any, removals: Any) -> None:
    def work() -> None:
        for removal in removals:
            for name in removal.keys:
                device = "" if name[:1] == b"1" else removal.device
                for key in [k for k in self._database.queues.get((removal.user, device), {}) if k <= name[1:]]:
                    self._database.drop(removal.user, device, key)

    self._call(work, lambda: None, lambda: None)


def _nothing(self: Any, *of: Any) -> None:
    """It is not told."""


def _offline_of_anybody(self: Any, user: str, device: str, location: Any) -> None:
    def work() -> None:
        if (user, device) in self._etcd.keys:
            self._etcd.delete((user, device))

    self._call(work, lambda: None, lambda: None)


def _acks_of_the_replaced(self: Any, connection: Any, data: bytes) -> None:
    """An ack that comes over an old connection counts for the device's new one."""
    session = self._sessions.get(connection)
    if session is not None:
        self.core.data(session, data)
        return
    for payload in FrameReader(65536).receive(data):
        try:
            frame = Frame.FromString(payload)
        except DecodeError:  # a piece of a frame
            return
        for session in self.core.sessions.values():
            if frame.HasField("ack") and session.key == connection.client.name.encode():
                session.wire.acked = min(session.wire.counted, max(session.wire.acked, frame.ack.up_to))
                self.core.delivery.acked(session)


def _arrives_after_the_end(self: Any, piece: bytes) -> None:
    if not self._cut or self._up_lives_on:
        self.connector.event(lambda: self.connector.received(self, piece), self._connector_life)


def _retryable_is_final(self: Any, failed: Any) -> None:
    failed.retry_after_ms = 0
    outgoing = self._settle(failed.stream, failed.id)
    if outgoing is not None:
        from client.state import Refused

        self._events.append(Refused(outgoing, failed.code, failed.text, False))


def _device_not_checked(self: Any, copy: Any, devices: Any) -> None:
    _settle(self, copy, (copy.device,))


_settle = Storage._settle


def _trusted_for_ever(self: Any, began: float, passed: bool) -> None:
    self._looking = False
    if passed:
        self.until = float("inf")


def _reads_not_spoilt(self: Any, users: Any) -> None:
    """What is being read while a change is told is taken for new."""
    reading, self._reading = self._reading, set()
    _forget(self, users)
    self._reading = reading


_forget = Devices.forget


def _synced_at_once(self: Any, session: Any, n: int) -> None:
    session.wire.synced(n)
    self._turn.mark(session)


def _own_copy_is_delivered(self: Any, copy: Any) -> None:
    _, flags, index, count, _, _, origin, attempt, _, _ = copy[2]
    state = SAFE if flags & RECEIPT else DELIVERED
    if flags & OTHERS:
        state |= OTHERS_BIT
    if origin == self._links.incarnation:
        self._outcome(attempt, index, count, state)
    else:
        _report(self, copy)


_report = Delivery._report


def _live_with_inbox_unread(self: Any, session: Any, predecessor: bool) -> None:
    session.phase = LIVE


def _half_is_counted(self: Any, session: Any, rec: Any) -> None:
    """A copy that goes back leaves the session, and only in part what all sessions have."""
    _drop(self, session, rec)
    self.buffered_bytes += len(rec[BODY]) // 2


_drop = Delivery._drop


def _row_counted_twice(self: Any, copy: Any, devices: Any) -> None:
    _settle(self, copy, devices)
    if copy in self.queue:  # appended anew
        self._rows += 1


def _no_phase_but_live(self: Any, phase: int) -> None:
    """A live session that is to read its inbox again stays live."""
    if (self.phase, phase) != (LIVE, SETTLING):
        _to(self, phase)


_to = Session.to


def _written_is_delivered(self: Any, session: Any, copy: Any) -> None:
    """Acceptance that means "written to the socket"."""
    _send(self, session, copy)
    self._report(copy)


_send = Delivery._send


def _same_streams_after_all(self: Any) -> list[Any]:
    return []


def _silent_after_compaction(self: Any) -> None:
    """The watch goes on from now, and what it missed stays missed."""
    self._broken = False
    self._moved(self._etcd.revision)


def _nobody_notified(self: Any, user: str, locations: Any, done: Callable[[bool], None]) -> None:
    done(True)


def _not_waited(notify: Any) -> Any:
    def broken(self: Any, user: str, locations: Any, done: Callable[[bool], None]) -> None:
        notify(self, user, locations, lambda heard: None)
        done(True)

    return broken


def _logins_not_compared(self: Any, device: str, login: str) -> Any:
    return _refuses(self, device, "")


_refuses = Standing.refuses


def _welcome_unseen(self: Any, coming: Any, found: Any) -> None:
    """What became of the login since the store was asked for a session is not looked at, nor in one that registers
    again."""
    coming.asked = coming.asked._replace(login="")
    _registered(self, coming, found)


_registered = Registrations._registered


def _confirmed_when_told(
    self: Any, user: str, locations: Any, code: int, spare: bytes = b"", told: Any = lambda confirmed: None
) -> None:
    _close_all(self, user, locations, code, spare)
    told(True)


_close_all = Closings.close_all


def _alive(self: Any) -> float:
    return 0.0


def _never_behind(self: Any, other: Any) -> bool:
    return False


def _no_room_for_good(settings: Any) -> Any:
    return {state: (code, text, 0) for state, (code, text, _) in _no_room(settings).items()}


_no_room = connector_attempts.no_room


def _no_room_and_sent(self: Any, storing: Any) -> None:
    """What a queue with a bound often does: it takes the message and drops it."""
    finish = self._finish
    self._finish = lambda copy, state: finish(copy, SAFE if state in (INBOX_FULL, INBOX_BUSY) else state)
    _add(self, storing)
    del self._finish


_add = Storage.add


def _all_dropped(self: Any, user: str, author: str) -> None:
    for (owner, device), queue in self.queues.items():
        for key in list(queue) if owner == user else ():
            self.drop(user, device, key)


def _oldest_makes_room(real: Callable[..., None]) -> Callable[..., None]:
    """What another queue with a bound does."""

    def append(self: Any, rows: Any, done: Any) -> None:
        for row in rows:
            queue = self._database.queues.get((row.user, row.device), {})
            if len(queue) > 6:
                self._database.drop(row.user, row.device, min(queue))
        real(self, rows, done)

    return append


def _hides_nothing(self: Any, users: Any, done: Any) -> None:
    done(dict.fromkeys(users, False))


def _not_archived(self: Any, archiving: Any) -> None:
    self._rows += 1
    self._bytes += archiving.size
    self._finish(archiving, SAFE, True)


def _archived_when_asked(self: Any, archiving: Any) -> None:
    """Safe before it is durable."""
    _add_archiving(self, archiving)
    if archiving in self.queue:
        self._rows += 1
        self._bytes += archiving.size
        self._finish(archiving, SAFE, True)
        self.queue[-1] = archiving._replace(origin=0)  # its real outcome goes nowhere


_add_archiving = Archive._add


def _last_body_stays(self: Any, key: Any, body: Any) -> None:
    self.bodies[key] = body


def _only_what_is_there(self: Any, erasure: Any) -> None:
    """An ERASE overtakes what it erases, and finds nothing."""
    if (erasure.conversation, erasure.target) in self.bodies:
        _erase(self, erasure)


_erase = Timelines.erase


def _pages_move_next(self: Any) -> None:
    """What a page has is taken for the end of its stream."""
    for *key, number in self._journal.pages:
        stream = self._receiving._inbound.get(tuple(key))
        if stream is not None and number >= stream.next:
            stream.next = number + 1
            self._receiving._changed[tuple(key)] = stream
            self._dirty = True
    _paged(self)


_paged = ClientCore.paged


def _any_body(self: Any, change: Any) -> Any:
    found = _answer(self, change)
    return Archived(Result.KEPT, found.visible)


_answer = Timelines.answer


def _tombstone(self: Any, erasure: Any) -> None:
    """What is deleted is deleted, until an old replica comes back with it."""
    self.bodies.pop((erasure.conversation, erasure.target), None)


def _no_op(self: Any, *args: Any) -> None:
    return None


LATE = ("stop connector", "slow store", "slow upstream")
"""Logins come late."""
STEPS = ("history", "step clock")
"""Conversations are kept, and clocks are wrong."""
DEFECTS = (
    Defect("SENT before the append", 40, ((Storage, "add", _sent_before_append),)),
    Defect(
        "safe before the presence map is newer than the append",
        100,
        ((Storage, "_steps", _without_step(Storage._steps, 1, True)),),
        ("late watch",),
    ),
    Defect("no notification", 20, ((Notifier, "notify", _nobody_notified),)),
    Defect(
        "safe before a notification is heard",
        700,
        ((Notifier, "notify", _not_waited(Notifier.notify)),),
        ("back and dead",),
    ),
    Defect(
        "a notification ignored while a page is on its way",
        400,
        ((Catchup, "notify", _notification_ignored_while_paging),),
        ("slow store",),
    ),
    Defect(
        "inbox read before presence is registered",
        200,
        ((SimPresence, "online", _registered_late(SimPresence.online)),),
    ),
    Defect("copies counted over repeats", 200, ((Attempts, "submit", _copies_counted(Attempts.submit)),)),
    Defect("next moved before the message is kept", 100, ((ClientCore, "flush", _acked_before_kept),)),
    Defect("a repeat dropped but not acked", 100, ((ClientCore, "data", _repeat_not_acked),)),
    Defect(
        "a row removed before its DELIVERED is safe",
        400,
        ((Receipts, "acked_rows", _row_removed_first),),
        ("failing store", "kill connector", "cut connection"),
    ),
    Defect("rows removed by range under skewed clocks", 200, ((SimStore, "remove", _removed_by_range),)),
    Defect(
        "presence of a session that was registered after its end",
        100,
        ((Departures, "registered", _nothing),),
        ("cut connection", "slow store"),
    ),
    Defect(
        "the end of a session lost with the broker that was told",
        100,
        ((Departures, "broker_lost", _nothing),),
        ("gone with a broker",),
    ),
    Defect(
        "the end of a session lost with a connection to a broker that lives on",
        100,
        ((Departures, "link_renewed", _nothing),),
        ("gone in a cut",),
    ),
    Defect("presence deleted by the replaced session", 400, ((SimPresence, "offline", _offline_of_anybody),)),
    Defect(
        "acks of a replaced connection counted",
        400,
        (
            (nodes.SimConnector, "received", _acks_of_the_replaced),
            (Connection, "_arrive_at_server", _arrives_after_the_end),
        ),
        ("cut connection", "slow upstream"),
    ),
    Defect("a retryable Failed treated as settled", 40, ((ClientCore, "_failed", _retryable_is_final),)),
    Defect(
        "stored for a device without asking whether it still exists",
        400,
        ((Storage, "_settle", _device_not_checked),),
        ("removed devices", "slow store", "busy people"),
    ),
    Defect(
        "what is remembered trusted though the watch is late",
        100,
        ((Freshness, "_looked", _trusted_for_ever),),
        ("late watch", "further devices"),
    ),
    Defect("a change of devices not heeded", 100, ((Devices, "forget", _no_op),), ("further devices",)),
    Defect(
        "a list kept that changed while it was read",
        200,
        ((Devices, "forget", _reads_not_spoilt),),
        ("further devices", "slow store"),
    ),
    Defect("a lost lease ignored", 200, ((Logins, "lease_changed", _no_op),)),
    Defect(
        "a watch that goes on after a compaction without reading again",
        400,
        ((SimPresence, "_reload", _silent_after_compaction),),
        ("compact history",),
    ),
    Defect("Synced without a scan", 100, ((Catchup, "sync", _synced_at_once),)),
    Defect("an own copy's ack taken for DELIVERED", 100, ((Delivery, "_report", _own_copy_is_delivered),)),
    Defect("DELIVERED of what may be unseen", 40, ((connector_attempts, "UNSEEN", 0),)),
    Defect("DELIVERED of what may be unseen, from an inbox", 40, ((connector_catchup, "FIRST_UNSEEN_KIND", 1 << 40),)),
    Defect("live with the inbox unread", 40, ((Catchup, "begin", _live_with_inbox_unread),)),
    Defect("accepted when written", 40, ((Delivery, "_send", _written_is_delivered),)),
    Defect("bytes of copies that went back are counted on", 20, ((Delivery, "_drop", _half_is_counted),)),
    Defect(
        "a row that is appended anew is counted twice",
        100,
        ((Storage, "_settle", _row_counted_twice),),
        ("removed devices", "slow store"),
    ),
    Defect("a session whose phase nobody has changed", 20, ((Session, "to", _no_phase_but_live),)),
    Defect(
        "no room, told as if there never will be",
        40,
        ((connector_attempts, "no_room", _no_room_for_good),),
        ("small inboxes",),
    ),
    Defect("no room, and yet SENT", 40, ((Storage, "add", _no_room_and_sent),), ("small inboxes",)),
    Defect("rows dropped without a block", 40, ((Database, "drop_from", _all_dropped),), ("blocks",)),
    Defect(
        "the oldest row makes room",
        40,
        ((SimStore, "append", _oldest_makes_room(SimStore.append)),),
        ("small inboxes",),
    ),
    Defect("a client that is not woken by its own clock", 40, ((ClientCore, "next_wake", _no_op),)),
    Defect("drafts of a backup sent by themselves", 200, ((ClientCore, "_doubt", _no_op),)),
    Defect("old streams after a backup", 200, ((Outbox, "retire_all", _same_streams_after_all),)),
    Defect("a session of whichever login", 100, ((Standing, "refuses", _logins_not_compared),), ("end logins",)),
    Defect(
        "a login that ends while its session begins",
        200,
        ((Registrations, "_registered", _welcome_unseen), (Registrations, "changed", _no_op)),
        ("end logins", "slow store"),
    ),
    Defect(
        "an end that is confirmed when it was told",
        200,
        ((Closings, "close_all", _confirmed_when_told),),
        ("end logins", "cut link", "stop connector"),
    ),
    Defect(
        "nothing held back after a standstill",
        200,
        ((Doubts, "stood_still", _no_op),),
        ("stop connector",),
    ),
    Defect(
        "nothing held back without a lease",
        200,
        ((Doubts, "unregistered", _no_op),),
        ("end logins", "stop connector", "cut link", "lose lease"),
    ),
    Defect("a Login acted on though its connection is at its end", 100, ((Connection, "silent_s", _alive),), LATE),
    Defect("the mark of one who hides", 40, ((Hiding, "_read_users", _hides_nothing),), ("history",)),
    Defect("archive skipped", 20, ((Archive, "_add", _not_archived),), ("history",)),
    Defect("kept before it is durable", 40, ((Archive, "_add", _archived_when_asked),), ("history", "failing store")),
    Defect("a marker that is a tombstone", 40, ((Timelines, "erase", _tombstone),), ("history",)),
    Defect(
        "an erasure that overtakes what it erases",
        200,
        ((Timelines, "erase", _only_what_is_there),),
        ("history", "failing store"),
    ),
    Defect("a page that moves next", 100, ((ClientCore, "paged", _pages_move_next),), ("history",)),
    Defect(
        "a repeat with another body",
        100,
        ((Timelines, "answer", _any_body), (Timelines, "_put", _last_body_stays)),
        ("history", "other bodies", "failing store"),
    ),
    Defect("a place of any age", 100, ((broker_archive, "R_B_MS", 1 << 60),), STEPS),
    Defect("a stamp left ahead of a clock that stepped back", 100, ((ids, "_MAX_STAMP_AHEAD", 1 << 63),), STEPS),
    Defect("of one start, a lower try that replaces a higher", 200, ((Rank, "is_behind", _never_behind),), LATE),
    *GROUP_DEFECTS,
    *SIGNAL_DEFECTS,
    *NODE_DEFECTS,
)
