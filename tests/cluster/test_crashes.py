"""kill -9 of real processes while messages flow: nothing SENT is lost, shown twice or out of order."""

from __future__ import annotations

import pytest

from tests.cluster.people import People
from tests.cluster.processes import Deployment, Process
from tests.cluster.story import start, writing

pytestmark = pytest.mark.slow

KILLS = 2


async def kill_again_and_again(people: People, process: Process) -> None:
    """In the middle of things; the next life begins a moment later."""
    for _ in range(KILLS):
        await people.in_the_middle()
        process.kill()
        await people.in_the_middle(20)
        process.start()
        await people.some_sent(100)


async def test_a_broker_is_killed(deployment: Deployment) -> None:
    broker, one, two = deployment.broker(), deployment.connector(), deployment.connector()
    await start(broker, one, two)
    async with writing(deployment, [one, two]) as people:
        await kill_again_and_again(people, broker)


async def test_a_connector_is_killed(deployment: Deployment) -> None:
    broker, one, two = deployment.broker(), deployment.connector(), deployment.connector()
    await start(broker, one, two)
    async with writing(deployment, [one, two]) as people:
        await kill_again_and_again(people, one)


async def test_everything_is_killed_at_once(deployment: Deployment) -> None:
    broker, one, two = deployment.broker(), deployment.connector(), deployment.connector()
    await start(broker, one, two)
    async with writing(deployment, [one, two]) as people:
        for _ in range(KILLS):
            await people.in_the_middle()
            for process in (broker, one, two):
                process.kill()
            await people.in_the_middle(20)
            for process in (two, one, broker):
                process.start()
            await people.some_sent(100)


async def test_a_node_is_killed(deployment: Deployment) -> None:
    node = deployment.node()
    await start(node)
    async with writing(deployment, [node]) as people:
        await kill_again_and_again(people, node)
