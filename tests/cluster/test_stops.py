"""SIGTERM under load: every client is told to move, the process ends well and soon, and nothing is lost."""

from __future__ import annotations

import asyncio

import pytest

from protocol.sparrow_pb2 import Goodbye
from tests.cluster.devices import Address, Device
from tests.cluster.people import People
from tests.cluster.processes import Deployment, Process
from tests.cluster.story import start, writing

pytestmark = pytest.mark.slow

STOP_S = 10.0


def told_to_move(devices: list[Device]) -> dict[str, int]:
    return {device.name: sum(one.code == Goodbye.MOVE for one in device.goodbyes) for device in devices}


def at(people: People, address: Address) -> list[Device]:
    """Devices that are logged in there and stay as they are."""
    return [
        device
        for device in people.devices.values()
        if device.at == address and not device.name.startswith(("dave", "erin"))
    ]


async def terminate(process: Process) -> None:
    """It ends well, within seconds."""
    async with asyncio.timeout(STOP_S):
        assert await process.terminate() == 0
    assert f"{process.name} has stopped" in process.log


async def test_a_connector_is_stopped(deployment: Deployment) -> None:
    broker, one, two = deployment.broker(), deployment.connector(), deployment.connector()
    await start(broker, one, two)
    async with writing(deployment, [one, two]) as people:
        for process in (one, two):
            await people.all_online()
            await people.in_the_middle()
            there = at(people, process.address)
            assert there
            before = told_to_move(there)
            await terminate(process)
            assert told_to_move(there) == {name: count + 1 for name, count in before.items()}
            await people.some_sent(100)  # at the other one
            await start(process)


async def test_a_broker_is_stopped(deployment: Deployment) -> None:
    broker, one, two = deployment.broker(), deployment.connector(), deployment.connector()
    await start(broker, one, two)
    async with writing(deployment, [one, two]) as people:
        for _ in range(2):
            await people.in_the_middle()
            await terminate(broker)
            await people.in_the_middle(50)
            broker.start()
            await people.some_sent(100)


async def test_a_node_is_stopped(deployment: Deployment) -> None:
    node = deployment.node()
    await start(node)
    async with writing(deployment, [node]) as people:
        for _ in range(2):
            await people.all_online()
            await people.in_the_middle()
            there = at(people, node.address)
            before = told_to_move(there)
            async with asyncio.timeout(STOP_S):
                assert await node.terminate() == 0
            assert len(there) == 4
            assert told_to_move(there) == {name: count + 1 for name, count in before.items()}
            await people.in_the_middle(20)
            node.start()
            await people.some_sent(100)
