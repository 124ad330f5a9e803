"""Changes of what the store keeps, told through etcd while etcd misbehaves."""

from __future__ import annotations

import asyncio
from pathlib import Path

from broker.cluster import Together
from broker.etcd import Etcd
from broker.etcd import api_pb2 as api
from broker.etcd.client import RANGE, REVOKE
from broker.settings import EtcdSettings
from tests.broker.presences import COMPACT, A, Presences, presence, until
from tests.services.etcd import EtcdCluster


def together(node: Presences) -> Together:
    """Its cluster."""
    assert isinstance(node.cluster, Together)
    return node.cluster


async def test_one_broker_tells_and_the_other_hears_before_a_barrier_passes(etcd_settings: EtcdSettings) -> None:
    async with presence(etcd_settings) as one, presence(etcd_settings) as two:
        two.changes.clear()
        for number in range(20):
            assert await one.changed(f"user{number}")
            assert await two.barrier()
            assert two.changes[-1] == (f"user{number}",)


async def test_after_a_compaction_anybody_may_have_changed(etcd_settings: EtcdSettings) -> None:
    async with presence(etcd_settings) as one, presence(etcd_settings) as two:
        following = together(two)._following
        assert following is not None
        following.cancel()
        for user in ("bob", "carol", "dave"):
            assert await one.changed(user)
        assert await one.barrier()
        client = Etcd(etcd_settings)
        revision = (await client.call(RANGE, api.RangeRequest(key=b"x"))).header.revision
        await client.call(COMPACT, api.CompactionRequest(revision=revision))
        await client.close()
        two.changes.clear()
        together(two)._following = asyncio.create_task(together(two)._mirror.run())
        await until(lambda: None in two.changes, "everything to be read again")


async def test_changes_hang_on_a_lease_and_outlive_its_loss(etcd_settings: EtcdSettings) -> None:
    async with presence(etcd_settings, A) as one:
        assert await one.changed("bob")
        client = Etcd(etcd_settings)
        key = etcd_settings.prefix.encode() + b"changed/bob"
        lease = (await client.call(RANGE, api.RangeRequest(key=key))).kvs[0].lease
        assert lease
        await client.call(REVOKE, api.LeaseRevokeRequest(id=lease))
        assert await one.changed("bob")
        found = (await client.call(RANGE, api.RangeRequest(key=key))).kvs[0].lease
        assert found not in (0, lease)
        await client.close()


async def test_while_etcd_is_away_a_change_cannot_be_told(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path) as etcd:
        settings = etcd.settings(try_timeout_s=0.5, call_timeout_s=1.0)
        async with presence(settings, A) as one:
            etcd.stop()
            assert not await one.changed("bob")
            etcd.start()
            etcd.wait_healthy()
            assert await one.changed("bob")
