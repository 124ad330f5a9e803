"""The rows of the fault table: what breaks, for how long, and how it is made whole again.

Owns the faults. Each leaves the cluster as it found it.
"""

from __future__ import annotations

import asyncio

from tests.cluster.faults.story import Row, Scene

ETCD = ("etcd-1", "etcd-2", "etcd-3")
CONNECTORS = ("connector-1", "connector-2", "connector-3")
BROKERS = ("broker-1", "broker-2")
LAST_ANSWERS_S = 1.0
"""What a store has answered is told by then."""
ROLL_S = 2.0
"""Between two restarts, so that connectors have found a broker again before the next one goes."""


async def nothing(scene: Scene) -> None:
    """For comparison."""
    await scene.fault(unsteady=True)
    await scene.flows(scene.times.link)


async def kill_broker(scene: Scene) -> None:
    """One of two, which stays dead for a while."""
    await scene.fault(brokers=["broker-1"])
    await scene.run("kill", "broker-1")
    await scene.flows(scene.times.dead)
    await scene.run("start")


async def kill_connector(scene: Scene) -> None:
    """One of three. Of its devices one does not come back: its place must vanish with the lease."""
    devices = await scene.fault(connectors=["connector-1"])
    alone = next(name for name in devices if name.endswith("/1"))
    await scene.want(alone, online=False)
    await scene.run("kill", "connector-1")
    gone_s = await scene.presence_is(alone, 0)
    scene.notes.append(f"a place that nobody took again vanished after {gone_s:.1f} s")
    await scene.flows(scene.times.dead)
    await scene.run("start")
    await scene.want(alone, online=True)


async def kill_brokers(scene: Scene) -> None:
    """Both at once."""
    await scene.fault(brokers=BROKERS)
    await scene.each("kill", *BROKERS)
    await asyncio.sleep(scene.times.dead)
    await scene.run("start")


async def kill_connectors(scene: Scene) -> None:
    """All at once."""
    await scene.fault(connectors=CONNECTORS)
    await scene.each("kill", *CONNECTORS)
    await asyncio.sleep(scene.times.dead)
    await scene.run("start")


async def pause_broker(scene: Scene) -> None:
    """It stands still for longer than its lease, and returns."""
    await scene.fault(brokers=["broker-2"])
    await scene.run("pause", "broker-2")
    assert "paused" in (await scene.status("broker-2"))
    await scene.flows(scene.times.pause)
    await scene.run("resume", "broker-2")


async def pause_connector(scene: Scene) -> None:
    """It stands still for longer than its lease, and returns, with sessions whose devices are elsewhere."""
    await scene.fault(connectors=["connector-2"])
    await scene.run("pause", "connector-2")
    assert "paused" in (await scene.status("connector-2"))
    await scene.flows(scene.times.pause)
    await scene.run("resume", "connector-2")


async def kill_leader(scene: Scene) -> None:
    """Of etcd."""
    leader = await scene.leader()
    await scene.fault(unsteady=True)
    await scene.run("kill", leader)
    await scene.flows(scene.times.dead)
    await scene.run("start")


async def stop_etcd(scene: Scene) -> None:
    """All three; who logs in meanwhile is told to try again."""
    await scene.fault(unsteady=True)
    await scene.each("kill", *ETCD)
    await scene.flows(scene.times.outage)
    # Those who come and go may be gone again before brokers have given etcd up.
    await scene.all("come")
    await scene.heard("TRY_AGAIN")
    await scene.run("start")


async def kill_cassandra(scene: Scene) -> None:
    """One node of three."""
    await scene.fault(unsteady=True)
    await scene.run("kill", "cassandra-2")
    await scene.flows(scene.times.outage)
    await scene.run("start")


async def stop_cassandra(scene: Scene) -> None:
    """All nodes. Conversations of people who are online go on, also when what brokers remember has grown old."""
    await scene.fault(unsteady=True)
    await scene.each("kill", *scene.cassandra)
    await _store_is_away(scene)
    await scene.heard("UNAVAILABLE")
    await scene.run("start")
    await _store_is_back(scene)


async def pause_cassandra(scene: Scene) -> None:
    """All nodes stand still, with whatever they have in hand."""
    await scene.fault(unsteady=True)
    await scene.each("pause", *scene.cassandra)
    await _store_is_away(scene)
    await scene.each("resume", *scene.cassandra)
    await _store_is_back(scene)


