"""A node's data go to Cassandra while people write, and the tool, the node and its last step are killed on the way."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import sys
import time
from collections.abc import Iterator

import pytest

from store.settings import StoreSettings
from tests.cluster.processes import GUARD_S, Deployment, Process
from tests.cluster.story import start, writing
from tests.services.cassandra import shared

pytestmark = [pytest.mark.slow, pytest.mark.full]

KILLS = 5
"""Of the tool, before it may end."""


@pytest.fixture(scope="module")
def keyspace() -> Iterator[StoreSettings]:
    """A keyspace that is not there yet; dropped in the end."""
    from store.cassandra.connecting import connect

    point, use = shared()
    name = f"moved_{random.getrandbits(40):x}"
    settings = StoreSettings(
        cassandra_contact_points=(point,), cassandra_keyspace=name, cassandra_request_timeout_s=25.0
    )
    yield settings
    with connect(settings) as connection:
        connection.execute(f"DROP KEYSPACE IF EXISTS {name}")
    use.close()


@pytest.fixture
def deployed(keyspace: StoreSettings) -> dict[str, object]:
    """Where to, while the engine is SQLite."""
    return {
        "store__cassandra_contact_points": ",".join(keyspace.cassandra_contact_points),
        "store__cassandra_keyspace": keyspace.cassandra_keyspace,
        "store__cassandra_request_timeout_s": 25.0,
    }


async def tool(deployment: Deployment, *arguments: str, lives_s: float = GUARD_S) -> tuple[int, str]:
    """`sparrow migrate`, killed after so long: status (negative: killed) and what it has said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "sparrow.cli", "migrate", "--to", "cassandra", *arguments),
        env=deployment.environment,
        cwd=deployment.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(lives_s):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def killed_until_done(deployment: Deployment, *arguments: str, lives_s: float) -> str:
    """Killed again and again, and a little later each time, until it has ended well; what it said then."""
    kills = 0
    while True:
        status, said = await tool(deployment, *arguments, lives_s=GUARD_S if kills == KILLS else lives_s)
        assert status in (0, -9), said
        assert "Traceback" not in said
        if status == 0:
            print(f"migrate {' '.join(arguments)}: killed {kills} times\n{said}")
            return said
        kills += 1
        lives_s *= 1.5


async def test_nothing_is_lost_and_nobody_logs_in_anew(deployment: Deployment, keyspace: StoreSettings) -> None:
    node = deployment.node()
    await start(node)
    async with writing(deployment, [node]) as people:
        said = await killed_until_done(deployment, lives_s=1.0)
        assert "Cassandra has all of it" in said
        await people.some_sent(100)

        # Nothing has been given away yet.
        status, said = await tool(deployment, "--finish")
        assert (status, "is in use already" in said) == (2, True), said

        began = time.monotonic()
        assert await node.terminate() == 0
        said = await killed_until_done(deployment, "--finish", lives_s=0.8)
        assert "Done" in said
        await _refused_with_sqlite(node)
        deployment.use_store(dataclasses.replace(keyspace, engine="cassandra"))
        await start(node)
        print(f"stopped for {time.monotonic() - began:.1f} s, with {KILLS} kills at most")
        await people.some_sent(200)
        node.kill()
        await start(node)


async def _refused_with_sqlite(node: Process) -> None:
    """Whoever forgets the setting is told."""
    node.start()
    assert await node.ended() == 2
    assert 'was moved to Cassandra by sparrow migrate: set store.engine = "cassandra"' in node.log_of_life
