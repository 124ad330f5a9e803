"""What brokers remember, by the example of lists of devices: nothing is used longer than it may, reads are shared."""

from __future__ import annotations

from typing import Any

from broker.core.cached import Freshness
from broker.core.devices import Devices
from broker.core.state import Turn
from broker.settings import BrokerSettings
from tests.broker.bench import RecordingPresence, RecordingStore

T = 2.0


class Cache:
    """`Devices` with a recording store and a clock."""

    def __init__(self, **settings: Any) -> None:
        self.store = RecordingStore()
        self.turn = Turn()
        self.turn.now = 100.0
        self.presence = RecordingPresence()
        made = BrokerSettings(cache_s=T, **settings)
        self.freshness = Freshness(made, self.turn, self.presence)
        self.devices = Devices(made, self.turn, self.freshness, self.store)
        self.told: list[tuple[list[str], bool]] = []
        self.devices.on_read = lambda users, ok: self.told.append((users, ok))
        self.devices.on_forgotten = lambda: None

    def get(self, user: str) -> tuple[str, ...] | str | None:
        """Ids; "nobody" for no such user; None for a list that is not there."""
        entry = self.devices.get(user)
        if entry is None:
            return None
        return "nobody" if entry.value is None else tuple(device for device, _ in entry.value)

    def read(self, **users: tuple[str, ...]) -> list[str]:
        """The store answers its oldest read."""
        asked, done = self.store.calls["devices"].pop(0)
        done({user: users.get(user) for user in asked})
        return list(asked)

    def keep(self, **users: tuple[str, ...]) -> None:
        """These lists are in the cache."""
        for user in users:
            self.get(user)
        self.devices.flush()
        self.read(**users)

    def presence_is_up_to_date(self) -> None:
        """A look at presence, and its answer at once."""
        self.freshness.tick()
        self.presence.barriers.pop()(True)

    @property
    def asked(self) -> list[list[str]]:
        return [asked for asked, _ in self.store.calls["devices"]]


def test_a_list_is_read_when_it_is_wanted_and_then_used() -> None:
    cache = Cache()
    assert cache.get("bob") is None
    cache.devices.flush()
    assert cache.read(bob=("b1", "b2")) == ["bob"]
    assert cache.told == [(["bob"], True)]
    assert cache.get("bob") == ("b1", "b2")
    entry = cache.devices.get("bob")
    assert entry is not None
    assert entry.value == (("b1", b"bob/b1"), ("b2", b"bob/b2"))


def test_a_user_who_does_not_exist_is_asked_for_anew_each_time() -> None:
    cache = Cache()
    found: list[object] = []
    cache.devices.on_read = lambda users, ok: found.extend(cache.get(user) for user in users)
    cache.get("ghost")
    cache.devices.flush()
    cache.read()
    assert found == ["nobody"]  # whoever waited is told
    assert cache.get("ghost") is None  # who may exist the next moment
    cache.devices.flush()
    cache.read(ghost=("g1",))
    assert cache.get("ghost") == ("g1",)


def test_what_a_turn_wants_is_read_together_and_once() -> None:
    cache = Cache()
    for user in ("bob", "ann", "bob"):
        cache.get(user)
    cache.devices.flush()
    assert cache.asked == [["bob", "ann"]]
    cache.get("bob")
    cache.devices.flush()
    assert cache.asked == [["bob", "ann"]]  # it is on its way
    cache.devices.flush()
    assert len(cache.asked) == 1


def test_a_list_is_not_used_beyond_t_after_its_reading_began() -> None:
    cache = Cache()
    cache.get("bob")
    cache.devices.flush()
    cache.turn.now += 1.5  # the store is slow
    cache.read(bob=("b1",))
    cache.turn.now += 0.4
    assert cache.get("bob") == ("b1",)
    cache.turn.now += 0.2
    assert cache.get("bob") is None


def test_a_read_that_took_longer_than_t_is_of_no_use() -> None:
    cache = Cache()
    cache.get("bob")
    cache.devices.flush()
    cache.turn.now += T
    cache.read(bob=("b1",))
    assert cache.get("bob") is None
    cache.devices.flush()
    assert cache.asked == [["bob"]]


def test_a_list_in_its_later_half_is_read_again_while_it_is_used() -> None:
    cache = Cache()
    cache.get("bob")
    cache.devices.flush()
    cache.read(bob=("b1",))
    cache.turn.now += T / 2
    assert cache.get("bob") == ("b1",)
    cache.devices.flush()
    assert not cache.asked
    cache.turn.now += 0.1
    assert cache.get("bob") == ("b1",)
    cache.devices.flush()
    assert not cache.asked  # it can wait for others in the same state
    cache.devices.tick()
    cache.devices.flush()
    assert cache.asked == [["bob"]]
    assert cache.get("bob") == ("b1",)
    cache.devices.tick()
    cache.devices.flush()
    assert cache.asked == [["bob"]]  # it is on its way
    cache.read(bob=("b1", "b2"))
    assert cache.get("bob") == ("b1", "b2")