async def _store_is_away(scene: Scene) -> None:
    """Where conversations are kept nobody is told SENT, and DELIVERED comes at once (H1)."""
    await asyncio.sleep(LAST_ANSWERS_S)
    before = await scene.counts()
    await asyncio.sleep(scene.times.outage / 2)
    await scene.until(lambda now: now["early"] > before["early"], "DELIVERED before SENT")
    await asyncio.sleep(scene.times.outage / 2)
    now = await scene.counts()
    assert now["kept"] == before["kept"], "somebody was told SENT while the store was away"
    scene.notes.append(f"{now['early']:,} × DELIVERED before SENT, at most {now['unsettled']} unsettled of a device")


async def _store_is_back(scene: Scene) -> None:
    """All that was written while it was away is SENT within seconds."""
    to_keep = (await scene.counts())["to_keep"]
    took_s = await scene.until(lambda now: now["kept"] >= to_keep, "SENT of all that waited")
    scene.notes.append(f"as much as was written by then is SENT after {took_s:.1f} s")


async def stop_everything(scene: Scene) -> None:
    """All processes, in order, and all again."""
    await scene.fault(connectors=CONNECTORS, brokers=BROKERS, unsteady=True)
    await scene.run("stop")
    await scene.run("start")


async def rolling_restart(scene: Scene) -> None:
    """An upgrade: every server of ours, one after the other, stopped in order and started again."""
    await scene.fault(connectors=CONNECTORS, brokers=BROKERS, unsteady=True)
    for name in (*BROKERS, *CONNECTORS, "userapi"):
        await scene.run("stop", name)
        await scene.run("start", name)
        await scene.flows(ROLL_S)


async def slow_link(scene: Scene) -> None:
    """100 ms and 5 % loss each way, to connectors, etcd and Cassandra."""
    assert scene.far is not None
    await scene.fault(brokers=["far"])
    scene.far.wire.slow(100, 5)
    await scene.flows(scene.times.link)
    scene.far.wire.mend()


async def cut_from_connectors(scene: Scene) -> None:
    """No packet between a broker and all connectors; etcd and Cassandra it reaches."""
    assert scene.far is not None
    await _cut(scene, [scene.far.port])


async def cut_from_etcd(scene: Scene) -> None:
    """No packet between a broker and etcd."""
    assert scene.far is not None
    await _cut(scene, scene.far.etcd_ports)


async def cut_from_cassandra(scene: Scene) -> None:
    """No packet between a broker and Cassandra."""
    assert scene.far is not None
    await _cut(scene, scene.far.cassandra_ports)


async def _cut(scene: Scene, ports: list[int]) -> None:
    assert scene.far is not None
    await scene.fault(brokers=["far"])
    scene.far.wire.cut(*ports)
    await scene.flows(scene.times.link)
    scene.far.wire.mend()


ROWS = {
    row.name: row
    for row in (
        Row("nothing", "nothing, for comparison", nothing),
        Row("kill-broker", "kill -9 a broker", kill_broker),
        Row("kill-connector", "kill -9 a connector", kill_connector),
        Row("kill-brokers", "kill -9 both brokers", kill_brokers),
        Row("kill-connectors", "kill -9 all connectors", kill_connectors),
        Row("pause-broker", "SIGSTOP a broker, then SIGCONT", pause_broker),
        Row("pause-connector", "SIGSTOP a connector, then SIGCONT", pause_connector),
        Row("kill-leader", "kill -9 etcd's leader", kill_leader),
        Row("stop-etcd", "all etcd away", stop_etcd),
        Row("kill-cassandra", "kill -9 one Cassandra of three", kill_cassandra, cassandra=3),
        Row("stop-cassandra", "all Cassandra away", stop_cassandra),
        Row("pause-cassandra", "SIGSTOP all Cassandra, then SIGCONT", pause_cassandra),
        Row("stop-everything", "everything stopped and started", stop_everything),
        Row("rolling-restart", "rolling restart of all brokers and connectors", rolling_restart),
        Row("slow-link", "broker's links slow: 100 ms, 5 % loss", slow_link, far=True),
        Row("cut-connectors", "broker cut from connectors", cut_from_connectors, far=True),
        Row("cut-etcd", "broker cut from etcd", cut_from_etcd, far=True),
        Row("cut-cassandra", "broker cut from Cassandra", cut_from_cassandra, far=True),
    )
}
"""All of them, by name."""
