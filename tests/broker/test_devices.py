"""Lists of devices: none is used longer than T after its reading began, and reads are shared."""

from __future__ import annotations

from typing import Any

from broker.core.devices import Devices
from broker.core.state import Outbox
from broker.settings import BrokerSettings
from tests.broker.bench import RecordingStore

T = 2.0


class Cache:
    """`Devices` with a recording store and a clock."""

    def __init__(self, **settings: Any) -> None:
        self.store = RecordingStore()
        self.outbox = Outbox()
        self.outbox.now = 100.0
        self.devices = Devices(BrokerSettings(device_cache_s=T, **settings), self.outbox, self.store)
        self.told: list[tuple[list[str], bool]] = []
        self.devices.on_read = lambda users, ok: self.told.append((users, ok))

    def get(self, user: str) -> tuple[str, ...] | str | None:
        """Ids; "nobody" for no such user; None for a list that is not there."""
        entry = self.devices.get(user)
        if entry is None:
            return None
        return "nobody" if entry.devices is None else tuple(device for device, _ in entry.devices)

    def read(self, **users: tuple[str, ...]) -> list[str]:
        """The store answers its oldest read."""
        asked, done = self.store.calls["devices"].pop(0)
        done({user: users.get(user) for user in asked})
        return list(asked)

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
    assert entry.devices == (("b1", b"bob/b1"), ("b2", b"bob/b2"))


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
    cache.outbox.now += 1.5  # the store is slow
    cache.read(bob=("b1",))
    cache.outbox.now += 0.4
    assert cache.get("bob") == ("b1",)
    cache.outbox.now += 0.2
    assert cache.get("bob") is None


def test_a_read_that_took_longer_than_t_is_of_no_use() -> None:
    cache = Cache()
    cache.get("bob")
    cache.devices.flush()
    cache.outbox.now += T
    cache.read(bob=("b1",))
    assert cache.get("bob") is None
    cache.devices.flush()
    assert cache.asked == [["bob"]]


def test_a_list_in_its_later_half_is_read_again_while_it_is_used() -> None:
    cache = Cache()
    cache.get("bob")
    cache.devices.flush()
    cache.read(bob=("b1",))
    cache.outbox.now += T / 2
    assert cache.get("bob") == ("b1",)
    cache.devices.flush()
    assert not cache.asked
    cache.outbox.now += 0.1
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
    cache.outbox.now += 0.5
    cache.get("ann")
    cache.devices.flush()
    cache.read(ann=("a1",))
    bob, ann = cache.devices.get("bob"), cache.devices.get("ann")
    assert bob is not None
    assert ann is not None
    assert cache.devices.renew_at(bob, ann) == bob.read_at + T / 2
    cache.outbox.now = bob.read_at + T / 2 + 0.1  # a newer list is being read: look soon
    assert bob.read_at + T / 2 < cache.devices.renew_at(bob, ann) < bob.read_at + T / 2 + 0.5
    cache.outbox.now = bob.read_at + T - 0.01
    assert cache.devices.renew_at(bob, ann) == bob.read_at + T


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