def test_what_follows_from_a_list_is_renewed_before_t() -> None:
    cache = Cache()
    cache.get("bob")
    cache.devices.flush()
    cache.read(bob=("b1",))
    cache.turn.now += 0.5
    cache.get("ann")
    cache.devices.flush()
    cache.read(ann=("a1",))
    bob, ann = cache.devices.get("bob"), cache.devices.get("ann")
    assert bob is not None
    assert ann is not None
    assert cache.devices.renew_at(min(bob.read_at, ann.read_at)) == bob.read_at + T / 2
    cache.turn.now = bob.read_at + T / 2 + 0.1  # a newer list is being read: look soon
    assert bob.read_at + T / 2 < cache.devices.renew_at(min(bob.read_at, ann.read_at)) < bob.read_at + T / 2 + 0.5
    cache.turn.now = bob.read_at + T - 0.01
    assert cache.devices.renew_at(min(bob.read_at, ann.read_at)) == bob.read_at + T


def test_a_read_that_fails_leaves_what_was_there_and_may_be_repeated() -> None:
    cache = Cache()
    cache.get("bob")
    cache.devices.flush()
    cache.store.calls["devices"].pop(0)[1](None)
    assert cache.told == [(["bob"], False)]
    assert cache.get("bob") is None
    cache.devices.flush()
    assert cache.asked == [["bob"]]


def test_the_cache_is_bounded() -> None:
    cache = Cache(max_cached_users=3)
    for user in ("u1", "u2", "u3", "u4"):
        cache.get(user)
        cache.devices.flush()
        cache.read(**{user: ("d1",)})
        assert len(cache.devices._entries) <= 3
    assert cache.get("u4") == ("d1",)


def test_while_presence_is_up_to_date_a_list_is_used_beyond_t_and_the_store_left_alone() -> None:
    cache = Cache()
    cache.keep(bob=("b1",))
    for _ in range(20):
        cache.turn.now += T / 4
        cache.presence_is_up_to_date()
        assert cache.get("bob") == ("b1",)
        cache.devices.flush()
    assert not cache.asked


def test_presence_vouches_for_t_from_when_it_was_asked() -> None:
    cache = Cache()
    cache.keep(bob=("b1",))
    cache.turn.now += T
    cache.freshness.tick()
    asked_at = cache.turn.now
    cache.turn.now += 0.5
    assert cache.get("bob") is None
    cache.presence.barriers.pop()(True)
    assert cache.get("bob") == ("b1",)
    entry = cache.devices.get("bob")
    assert entry is not None
    assert cache.devices.renew_at(entry.read_at) == asked_at + T
    cache.turn.now = asked_at + T
    assert cache.get("bob") is None


def test_presence_is_asked_several_times_in_t_and_no_more() -> None:
    cache, asked = Cache(), 0
    for _ in range(100):
        cache.turn.now += T / 100
        cache.freshness.tick()
        while cache.presence.barriers:
            asked += 1
            cache.presence.barriers.pop()(True)
    assert 4 <= asked <= 10


def test_presence_that_does_not_answer_is_not_asked_again_and_one_that_is_away_vouches_for_nothing() -> None:
    cache = Cache()
    cache.keep(bob=("b1",))
    cache.freshness.tick()
    cache.turn.now += T
    cache.freshness.tick()
    assert len(cache.presence.barriers) == 1
    cache.presence.barriers.pop()(False)
    assert cache.get("bob") is None
    cache.freshness.tick()
    assert len(cache.presence.barriers) == 1


def test_a_user_who_has_changed_is_read_anew_and_what_follows_is_made_anew() -> None:
    cache = Cache()
    forgotten: list[bool] = []
    cache.devices.on_forgotten = lambda: forgotten.append(True)
    cache.keep(bob=("b1",), ann=("a1",))
    cache.devices.forget(["carol"])
    assert not forgotten
    cache.devices.forget(["bob"])
    assert forgotten == [True]
    assert cache.get("bob") is None
    assert cache.get("ann") == ("a1",)
    cache.devices.forget(None)
    assert len(forgotten) == 2
    assert cache.get("ann") is None


def test_a_list_that_changes_while_it_is_read_is_read_once_more() -> None:
    cache = Cache()
    cache.get("bob")
    cache.get("ann")
    cache.devices.flush()
    cache.devices.forget(["bob"])
    cache.read(bob=("b1",), ann=("a1",))
    assert cache.told == [(["ann"], True)]  # who waits for Bob's goes on waiting
    assert cache.get("bob") is None
    cache.devices.flush()
    assert cache.asked == [["bob"]]
    cache.read(bob=("b1", "b2"))
    assert cache.get("bob") == ("b1", "b2")
    assert cache.told[1:] == [(["bob"], True)]


def test_a_list_that_changes_while_a_read_fails_is_not_lost_from_sight() -> None:
    cache = Cache()
    cache.get("bob")
    cache.devices.flush()
    cache.devices.forget(None)
    cache.store.calls["devices"].pop(0)[1](None)
    assert cache.told == [(["bob"], False)]
    cache.keep(bob=("b1",))
    assert cache.get("bob") == ("b1",)


def test_a_trusted_list_is_read_again_from_time_to_time_and_tells_if_it_is_another() -> None:
    cache = Cache(cache_refresh_s=60.0)
    forgotten: list[bool] = []
    cache.devices.on_forgotten = lambda: forgotten.append(True)
    cache.keep(bob=("b1",))
    cache.turn.now += 61.0
    cache.presence_is_up_to_date()
    assert cache.get("bob") == ("b1",)
    cache.devices.tick()
    cache.devices.flush()
    cache.read(bob=("b1",))
    assert not forgotten
    cache.turn.now += 61.0
    cache.presence_is_up_to_date()
    assert cache.get("bob") == ("b1",)
    cache.devices.tick()
    cache.devices.flush()
    cache.read(bob=("b2",))
    assert forgotten == [True]
    assert cache.get("bob") == ("b2",)
