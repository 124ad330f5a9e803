"""SIGSTOP and SIGCONT of real processes while messages flow: what stood still goes on, and nothing is amiss."""

from __future__ import annotations

import asyncio

import pytest

from tests.cluster.processes import Deployment
from tests.cluster.story import start, writing

pytestmark = pytest.mark.slow

SHORT_S, LONG_S = 5.0, 8.0
"""A lease lasts 5 s: after the longer pause a connector's sessions have been forgotten."""


@pytest.mark.parametrize(
    ("pause_s", "patient"), [(SHORT_S, False), (SHORT_S, True), (LONG_S, True)], ids=["moving", "waiting", "forgotten"]
)
async def test_a_connector_stands_still(deployment: Deployment, pause_s: float, patient: bool) -> None:
    broker, one, two = deployment.broker(), deployment.connector(), deployment.connector()
    await start(broker, one, two)
    async with writing(deployment, [one, two], patient=patient) as people:
        assert {device.at for device in people.devices.values() if device.at} == {one.address, two.address}
        await people.in_the_middle()
        one.pause()
        await asyncio.gather(asyncio.sleep(pause_s), people.some_sent(20))
        one.resume()
        await people.some_sent(100)


async def test_a_broker_stands_still(deployment: Deployment) -> None:
    broker, one, two = deployment.broker(), deployment.connector(), deployment.connector()
    await start(broker, one, two)
    async with writing(deployment, [one, two]) as people:
        await people.in_the_middle()
        broker.pause()
        await asyncio.gather(asyncio.sleep(LONG_S), people.in_the_middle(50))
        broker.resume()
        await people.some_sent(100)


async def test_a_node_stands_still(deployment: Deployment) -> None:
    node = deployment.node()
    await start(node)
    async with writing(deployment, [node]) as people:
        await people.in_the_middle()
        node.pause()
        await asyncio.gather(asyncio.sleep(SHORT_S), people.in_the_middle(50))
        node.resume()
        await people.some_sent(100)
