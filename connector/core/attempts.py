"""The author's end: each message of a client becomes an attempt, each attempt one answer.

Owns attempts and what SENT needs: every copy delivered or safe. Knows nothing of the receiving end.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Iterable
from typing import ClassVar, TypeAlias

from connector.core.link import Link
from connector.core.links import Links
from connector.core.phases import ENDED
from connector.core.receipts import Receipts
from connector.core.state import Session, Turn
from connector.settings import MESSAGE_OVERHEAD_BYTES, ConnectorSettings
from fabric.rates import Rate, RateLimit
from fabric.records import (
    ADMINS_ONLY,
    BLOCKED,
    BLOCKS,
    CHANGE,
    DELIVERED,
    GROUP_BUSY,
    HEADER,
    HISTORY_FULL,
    INBOX_BUSY,
    INBOX_FULL,
    NO_SPACE,
    NO_SUCH_USER,
    NOT_ALLOWED,
    NOT_FRIEND,
    NOT_MEMBER,
    OTHERS_BIT,
    QUIET,
    ROUTE,
    SAFE,
    TRACED,
    UNSEEN,
    outcome_name,
)
from protocol.errors import InvalidIdError
from protocol.ids import Stamper, stamp_ms
from protocol.server import Incoming, NotAllowed
from protocol.sparrow_pb2 import EDIT, ERASE, FILE, READ, TEXT, Failed

REFUSALS: dict[int, tuple[Failed.Code, str]] = {
    NO_SUCH_USER: (Failed.NO_SUCH_USER, "there is no such user"),
    BLOCKED: (Failed.BLOCKED, "this user has blocked you"),
    BLOCKS: (Failed.BLOCKED, "you have blocked this user: unblock them first"),
    NOT_FRIEND: (Failed.NOT_FRIEND, "this user takes messages of friends only: ask to be one"),
    NOT_MEMBER: (Failed.NOT_MEMBER, "you are in no such group"),
    ADMINS_ONLY: (Failed.NOT_ALLOWED, "only admins write in this group"),
    NOT_ALLOWED: (Failed.NOT_ALLOWED, "this change comes too late, or does not fit what is kept under this name"),
}
"""What settles a message for good."""
_FLAGS: dict[int, int] = {FILE: 0, READ: QUIET, EDIT: QUIET | CHANGE, ERASE: QUIET | CHANGE}
"""Of a message, by its kind; all kinds above these are clients' own."""
_STAMP = struct.Struct("<BQ")
_STAMP_TAG = 0x49
"""`Message.stamp`: field 9, fixed64."""


Attempt: TypeAlias = tuple[Session, int, int, int, float, Link]
"""One try at one message: whose, stream, id, stamp, since when, and through which broker."""


def no_room(settings: ConnectorSettings) -> dict[int, tuple[Failed.Code, str, int]]:
    """What is told where there is no room for a message, and after how many milliseconds to try again."""
    full = "as much as may waits already, for this user or for your own other devices"
    disk = "the server's disk is nearly full"
    return {
        INBOX_FULL: (Failed.INBOX_FULL, full, _ms(settings.inbox_full_retry_s)),
        INBOX_BUSY: (Failed.INBOX_FULL, full, _ms(settings.inbox_busy_retry_s)),
        GROUP_BUSY: (Failed.TOO_FAST, "so many people cannot be written to so fast", Attempts.RETRY_MS),
        NO_SPACE: (Failed.NO_SPACE, disk, _ms(settings.no_space_retry_s)),
        HISTORY_FULL: (
            Failed.HISTORY_FULL,
            "as much as may be kept of you is kept: wait, or erase something",
            _ms(settings.history_full_retry_s),
        ),
    }


def _ms(seconds: float) -> int:
    """In milliseconds, and at least 1: 0 would mean for good."""
    return max(1, round(seconds * 1000))


class Partial:
    """What has come of an attempt that has more than one copy."""

    __slots__ = ("delivered", "done", "failed")

    def __init__(self) -> None:
        self.delivered = False
        self.failed = 0
        """State of a copy that has come to nothing; 0: none has."""
        self.done: set[int] = set()
        """Indexes of copies with an outcome: a set, since one may come twice."""


