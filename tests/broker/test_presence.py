"""Presence in memory: a swap of places under leases, and what is left when a lease or a connector is gone."""

from __future__ import annotations

from broker.core.state import Place, Registered
from broker.presence import MemoryPresence
from tests.broker.bench import A, B

LEASE_S = 5.0


class Node:
    """A presence, and connectors that keep their leases."""

    def __init__(self) -> None:
        self.presence = MemoryPresence(LEASE_S, first_lease=50)
        self.now = 100.0
        self.presence.tick(self.now)
        self.leases: dict[int, int] = {}
        for connector in (A, B):
            self.beat(connector, 0)

    def beat(self, connector: int, lease: int | None = None) -> int:
        """A heartbeat; returns the lease that holds."""
        found: list[int | None] = []
        asked = self.leases[connector] if lease is None else lease
        self.presence.keep_alive(connector, asked, found.append)
        (kept,) = found
        assert kept is not None
        self.leases[connector] = kept
        return kept

    def passes(self, seconds: float, *beating: int) -> None:
        for _ in range(round(seconds / 0.5)):
            self.now += 0.5
            self.presence.tick(self.now)
            for connector in beating:
                self.beat(connector)

    def online(
        self, device: str, place: Place, again: bool = False, lease: int | None = None, user: str = "bob"
    ) -> Registered | None:
        found: list[Registered | None] = []
        held = self.leases[place.connector] if lease is None else lease
        self.presence.online(user, device, place, held, again, found.append)
        (answer,) = found
        return answer

    def where(self, user: str = "bob") -> dict[str, Place]:
        return dict(self.presence.where(user))


def test_places_of_a_users_devices() -> None:
    node = Node()
    assert node.where() == {}
    assert node.online("b1", Place(A, 1)) == Registered(None)
    assert node.online("b2", Place(B, 2)) == Registered(None)
    assert node.where() == {"b1": Place(A, 1), "b2": Place(B, 2)}
    assert node.where("alice") == {}
    assert len(node.presence) == 2


def test_the_second_session_of_a_device_learns_of_the_first() -> None:
    node = Node()
    node.online("b1", Place(A, 1))
    assert node.online("b1", Place(B, 2)) == Registered(Place(A, 1))
    assert node.where() == {"b1": Place(B, 2)}
    assert len(node.presence) == 1


def test_offline_only_if_it_is_still_this_session() -> None:
    node = Node()
    node.online("b1", Place(A, 1))
    node.online("b1", Place(B, 2))
    node.presence.offline("bob", "b1", Place(A, 1))
    assert node.where() == {"b1": Place(B, 2)}
    node.presence.offline("bob", "b1", Place(B, 2))
    assert node.where() == {}
    node.presence.offline("bob", "b1", Place(B, 2))
    node.presence.offline("nobody", "b1", Place(B, 2))
    assert len(node.presence) == 0


def test_one_device_that_leaves_leaves_the_others() -> None:
    node = Node()
    node.online("b1", Place(A, 1))
    node.online("b2", Place(A, 2))
    node.presence.offline("bob", "b1", Place(A, 1))
    assert node.where() == {"b2": Place(A, 2)}


def test_again_only_where_nobody_else_is() -> None:
    node = Node()
    assert node.online("b1", Place(A, 1), again=True) == Registered(None)
    assert node.online("b1", Place(A, 1), again=True) == Registered(Place(A, 1))
    node.online("b1", Place(B, 2))
    assert node.online("b1", Place(A, 1), again=True) == Registered(Place(B, 2), taken=True)
    assert node.where() == {"b1": Place(B, 2)}


def test_nobody_comes_under_a_lease_that_does_not_hold() -> None:
    node = Node()
    assert node.online("b1", Place(A, 1), lease=4242) is None
    assert node.online("b1", Place(77, 1), lease=50) is None
    assert node.where() == {}


def test_a_lease_that_is_kept_holds_and_one_that_is_not_takes_its_places_along() -> None:
    node = Node()
    node.online("b1", Place(A, 1))
    node.online("b2", Place(B, 2))
    node.passes(20.0, A)
    assert node.where() == {"b1": Place(A, 1)}
    assert len(node.presence) == 1
    assert node.online("b2", Place(B, 2)) is None
    lease = node.leases[B]
    assert node.beat(B) != lease
    assert node.online("b2", Place(B, 2), again=True) == Registered(None)


def test_a_place_that_moved_does_not_go_with_the_connector_it_left() -> None:
    node = Node()
    node.online("b1", Place(A, 1))
    node.online("b1", Place(B, 2))
    node.passes(6.0, B)
    assert node.where() == {"b1": Place(B, 2)}


def test_a_connector_that_asks_with_another_lease_is_new() -> None:
    node = Node()
    node.online("b1", Place(A, 1))
    old = node.leases[A]
    new = node.beat(A, 0)
    assert new not in (old, 0)
    assert node.where() == {}
    assert node.online("b1", Place(A, 1), lease=old) is None


def test_the_map_is_always_newer_than_anything_before() -> None:
    passed: list[bool] = []
    Node().presence.barrier(passed.append)
    assert passed == [True]
