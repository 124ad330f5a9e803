"""What every presence must do, in memory and in etcd: swap locations under leases, and forget them with the lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from broker.core.state import Location, Rank, Swapped
from tests.broker.presences import LEASE_S, A, B, Presences, presence, until


@pytest.fixture(params=["memory", "etcd"])
async def node(request: pytest.FixtureRequest) -> AsyncIterator[Presences]:
    """Connectors A and B beat."""
    settings = request.getfixturevalue("etcd_settings") if request.param == "etcd" else None
    async with presence(settings, A, B) as found:
        yield found


async def test_places_of_a_users_devices(node: Presences) -> None:
    assert await node.where() == {}
    assert await node.online("b1", Location(A, 1)) == Swapped(None)
    assert await node.online("b2", Location(B, 2)) == Swapped(None)
    assert await node.where() == {"b1": Location(A, 1), "b2": Location(B, 2)}
    assert await node.where("alice") == {}
    assert len(node.presence) == 2  # type: ignore[arg-type]


async def test_the_second_session_of_a_device_learns_of_the_first(node: Presences) -> None:
    await node.online("b1", Location(A, 1))
    assert await node.online("b1", Location(B, 2)) == Swapped(Location(A, 1))
    assert await node.where() == {"b1": Location(B, 2)}
    assert len(node.presence) == 1  # type: ignore[arg-type]


async def test_sessions_of_one_moment_take_their_turns(node: Presences) -> None:
    answers = await asyncio.gather(*(node.online("b1", Location(A, n)) for n in range(1, 300)))
    assert answers == [Swapped(Location(A, n - 1) if n > 1 else None) for n in range(1, 300)]
    assert await node.where() == {"b1": Location(A, 299)}


async def test_many_devices_of_one_moment(node: Presences) -> None:
    names = [f"d{n}" for n in range(1000)]
    answers = await asyncio.gather(*(node.online(name, Location(A, n)) for n, name in enumerate(names, 1)))
    assert answers == [Swapped(None)] * 1000
    assert await node.where() == {name: Location(A, n) for n, name in enumerate(names, 1)}


async def test_offline_only_if_it_is_still_this_session(node: Presences) -> None:
    await node.online("b1", Location(A, 1))
    await node.online("b1", Location(B, 2))
    node.presence.offline("bob", "b1", Location(A, 1))
    node.presence.offline("nobody", "b1", Location(B, 2))
    assert await node.online("b2", Location(A, 9)) == Swapped(None)
    assert await node.where() == {"b1": Location(B, 2), "b2": Location(A, 9)}
    node.presence.offline("bob", "b1", Location(B, 2))
    await node.sees({"b2": Location(A, 9)})
    node.presence.offline("bob", "b1", Location(B, 2))
    node.presence.offline("bob", "b2", Location(A, 9))
    await node.sees({})
    assert len(node.presence) == 0  # type: ignore[arg-type]


async def test_offline_right_behind_online(node: Presences) -> None:
    answer = asyncio.ensure_future(node.online("b1", Location(A, 1)))
    await asyncio.sleep(0)
    node.presence.offline("bob", "b1", Location(A, 1))
    assert await answer == Swapped(None)
    assert await node.online("b1", Location(A, 2)) == Swapped(None)
    assert await node.where() == {"b1": Location(A, 2)}


async def test_a_lower_try_of_the_same_start_never_replaces_a_higher(node: Presences) -> None:
    assert await node.online("b1", Location(A, 1), rank=Rank(7, 2)) == Swapped(None)
    for _ in range(2):  # before the map knows, and after
        assert await node.online("b1", Location(B, 2), rank=Rank(7, 1)) == Swapped(Location(A, 1), taken=True)
        assert await node.where() == {"b1": Location(A, 1)}
    # Once more the same, and a later try.
    assert await node.online("b1", Location(A, 1), rank=Rank(7, 2)) == Swapped(Location(A, 1))
    assert await node.online("b1", Location(B, 3), rank=Rank(7, 3)) == Swapped(Location(A, 1))
    # Between two starts, or where it is not told, the later counts.
    assert await node.online("b1", Location(A, 4), rank=Rank(8, 1)) == Swapped(Location(B, 3))
    assert await node.online("b1", Location(B, 5)) == Swapped(Location(A, 4))
    assert await node.online("b1", Location(A, 6), rank=Rank(8, 1)) == Swapped(Location(B, 5))
    await node.where()
    node.presence.offline("bob", "b1", Location(A, 6))
    await node.sees({})
    assert await node.online("b1", Location(A, 7), rank=Rank(8, 0)) == Swapped(None)
    node.presence.offline("bob", "b1", Location(A, 7))  # maybe before the map knows it
    await node.sees({})


async def test_again_only_where_nobody_else_is(node: Presences) -> None:
    assert await node.online("b1", Location(A, 1), again=True) == Swapped(None)
    await node.where()
    found = await node.online("b1", Location(A, 1), again=True)
    assert found is not None
    assert not found.taken
    await node.online("b1", Location(B, 2))
    assert await node.online("b1", Location(A, 1), again=True) == Swapped(Location(B, 2), taken=True)
    assert await node.where() == {"b1": Location(B, 2)}


async def test_nobody_comes_under_a_lease_that_does_not_hold(node: Presences) -> None:
    assert await node.online("b1", Location(A, 1), lease=4242) is None
    assert await node.where() == {}


async def test_a_wrong_lease_does_not_harm_the_others_of_the_moment(node: Presences) -> None:
    answers = await asyncio.gather(
        node.online("b1", Location(A, 1), lease=4242),
        node.online("b2", Location(A, 2)),
        node.online("b3", Location(B, 3)),
    )
    assert answers == [None, Swapped(None), Swapped(None)]
    assert await node.where() == {"b2": Location(A, 2), "b3": Location(B, 3)}


async def test_a_lease_that_is_kept_holds_and_one_that_is_not_takes_its_places_along(node: Presences) -> None:
    await node.online("b1", Location(A, 1))
    await node.online("b2", Location(B, 2))
    old = node.leases[B]
    node.falls_silent(B)
    await node.sees({"b1": Location(A, 1)})
    assert await node.online("b2", Location(B, 2)) is None
    await node.beats(B)
    await until(lambda: node.leases[B] != old, "a new lease")
    assert await node.online("b2", Location(B, 2), again=True) == Swapped(None)
    await asyncio.sleep(1.5 * LEASE_S)
    assert await node.where() == {"b1": Location(A, 1), "b2": Location(B, 2)}


async def test_a_location_that_moved_does_not_go_with_the_connector_it_left(node: Presences) -> None:
    await node.online("b1", Location(A, 1))
    await node.online("b2", Location(A, 2))
    await node.online("b1", Location(B, 3))
    node.falls_silent(A)
    await node.sees({"b1": Location(B, 3)})


async def test_the_map_is_newer_than_anything_before_a_barrier(node: Presences) -> None:
    for number in range(1, 100):
        await node.online("b1", Location(A, number))
        assert await node.where() == {"b1": Location(A, number)}


async def test_a_change_is_told_to_every_broker(node: Presences) -> None:
    node.changes.clear()
    assert await node.changed("bob", "alice")
    assert await node.barrier()
    assert {user for users in node.changes for user in users or ()} == {"bob", "alice"}
    assert await node.changed("bob")  # the same once more is news, too
    assert await node.barrier()
    assert sum("bob" in (users or ()) for users in node.changes) == 2


async def test_many_changes_of_one_moment(node: Presences) -> None:
    node.changes.clear()
    answers = await asyncio.gather(*(node.changed(f"user{n}") for n in range(500)))
    assert answers == [True] * 500
    assert await node.barrier()
    assert {user for users in node.changes for user in users or ()} == {f"user{n}" for n in range(500)}
