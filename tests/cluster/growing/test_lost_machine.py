"""One of three machines is gone for good, with all that ran there, and another takes its place, while people write:
docs/operations.md, "A machine that is gone". Nothing that was SENT is lost, nothing is shown twice.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cluster.growing.hosts import Network
from tests.cluster.growing.machines import Machines
from tests.cluster.story import writing
from tests.services.etcd import ensure_etcd

pytestmark = [pytest.mark.slow, pytest.mark.full]

MACHINES = ("a", "b", "c")
PER_SECOND = 8.0
"""Messages of each device: two cores carry all of the cluster and those who write."""
SOME = 100
"""Messages that are SENT between two steps."""


async def begin(machines: Machines) -> None:
    """Each with a member of etcd, a node of Cassandra with all data, a broker and a connector; the user API on one."""
    for name in MACHINES:
        await machines.add_member(name, first=MACHINES)
    machines.replicas = len(MACHINES)
    await machines.first_nodes(*MACHINES)
    await machines.apply_schema("a")
    for role in ("broker", "connector"):
        for name in MACHINES:
            await machines.add(role, name)
    await machines.add("userapi", "a")
    await machines.status()


async def test_another_takes_its_place(tmp_path: Path) -> None:
    ensure_etcd()
    (tmp_path / "hosts").mkdir()
    with Network(tmp_path / "hosts") as network:
        machines = Machines(network)
        try:
            await begin(machines)
            await lose_and_replace(machines)
        finally:
            machines.close()


async def lose_and_replace(machines: Machines) -> None:
    async with writing(machines, machines.connectors, PER_SECOND) as people:
        await asyncio.to_thread(machines.hosts["c"].die)
        await people.some_sent(SOME)
        await machines.remove_member("c")
        await machines.add_member("d")
        await machines.add_node("d", replaces="c")
        await machines.on_each("repair", "--full", "sparrow")
        for role in ("broker", "connector"):
            del machines.of[role]["c"]
        machines.forget("connector-c")
        for role in ("broker", "connector"):
            await machines.add(role, "d")
        await machines.restart("broker", "connector", "userapi")
        machines.told(people)
        await machines.status()
        await people.some_sent(SOME)
