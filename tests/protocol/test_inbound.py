"""The receiving end of a stream: order, once, and never stuck. Examples are in tests/vectors/streams.json."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocol.inbound import MAX_SETTLED_GAPS, InboundStream, Shown

WAIT_S = 10.0
WINDOW = 8

Arrival = tuple[int, int]
"""id, settled."""


@st.composite
def arrivals(draw: st.DrawFn) -> list[Arrival]:
    """Messages within a window, in any order, with repeats; `settled` may be anything that is possible."""
    ids = draw(st.lists(st.integers(1, 20), max_size=40))
    return [(number, draw(st.integers(max(1, number - WINDOW), number))) for number in ids]


@given(arrivals(), st.data())
def test_nothing_twice_and_what_is_not_late_in_order(messages: list[Arrival], data: st.DataObject) -> None:
    """For any arrivals, and Syncs at any time: the promise, as far as one stream alone can keep it."""
    stream: InboundStream[int] = InboundStream()
    shown: list[Shown[int]] = []
    arrived: set[int] = set()
    skipped: set[int] = set()
    syncs = 0
    for number, settled in messages:
        passed = number < stream.next and number not in stream.gaps
        came = stream.receive(number, settled, number)
        if passed and number not in arrived:
            assert number in skipped
            assert came == []
        else:
            arrived.add(number)
        shown += came
        stream.blocked_s = data.draw(st.sampled_from([0.0, WAIT_S]))
        if stream.wants_sync(WAIT_S):
            syncs += 1
            known = stream.settled
            stream.asked(syncs, WAIT_S)
            assert not stream.wants_sync(WAIT_S)
            before, gaps = stream.next, set(stream.gaps)
            shown += stream.synced(syncs)
            skipped |= {n for n in range(before, stream.next) if n not in arrived | stream.gaps}
            skipped |= gaps - stream.gaps
            assert all(n < known for n in skipped)
            assert stream.next >= min(known, before + 1)
            assert not stream.parked or stream.next >= known
    in_order = [item for item, late in shown if not late]
    assert in_order == sorted(in_order)
    items = [item for item, _ in shown]
    assert len(set(items)) == len(items)
    assert {*items} | {*stream.parked} == arrived
    assert {*items}.isdisjoint(stream.parked)


@given(arrivals())
def test_parked_is_what_came_too_early(messages: list[Arrival]) -> None:
    stream: InboundStream[int] = InboundStream()
    for number, settled in messages:
        stream.receive(number, settled, number)
        assert stream.next not in stream.parked
        assert all(parked > stream.next for parked in stream.parked)
    assert stream.settled == max((settled for _, settled in messages), default=1)


def test_the_first_copy_is_the_one_that_counts() -> None:
    stream: InboundStream[str] = InboundStream()
    assert stream.receive(2, 1, "first") == []
    assert stream.receive(2, 1, "second") == []
    assert stream.receive(1, 1, "one") == [Shown("one", False), Shown("first", False)]


def stuck() -> InboundStream[int]:
    """2 is missing and not settled; 3 and 5 are parked; it was waited for long enough."""
    stream: InboundStream[int] = InboundStream()
    for number in (1, 3, 5):
        stream.receive(number, 1, number)
    stream.blocked_s = WAIT_S
    return stream


def test_a_synced_that_nobody_asked_for_changes_nothing() -> None:
    stream = stuck()
    assert stream.synced(1) == []
    assert (stream.next, stream.gaps) == (2, set())


def test_an_earlier_synced_is_not_the_answer_and_a_later_one_is() -> None:
    stream = stuck()
    stream.asked(5, WAIT_S)
    assert stream.synced(4) == []
    assert not stream.wants_sync(WAIT_S)
    assert stream.synced(6) == [Shown(3, False), Shown(5, False)]
    assert stream.gaps == {2, 4}
    assert stream.synced(6) == []


def test_a_sync_that_is_not_answered_is_asked_anew() -> None:
    stream = stuck()
    stream.asked(1, WAIT_S)
    stream.disconnected()
    assert stream.wants_sync(WAIT_S)
    assert stream.synced(1) == []


@pytest.mark.parametrize(
    ("waited", "wants"), [(0.0, False), (WAIT_S - 0.01, False), (WAIT_S, True), (WAIT_S + 1, True)]
)
def test_what_is_not_settled_is_waited_for(waited: float, wants: bool) -> None:
    stream = stuck()
    stream.blocked_s = waited
    assert stream.wants_sync(WAIT_S) is wants


def test_a_sync_that_is_not_needed_any_more_does_not_stand_in_the_way_of_the_next() -> None:
    stream = stuck()
    stream.asked(1, WAIT_S)
    stream.receive(2, 1, 2)
    stream.receive(4, 1, 4)
    assert stream.next == 6
    stream.receive(9, 9, 9)
    assert stream.wants_sync(WAIT_S)


def test_only_what_was_settled_when_the_sync_was_asked_is_skipped() -> None:
    stream: InboundStream[int] = InboundStream()
    stream.receive(3, 3, 3)
    stream.asked(1, WAIT_S)
    stream.receive(6, 6, 6)
    assert stream.synced(1) == [Shown(3, False)]
    assert stream.next == 4
    assert stream.wants_sync(WAIT_S)
    assert stream.receive(4, 1, 4) == [Shown(4, False)]


@pytest.mark.parametrize(("settled", "wants"), [(2, False), (3, True)])
def test_what_is_settled_and_missing_is_asked_for_at_once(settled: int, wants: bool) -> None:
    stream: InboundStream[int] = InboundStream(next=2)
    stream.receive(4, settled, 4)
    assert stream.wants_sync(WAIT_S) is wants


def test_a_stream_with_nothing_parked_never_asks() -> None:
    stream: InboundStream[int] = InboundStream(next=5, settled=9)
    stream.blocked_s = WAIT_S
    assert not stream.wants_sync(WAIT_S)


def test_moving_on_begins_the_wait_anew() -> None:
    stream = stuck()
    stream.receive(2, 1, 2)
    assert stream.blocked_s == 0.0
    stream.blocked_s = WAIT_S
    stream.receive(9, 1, 9)
    assert stream.blocked_s == WAIT_S


def test_after_synced_the_wait_begins_anew() -> None:
    stream = stuck()
    stream.asked(1, WAIT_S)
    stream.receive(8, 1, 8)
    stream.synced(1)
    assert stream.blocked_s == 0.0
    assert stream.parked == {8: 8}


@pytest.mark.parametrize(("count", "wants"), [(MAX_SETTLED_GAPS, False), (MAX_SETTLED_GAPS + 1, True)])
def test_too_many_settled_gaps_ask_for_a_sync_that_forgets_them(count: int, wants: bool) -> None:
    gaps = frozenset(range(2, 2 + count))
    stream: InboundStream[int] = InboundStream(next=1000, settled=2 + count, gaps=gaps)
    assert stream.wants_sync(WAIT_S) is wants
    stream.asked(1, WAIT_S)
    assert stream.synced(1) == []
    assert stream.gaps == set()
    assert stream.next == 1000
    assert not stream.wants_sync(WAIT_S)


def test_gaps_that_are_not_settled_are_never_too_many() -> None:
    gaps = frozenset(range(2, 1000))
    assert not InboundStream(next=1000, settled=2, gaps=gaps).wants_sync(WAIT_S)
    assert not InboundStream(next=1000, settled=2 + MAX_SETTLED_GAPS, gaps=gaps).wants_sync(WAIT_S)


def test_a_sync_forgets_only_gaps_that_were_settled_when_it_was_asked() -> None:
    stream: InboundStream[int] = InboundStream(next=6, settled=3, gaps=frozenset({2, 3, 4}))
    stream.asked(1, WAIT_S)
    stream.receive(6, 6, 6)
    stream.synced(1)
    assert stream.gaps == {3, 4}


class Conversation(RuleBasedStateMachine):
    """A sender that keeps the rules, an inbox, a network that keeps none, and a receiver with a disk."""

    def __init__(self) -> None:
        super().__init__()
        self.stream: InboundStream[int] = InboundStream()
        self.written = 0
        self.unsettled: list[int] = []
        self.safe: set[int] = set()
        """SENT to the sender."""
        self.first_settled: dict[int, int] = {}
        self.network: list[Arrival] = []
        self.inbox: dict[int, int] = {}
        self.shown: list[Shown[int]] = []
        self.sync = 0
        self.syncs = 0
        self.disk: tuple[int, int, frozenset[int], tuple[int, ...]] = (1, 1, frozenset(), ())

    def settled(self) -> int:
        return self.unsettled[0] if self.unsettled else self.written + 1

    def put(self, number: int) -> None:
        self.network.append((number, self.settled()))

    def arrive(self, number: int, settled: int) -> None:
        """A message comes, is kept, and what may be shown is shown."""
        self.shown += self.stream.receive(number, settled, number)
        self.keep()

    def keep(self) -> None:
        self.disk = (self.stream.next, self.stream.settled, frozenset(self.stream.gaps), tuple(self.stream.parked))
        if not self.sync and self.stream.wants_sync(WAIT_S):
            self.syncs += 1
            self.sync = self.syncs
            self.stream.asked(self.sync, WAIT_S)

    def received(self, number: int) -> bool:
        return number in self.stream.parked or any(item == number for item, _ in self.shown)

    @precondition(lambda self: self.written < self.settled() + WINDOW - 1)
    @rule()
    def write(self) -> None:
        self.written += 1
        self.unsettled.append(self.written)
        self.first_settled[self.written] = self.settled()
        self.put(self.written)

    @precondition(lambda self: self.unsettled)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        self.put(data.draw(st.sampled_from(self.unsettled)))

    @precondition(lambda self: self.unsettled)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """A final Failed; an earlier attempt may be on its way all the same."""
        self.unsettled.remove(data.draw(st.sampled_from(self.unsettled)))

    @precondition(lambda self: self.unsettled)
    @rule(data=st.data(), sent=st.booleans())
    def store(self, data: st.DataObject, sent: bool) -> None:
        """A copy is committed to the inbox; its sender may learn SENT."""
        number = data.draw(st.sampled_from(self.unsettled))
        self.inbox[number] = min(self.inbox.get(number, number), self.settled())
        if sent:
            self.safe.add(number)
            self.unsettled.remove(number)

    @precondition(lambda self: any(self.received(number) for number in self.unsettled))
    @rule(data=st.data())
    def sent(self, data: st.DataObject) -> None:
        """The receiver has acked a live copy: SENT."""
        number = data.draw(st.sampled_from([number for number in self.unsettled if self.received(number)]))
        self.safe.add(number)
        self.unsettled.remove(number)

    @precondition(lambda self: self.network)
    @rule(data=st.data(), again=st.booleans())
    def deliver(self, data: st.DataObject, again: bool) -> None:
        at = data.draw(st.integers(0, len(self.network) - 1))
        self.arrive(*(self.network[at] if again else self.network.pop(at)))

    @precondition(lambda self: self.network)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        self.network.pop(data.draw(st.integers(0, len(self.network) - 1)))

    @precondition(lambda self: self.inbox)
    @rule(data=st.data(), remove=st.booleans())
    def page(self, data: st.DataObject, remove: bool) -> None:
        """A row comes; once it is acked it is removed."""
        number = data.draw(st.sampled_from(sorted(self.inbox)))
        self.arrive(number, self.inbox[number])
        if remove:
            del self.inbox[number]

    @precondition(lambda self: self.sync)
    @rule()
    def synced(self) -> None:
        """One whole scan: every row, then Synced."""
        for number, settled in self.inbox.items():
            self.arrive(number, settled)
        answered, self.sync = self.sync, 0
        self.shown += self.stream.synced(answered)
        self.keep()

    @precondition(lambda self: self.stream.parked)
    @rule()
    def wait(self) -> None:
        self.stream.blocked_s += WAIT_S / 2
        self.keep()

    @rule(crash=st.booleans())
    def reconnect(self, crash: bool) -> None:
        self.sync = 0
        self.stream.disconnected()
        if crash:
            following, settled, gaps, parked = self.disk
            self.stream = InboundStream(following, settled, gaps)
            for number in parked:
                assert self.stream.receive(number, 1, number) == []
        self.keep()

    @invariant()
    def once_and_in_order(self) -> None:
        items = [item for item, _ in self.shown]
        assert len(set(items)) == len(items)
        in_order = [item for item, late in self.shown if not late]
        assert in_order == sorted(in_order)

    @invariant()
    def late_only_where_it_was_not_settled(self) -> None:
        for at, (number, late) in enumerate(self.shown):
            if late:
                passed_by = next(item for item, _ in self.shown[:at] if item > number)
                assert self.first_settled[passed_by] <= number

    @invariant()
    def nothing_safe_is_given_up(self) -> None:
        for number in self.safe:
            assert self.received(number) or number in self.inbox

    def teardown(self) -> None:
        """The network recovers: everything comes, and nothing stays behind."""
        self.reconnect(crash=False)
        for number in [*self.unsettled]:
            self.put(number)
            self.arrive(*self.network[-1])
            self.safe.add(number)
            self.unsettled.remove(number)
        for number, settled in self.inbox.items():
            self.arrive(number, settled)
        if self.written:
            self.written += 1
            self.first_settled[self.written] = self.written
            self.arrive(self.written, self.settled() - 1)
        for _ in range(3):
            if self.sync:
                self.synced()
        items = {item for item, _ in self.shown}
        assert self.safe <= items
        assert not self.stream.parked
        assert self.written == 0 or self.written in items
        super().teardown()


TestConversation = Conversation.TestCase


@given(st.permutations(range(1, 9)), st.frozensets(st.integers(1, 8)), st.frozensets(st.integers(1, 8)))
def test_next_goes_past_what_is_known_from_elsewhere(
    order: list[int], known: frozenset[int], lost: frozenset[int]
) -> None:
    stream: InboundStream[int] = InboundStream()
    shown: list[int] = []
    for number in (each for each in order if each not in lost & known):
        found = stream.receive(number, 1, number)
        found += stream.go_past(known.__contains__)
        shown += [each.item for each in found]
    came = [number for number in range(1, 9) if number not in lost & known]
    # Those that are not known from elsewhere all come, in order, with nothing left behind what is known.
    assert [number for number in shown if number not in known] == [number for number in came if number not in known]
    assert shown == sorted(set(shown))
    assert not stream.parked
    assert not stream.gaps


def test_what_was_given_up_is_told() -> None:
    stream: InboundStream[int] = InboundStream(gaps=frozenset({2}), next=4)
    for number in (6, 7, 9):
        stream.receive(number, 9, number)
    stream.asked(1, 10.0)
    stream.synced(1)
    assert stream.skipped == (2, 8)
    stream = InboundStream()
    stream.receive(2, 2, 2)
    stream.receive(1, 2, 1)
    assert stream.skipped is None