class Attempts:
    """All attempts of a connector, oldest first."""

    RETRY_MS: ClassVar[int] = 1000
    LINK_RETRY_MS: ClassVar[int] = 200
    FAIL_AFTER_S: ClassVar[float] = 2.0
    """How long an attempt that will fail waits for what else becomes of it (docs/design/history.md, rule R-C)."""
    EARLY_AFTER_S: ClassVar[float] = 0.5
    """What is delivered, and not SENT for so long, is told before."""
    SAME_STAMP_MS: ClassVar[int] = 50_000
    """A repeat has the stamp of its first attempt for so long: with clocks as far apart as may be, the timeline takes
    it (rule R-B)."""
    MAX_STAMPS: ClassVar[int] = 100_000

    def __init__(self, settings: ConnectorSettings, turn: Turn, links: Links, receipts: Receipts, first: int) -> None:
        self._settings = settings
        self._turn = turn
        self._links = links
        self._receipts = receipts
        self._stamper = Stamper()
        self._attempts: dict[int, Attempt] = {}
        self._partial: dict[int, Partial] = {}
        self._failing: dict[int, float] = {}
        """Attempts of which a copy has come to nothing, and when they fail."""
        self._early: deque[tuple[float, int]] = deque()
        """Attempts that were delivered before they were SENT, and when to tell."""
        self._stamps: dict[tuple[int, int, int], int] = {}
        """Session, stream and id of what failed for now → the stamp of its first attempt; oldest first."""
        self._first = self._counter = first
        self.sent = 0
        """Messages whose author was told SENT."""
        self.delivered = 0
        """Messages whose author was told SENT and DELIVERED in one receipt."""
        self.early = 0
        """Messages whose author was told DELIVERED before SENT."""
        self.failed: Counter[int] = Counter()
        """Messages refused, by `Failed.Code`; final or for now."""
        self.traced: dict[str, float] = {}
        """Authors whose messages are traced, and until when."""
        self._traced: set[int] = set()
        """Numbers of the attempts that are traced."""
        self._max_body = settings.max_frame_bytes - MESSAGE_OVERHEAD_BYTES
        rate = settings.max_messages_per_second
        self._limit = RateLimit(rate, max(1.0, rate * settings.message_burst_s))
        """How many messages one session may send."""
        account = settings.max_messages_per_second_of_account
        self.accounts = Rate(account, max(1.0, account * settings.message_burst_s))
        self._max_attempts = 2 * settings.max_unsettled_per_connection
        self._no_room = no_room(settings)

    def __len__(self) -> int:
        return len(self._attempts)

    @property
    def begun(self) -> int:
        """Attempts so far, repeats among them."""
        return self._counter - self._first

    def begin(self, session: Session) -> None:
        """A session is logged in: it has what its account has left."""
        budget, now = session.budget, self._turn.now
        budget.left, budget.at = self.accounts.take(session.user, self._limit.at_once, now), now

    def submit(self, session: Session, incoming: Incoming) -> None:
        """Begin an attempt, or tell the author why not."""
        stream, number, dest_id, kind, raw = incoming
        try:
            route = self._links.for_user(dest_id)
        except InvalidIdError as error:
            return self._refuse(session, stream, number, Failed.NO_SUCH_USER, str(error), 0)
        if len(raw) > self._max_body:
            text = f"a message of {len(raw)} bytes; the limit is {self._max_body}"
            return self._refuse(session, stream, number, Failed.TOO_LARGE, text, 0)
        budget = session.budget
        if budget.left < 1.0 or session.attempts >= self._max_attempts:
            self._refill(session)
            if budget.left < 1.0:
                return self._refuse(session, stream, number, Failed.TOO_FAST, "slow down", self.RETRY_MS)
        if route is None:
            return self._refuse(session, stream, number, Failed.UNAVAILABLE, "no broker is up", self.RETRY_MS)
        budget.left -= 1.0
        session.attempts += 1
        link, dest = route
        turn = self._turn
        stamp = self._stamper.next(turn.wall_ms)
        if self._stamps:
            stamp = self._stamps.get((session.number, stream, number), stamp)
        self._counter = counter = self._counter + 1
        self._attempts[counter] = (session, stream, number, stamp, turn.now, link)
        key, suffix = session.key, session.suffix
        size = len(raw) + len(suffix) + _STAMP.size
        flags = _FLAGS.get(kind, UNSEEN) if kind > TEXT else 0
        if self.traced and self.traced.get(session.user, 0.0) > turn.now:
            flags |= TRACED
            self._traced.add(counter)
            what = f"stream {stream:x}, id {number}, from {key.decode()} to {dest_id}"
            self._trace(counter, f"{what}: given to {link.endpoint}")
        head = HEADER.pack(ROUTE, flags, 0, 0, len(dest), len(key), 0, counter, session.number, size)
        link.out.append(b"".join((head, dest, key, raw, suffix, _STAMP.pack(_STAMP_TAG, stamp))))
        return None

    def not_allowed(self, session: Session, message: NotAllowed) -> None:
        """A message that nobody may send: told for good, so that it does not stand in its author's journal for ever."""
        self._refuse(session, message.stream, message.id, Failed.NOT_ALLOWED, message.text, 0)

    def _refill(self, session: Session) -> None:
        """The bucket is filled from its account's; empty while too many repeats of what is under way are out."""
        budget, now = session.budget, self._turn.now
        before = budget.left
        budget.fill(self._limit, now)
        if session.attempts >= self._max_attempts:
            budget.left = 0.0
        elif budget.left > before:
            budget.left = before + self.accounts.take(session.user, budget.left - before, now)

    def _refuse(self, session: Session, stream: int, number: int, code: Failed.Code, text: str, retry_ms: int) -> None:
        self.failed[code] += 1
        session.wire.failed(stream, number, code, text, retry_ms)
        self._turn.mark(session)

    def outcome(self, counter: int, index: int, count: int, state: int) -> None:
        """One copy of an attempt, or of a receipt, has come to something; nothing to us if that is forgotten."""
        if counter not in self._attempts:
            self._receipts.outcome(counter, index, count, state)
            return
        plain = state & ~OTHERS_BIT
        delivered = plain == DELIVERED
        if count > 1:
            partial = self._add(counter, index, plain)
            if len(partial.done) < count:
                return
            delivered = partial.delivered
            if partial.failed:
                plain, delivered = partial.failed, False
                state = plain
        if not delivered and plain != SAFE:
            self._fail(counter, plain)
            return
        session, stream, number, stamp, _, _ = self._forget(counter)
        if session.phase == ENDED:
            return
        self.sent += 1
        self.delivered += delivered
        if self._traced:
            self._trace_end(counter, "SENT and DELIVERED" if delivered else "SENT")
        if delivered and state != plain:
            # SENT waits until the author's other devices are sure of DELIVERED:
            # a crash may repeat a receipt, never drop one.
            self._receipts.tell_others(session, stream, number, stamp)
            return
        session.wire.sent(stream, number, stamp, delivered)
        if not session.dirty:
            self._turn.mark(session)

    def _add(self, counter: int, index: int, plain: int) -> Partial:
        """One more copy of an attempt has an outcome."""
        partial = self._partial.get(counter)
        if partial is None:
            partial = self._partial[counter] = Partial()
        partial.done.add(index)
        if plain == DELIVERED:
            if not partial.delivered:
                partial.delivered = True
                if self._attempts[counter][0].knows_changes:
                    self._early.append((self._turn.now + self.EARLY_AFTER_S, counter))
        elif plain != SAFE:
            if not partial.failed or plain in REFUSALS:
                partial.failed = plain
            self._failing.setdefault(counter, self._turn.now + self.FAIL_AFTER_S)
        return partial

    def _tell_early(self, counter: int) -> None:
        """DELIVERED, where nobody can say SENT yet: the attempt goes on, or is about to fail for now."""
        session, stream, number, *_ = self._attempts[counter]
        if session.phase != ENDED:
            self.early += 1
            session.wire.early(stream, number)
            self._turn.mark(session)

    def _trace(self, counter: int, text: str) -> None:
        self._turn.traces.append((self._links.incarnation, counter, text))

    def _trace_end(self, counter: int, text: str) -> None:
        if counter in self._traced:
            self._traced.discard(counter)
            self._trace(counter, f"its author is told {text}")

    def _fail(self, counter: int, state: int) -> None:
        self._trace_end(counter, f"Failed: {outcome_name(state)}")
        partial = self._partial.get(counter)
        if partial is not None and partial.delivered and self._attempts[counter][0].knows_changes:
            self._tell_early(counter)
        if state not in REFUSALS:
            self._keep_stamp(counter)
        session, stream, number, *_ = self._forget(counter)
        if session.phase == ENDED:
            return
        if state in REFUSALS:
            self._refuse(session, stream, number, *REFUSALS[state], 0)
        elif state in self._no_room:
            self._refuse(session, stream, number, *self._no_room[state])
        else:
            text = "the message could not be stored now"
            self._refuse(session, stream, number, Failed.UNAVAILABLE, text, self.RETRY_MS)

    def _keep_stamp(self, counter: int) -> None:
        """The message will be repeated: under the stamp that some may have seen."""
        session, stream, number, stamp, _, _ = self._attempts[counter]
        if len(self._stamps) < self.MAX_STAMPS:
            self._stamps.setdefault((session.number, stream, number), stamp)

    def _forget(self, counter: int) -> Attempt:
        attempt = self._attempts.pop(counter)
        attempt[0].attempts -= 1
        if self._partial:
            self._partial.pop(counter, None)
        if self._failing:
            self._failing.pop(counter, None)
        return attempt

    def link_lost(self, link: Link) -> None:
        """What that broker had in hand may be gone: have it sent again at once."""
        for counter in [counter for counter, attempt in self._attempts.items() if attempt[5] is link]:
            self.unsent(counter)

    def unsent(self, counter: int) -> None:
        """An attempt did not leave."""
        if counter not in self._attempts:
            return
        self._trace_end(counter, "Failed, since the broker was lost")
        self._keep_stamp(counter)
        session, stream, number, *_ = self._forget(counter)
        if session.phase != ENDED:
            self._refuse(session, stream, number, Failed.UNAVAILABLE, "the broker was lost", self.LINK_RETRY_MS)

    def check(self, sessions: Iterable[Session]) -> None:
        """Assert what holds of all attempts at the end of a turn; `sessions` are those that are connected."""
        of_session = Counter(attempt[0] for attempt in self._attempts.values())
        for session in {*sessions, *of_session}:
            count = of_session[session]
            assert session.attempts == count, f"{session.attempts} attempts are counted, and {count} are under way"
        assert self._partial.keys() <= self._attempts.keys(), "part of an attempt that is over"
        assert self._failing.keys() <= self._partial.keys(), "an attempt is to fail of which nothing has failed"
        assert self._traced <= self._attempts.keys(), "an attempt is traced that is over"

    def tick(self) -> None:
        """Forget attempts that never came to anything; their senders repeat them."""
        self.accounts.tick(self._turn.now)
        self._tell_and_fail(self._turn.now)
        limit = self._turn.now - self._settings.attempt_timeout_s
        while self._attempts:
            counter, (_, _, _, _, at, _) = next(iter(self._attempts.items()))
            if at > limit:
                break
            self._traced.discard(counter)
            self._keep_stamp(counter)
            self._forget(counter)
        for user in [user for user, until in self.traced.items() if until <= self._turn.now]:
            del self.traced[user]

    def _tell_and_fail(self, now: float) -> None:
        """What is due by now of attempts that are not over; stamps that are too old to be used again are forgotten."""
        while self._early and self._early[0][0] <= now:
            counter = self._early.popleft()[1]
            if counter in self._partial:
                self._tell_early(counter)
        for counter, due in list(self._failing.items()) if self._failing else ():
            if due > now:
                break
            self._fail(counter, self._partial[counter].failed)
        oldest = self._turn.wall_ms - self.SAME_STAMP_MS
        for key, stamp in list(self._stamps.items()) if self._stamps else ():
            if oldest < stamp_ms(stamp) <= self._turn.wall_ms + self.SAME_STAMP_MS:
                break
            del self._stamps[key]
