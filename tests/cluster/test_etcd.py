"""Several broker processes over a real etcd, under traffic: they come, leave and die, and so does etcd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.cluster.people import People
from tests.cluster.processes import GUARD_S, Deployment, Process
from tests.cluster.story import start, writing
from tests.services.etcd import EtcdCluster

pytestmark = pytest.mark.slow

LEASE_S = 3.0


@pytest.fixture
def etcd(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EtcdCluster]:
    """As many members as the test's parameter says, else one."""
    with EtcdCluster(tmp_path / "etcd", members=getattr(request, "param", 1)) as cluster:
        yield cluster


@pytest.fixture
async def deployment(tmp_path: Path, etcd: EtcdCluster) -> AsyncIterator[Deployment]:
    """Brokers share the etcd; connectors are told of one broker."""
    await etcd.healthy()
    with Deployment(
        tmp_path, broker__presence="etcd", etcd__endpoints=",".join(etcd.urls), broker__lease_s=LEASE_S
    ) as made:
        yield made
        assert "Traceback" not in made.logs
        assert "this is a bug" not in made.logs


async def says(process: Process, line: str, times: int = 1) -> None:
    """Return when its log has the line so many times."""
    async with asyncio.timeout(GUARD_S):
        while process.log.count(line) < times:
            await asyncio.sleep(0.05)


async def test_brokers_join_and_leave_under_traffic(deployment: Deployment) -> None:
    first, one, two = deployment.broker(), deployment.connector(), deployment.connector()
    await start(first, one, two)
    async with writing(deployment, [one, two]) as people:
        second, third = deployment.further_broker(), deployment.further_broker()
        for number, broker in enumerate((second, third), 1):
            await start(broker)
            for connector in (one, two):
                await says(connector, f"broker up: tcp://127.0.0.1:{broker.port}")
                assert connector.log.count("broker joined") == number
            await people.some_sent(200)
        assert await second.terminate() == 0
        for connector in (one, two):
            await says(connector, f"broker left: tcp://127.0.0.1:{second.port}")
        await people.some_sent(200)
        assert await first.terminate() == 0  # the one that they were told of
        await people.some_sent(200)
        assert await third.terminate() == 0
        await start(first)
        await people.some_sent(200)


@pytest.mark.full
async def test_one_of_two_brokers_is_killed_again_and_again(deployment: Deployment) -> None:
    first, second = deployment.broker(), deployment.further_broker()
    one, two = deployment.connector(), deployment.connector()
    await start(first, second, one, two)
    async with writing(deployment, [one, two]) as people:
        for connector in (one, two):
            await says(connector, f"broker up: tcp://127.0.0.1:{second.port}")
        for broker in (second, first, second):
            await people.in_the_middle()
            up = f"broker up: tcp://127.0.0.1:{broker.port}"
            before = {connector: connector.log.count(up) for connector in (one, two)}
            broker.kill()
            await people.some_sent(100)  # through the other
            broker.start()
            for connector, times in before.items():  # which are told of it by the other: the next to die
                await says(connector, up, times + 1)
            await people.some_sent(100)


async def test_a_connector_is_killed_and_its_places_go_with_its_lease(deployment: Deployment) -> None:
    first, second = deployment.broker(), deployment.further_broker()
    one, two = deployment.connector(), deployment.connector()
    await start(first, second, one, two)
    async with writing(deployment, [one, two]) as people:
        for _ in range(2):
            await people.in_the_middle()
            one.kill()
            await people.some_sent(200)
            await start(one)


async def restarted(people: People, etcd: EtcdCluster) -> None:
    """Away for longer than leases last."""
    etcd.stop()
    await asyncio.sleep(1.3 * LEASE_S)
    etcd.start()
    await etcd.healthy()
    await people.some_sent(200)


@pytest.mark.full  # the row "stop-etcd" of the faults does so, too
async def test_etcd_is_stopped_and_started(deployment: Deployment, etcd: EtcdCluster) -> None:
    first, second = deployment.broker(), deployment.further_broker()
    one, two = deployment.connector(), deployment.connector()
    await start(first, second, one, two)
    async with writing(deployment, [one, two]) as people:
        await people.in_the_middle()
        await restarted(people, etcd)


@pytest.mark.parametrize("etcd", [3], indirect=True)
async def test_etcds_leader_is_killed(deployment: Deployment, etcd: EtcdCluster) -> None:
    first, second = deployment.broker(), deployment.further_broker()
    one, two = deployment.connector(), deployment.connector()
    await start(first, second, one, two)
    async with writing(deployment, [one, two]) as people:
        for _ in range(2):
            await people.in_the_middle()
            etcd.leader.kill()
            await people.some_sent(200)
            etcd.start()
            await etcd.healthy()


async def test_a_broker_waits_for_etcd_and_can_be_stopped_meanwhile(deployment: Deployment, etcd: EtcdCluster) -> None:
    etcd.stop()
    broker = deployment.broker()
    broker.start()
    await says(broker, "trying again")
    assert etcd.urls[0] in broker.log
    assert await broker.terminate() == 0
    broker.start()
    await says(broker, "trying again", times=2)
    etcd.start()
    await broker.up()


async def test_a_broker_whose_user_etcd_refuses_ends_with_one_line(deployment: Deployment, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret")
    broker = deployment.further_broker(
        SPARROW_ETCD__USER="sparrow", SPARROW_ETCD__PASSWORD_FILE=str(tmp_path / "password")
    )
    broker.start()
    async with asyncio.timeout(GUARD_S):
        assert await broker.ended() == 2
    assert "sparrow: etcd asks for no user: leave etcd.user empty" in broker.log
