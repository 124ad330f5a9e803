"""A cluster that grows, shrinks and is mended, machine by machine, while people write: the steps of docs/operations.md,
"Grow and mend a cluster", in their order. Nothing that was SENT is lost, nothing is shown twice.

Each test goes on with the cluster that the ones before have left, and with people of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.cluster.growing.hosts import Network
from tests.cluster.growing.machines import Machines, Remote, until
from tests.cluster.story import writing
from tests.services.etcd import ensure_etcd

pytestmark = [pytest.mark.slow, pytest.mark.full]

PER_SECOND = 8.0
"""Messages of each device: two cores carry all of the cluster and those who write."""
SOME = 100
"""Messages that are SENT between two steps."""


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Three hosts, each with a member of etcd; Cassandra on the first; two brokers, two connectors, the user API."""
    ensure_etcd()
    with Network(tmp_path_factory.mktemp("hosts")) as network:
        made = Machines(network)
        try:
            asyncio.run(begin(made))
            yield made
        finally:
            made.close()


async def begin(machines: Machines) -> None:
    for name in ("a", "b", "c"):
        await machines.add_member(name, first=("a", "b", "c"))
    await machines.add_node("a")
    await machines.apply_schema("a")
    for role in ("broker", "connector"):
        for name in ("a", "b"):
            await machines.add(role, name)
    await machines.add("userapi", "a")
    await machines.status()


async def linked(machines: Machines, broker: Remote, word: str = "up") -> None:
    """All connectors have noticed."""
    line = f"broker {word}: tcp://{broker.listens}"
    for connector in machines.connectors:
        await until(lambda one=connector: line in one.log_of_life, f"{connector.name} does not say {line}", 60)


async def test_brokers(machines: Machines) -> None:
    async with writing(machines, machines.connectors, PER_SECOND, prefix="b-") as people:
        added = await machines.add("broker", "d")
        await linked(machines, added)
        await machines.status()
        await people.some_sent(SOME)
        gone = machines.of["broker"]["b"]
        await machines.drain("broker", "b")
        await linked(machines, gone, "lost")
        await people.some_sent(SOME)
        await machines.restart("connector", "userapi")  # in whose settings it was: they would look for it for ever
        await linked(machines, added)
        await machines.status()
        await people.some_sent(SOME)


async def test_connectors(machines: Machines) -> None:
    async with writing(machines, machines.connectors, PER_SECOND, prefix="c-") as people:
        await machines.add("connector", "d")
        await machines.restart("userapi")
        machines.told(people)
        await machines.status()
        await people.some_sent(SOME)
        gone = machines.of["connector"].pop("b")
        machines.write()
        await machines.restart("userapi")
        machines.told(people)
        machines.of["connector"]["b"] = gone
        await machines.drain("connector", "b")
        machines.forget(gone.name)
        await machines.status()
        await people.some_sent(SOME)
        assert {device.at for device in people.devices.values()} - {None} <= {
            one.address for one in machines.connectors
        }


async def test_members_of_etcd(machines: Machines) -> None:
    async with writing(machines, machines.connectors, PER_SECOND, prefix="e-") as people:
        await machines.add_member("d")
        machines.write()
        await machines.restart("broker")
        await people.some_sent(SOME)
        await machines.remove_member("b")
        machines.write()
        await machines.restart("broker")
        await machines.status()
        await people.some_sent(SOME)
        # One that does not come back.
        machines.of["etcd"]["c"].kill()
        await people.some_sent(SOME)
        await machines.remove_member("c")
        await machines.add_member("e")
        machines.write()
        await machines.restart("broker")
        await machines.status()
        await people.some_sent(SOME)
        assert sorted(machines.of["etcd"]) == ["a", "d", "e"]


async def test_nodes_of_cassandra(machines: Machines) -> None:
    async with writing(machines, machines.connectors, PER_SECOND, prefix="n-") as people:
        # From one to three, with as many replicas.
        for replicas, name in ((2, "b"), (3, "c")):
            await machines.add_node(name)
            await people.some_sent(SOME)
            await machines.raise_replicas(replicas)
            await people.some_sent(SOME)
        await machines.add_node("d")
        await machines.on_each("cleanup", "sparrow")
        await people.some_sent(SOME)
        await machines.decommission("b")
        machines.write()
        await machines.restart("broker", "userapi")
        await machines.status()
        await people.some_sent(SOME)
        # One that does not come back.
        machines.of["cassandra"]["c"].kill()
        await people.some_sent(SOME)
        await machines.add_node("e", replaces="c")
        await machines.on_each("repair", "--full", "sparrow")
        machines.write()
        await machines.restart("broker", "userapi")
        await machines.status()
        await people.some_sent(SOME)
        assert sorted(machines.of["cassandra"]) == ["a", "d", "e"]
