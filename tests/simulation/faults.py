"""Bad luck: crashes, pauses, cut links, slow and failing services. When it ends, it ends for good.

Owns which faults a run has. Some runs have none, most have several at once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.nodes import SimBroker
    from tests.simulation.world import Process


class Faults:
    """The faults of one run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._over = False
        self._emphasis = cluster.emphasis
        random = cluster.world.random
        self._store_trouble = random.choice((0.0, 0.0, 0.05, 0.3))
        self._store_slow_s = random.choice((0.02, 0.02, 0.5, 3.0))
        self._etcd_trouble = random.choice((0.0, 0.0, 0.05, 0.3))
        self._watch_delay_s = random.choice((0.02, 0.02, 1.0, 6.0))
        if "slow store" in self._emphasis:
            self._store_slow_s = 3.0
        if "failing store" in self._emphasis:
            self._store_trouble = 0.3
        if "late watch" in self._emphasis:
            self._watch_delay_s = 6.0

    def configure(self, broker: SimBroker) -> None:
        """Set up the services as a broker's life sees them."""
        over = self._over
        broker.store.trouble = 0.0 if over else self._store_trouble
        broker.store.slow_s = 0.02 if over else self._store_slow_s
        if not self._cluster.memory_presence:
            broker.presence.trouble = 0.0 if over else self._etcd_trouble
            broker.presence.watch_delay_s = 0.02 if over else self._watch_delay_s

    def plan(self, until: float) -> None:
        """Decide what happens when."""
        random = self._cluster.world.random
        kinds: list[Callable[[], None]] = [
            self._kill_broker,
            self._kill_connector,
            self._kill_client,
            self._kill_node,
            self._stop_process,
            self._back_and_dead,
            self._stop_connector,
            self._cut_link,
            self._cut_connection,
            self._cut_connection,
            self._store_away,
            self._etcd_away,
            self._back_up_client,
            self._compact_history,
            self._lose_lease,
        ]
        chosen = random.sample(kinds, random.randint(0, len(kinds)))
        for kind in kinds:
            if kind.__name__.strip("_").replace("_", " ") in self._emphasis:
                chosen += [kind] * 4
                # Late, so that no later trouble or traffic hides what it did.
                for _ in range(3):
                    self._cluster.world.at(random.uniform(until - 1.0, until), kind)
        for kind in chosen:
            for _ in range(random.choice((1, 1, 3))):
                self._cluster.world.at(random.uniform(1.0, until), kind)
        if self._cluster.has_groups:
            self._plan_groups(until)

    def _plan_groups(self, until: float) -> None:
        groups = self._cluster.groups
        many = 10 if "stop under way" in self._emphasis else groups.choice((0, 0, 1))
        for _ in range(many):
            self._cluster.world.at(groups.uniform(1.0, until), self._stop_under_way)
        for _ in range(8 if "brief cuts" in self._emphasis else groups.choice((0, 0, 0, 2))):
            # Late: the next message of the same author would show that this one is missing.
            self._cluster.world.at(groups.uniform(until - 2.0, until), self._brief_cut)
        if "half linked" in self._emphasis or groups.random() < 0.2:
            # Once, and late: what another broker's end makes everybody read would hide what it did.
            self._cluster.world.at(max(1.0, until - groups.uniform(5.0, 8.0)), self._half_linked)

    def end(self) -> None:
        """All is well again: everything is started, healed and quick."""
        self._over = True
        cluster = self._cluster
        cluster.database.away = cluster.etcd.away = cluster.database.full = False
        for link in cluster.links:
            link.heal()
        for process in (*cluster.brokers, *cluster.connectors):
            process.start()
        for broker in cluster.brokers:
            self.configure(broker)

    def _restart(self, process: Process) -> None:
        """Killed now, and back after a while."""
        process.kill()
        delay = self._cluster.world.random.choice((0.05, 0.5, 5.0))
        self._cluster.world.after(delay, process.start)

    def _kill_broker(self) -> None:
        self._restart(self._cluster.world.random.choice(self._cluster.brokers))

    def _kill_connector(self) -> None:
        self._restart(self._cluster.world.random.choice(self._cluster.connectors))

    def _kill_client(self) -> None:
        client = self._cluster.world.random.choice(self._cluster.clients)
        if not client.removed:
            self._restart(client)

    def _back_up_client(self) -> None:
        """A phone is backed up now, goes on, and is restored later."""
        world = self._cluster.world
        client = world.random.choice(self._cluster.clients)
        if client.durable and not client.removed:
            backup = copy.deepcopy(client.journal)
            world.after(world.random.uniform(0.5, 10.0), lambda: None if client.removed else client.restore(backup))

    def _kill_node(self) -> None:
        """All server processes at once, as in a power cut, or the one-process node's end."""
        for process in (*self._cluster.brokers, *self._cluster.connectors):
            self._restart(process)

    def _stop_process(self) -> None:
        random = self._cluster.world.random
        process = random.choice((*self._cluster.brokers, *self._cluster.connectors, *self._cluster.clients))
        process.stop(random.choice((0.3, 2.0, 6.0, 15.0)))

    def _back_and_dead(self) -> None:
        """A broker stands still for longer than its lease, is used again by those who know it, and dies at once."""
        cluster, world = self._cluster, self._cluster.world
        broker = world.random.choice(cluster.brokers)
        seconds = world.random.choice((0.5, 4.0, 4.0, 8.0))
        broker.stop(seconds)
        for client in cluster.clients:
            world.after(seconds + world.random.uniform(0.0, 0.3), lambda client=client: cluster.write(client))  # type: ignore[misc]
        world.after(seconds + world.random.uniform(0.1, 0.8), lambda: self._restart(broker))

    def _stop_under_way(self, tries: int = 50) -> None:
        """A broker stands still between the append of a group's message and what follows, and people go meanwhile."""
        cluster, world = self._cluster, self._cluster.world
        busy = [broker for broker in cluster.brokers if broker.alive and broker.core.groups.waiting]
        if not busy:
            if tries and not self._over:
                world.after(0.02, lambda: self._stop_under_way(tries - 1))
            return
        cluster.groups.choice(busy).stop(cluster.groups.choice((2.5, 4.0, 8.0)))
        for _ in range(4):
            cluster.story.something_changes()

    def _half_linked(self) -> None:
        """A broker stands still for longer than its lease, is used again by those who know it while others cannot reach
        it, and dies."""
        cluster, groups, world = self._cluster, self._cluster.groups, self._cluster.world
        broker, seconds = groups.choice(cluster.brokers), groups.choice((4.0, 5.0))
        broker.stop(seconds, back_s=1.0)
        for link in groups.sample(broker.links, len(broker.links) - 1):
            world.after(seconds - 0.1, lambda link=link: link.cut(8.0))  # type: ignore[misc]
        for client in cluster.clients * 3:
            world.after(seconds + groups.uniform(0.0, 0.3), lambda client=client: cluster.write(client))  # type: ignore[misc]
        world.after(seconds + groups.uniform(0.05, 0.5), lambda: self._restart(broker))

    def _stop_connector(self) -> None:
        """With Logins in its sockets: clients that have come meanwhile give up, and go elsewhere."""
        random = self._cluster.world.random
        random.choice(self._cluster.connectors).stop(random.choice((0.6, 3.0, 8.0, 15.0)))

    def _cut_link(self) -> None:
        random = self._cluster.world.random
        random.choice(self._cluster.links).cut(random.choice((0.0, 0.5, 3.0, 8.0)))

    def _brief_cut(self) -> None:
        """Too short for either end to notice."""
        cluster, groups = self._cluster, self._cluster.groups
        groups.choice(cluster.links).cut(groups.choice((0.0, 0.1, 0.3)))
        cluster.write(groups.choice(cluster.clients))

    def _cut_connection(self) -> None:
        connected = [client for client in self._cluster.clients if client.connection is not None]
        if connected:
            client = self._cluster.world.random.choice(connected)
            if client.connection is not None:
                client.connection.cut()

    def _store_away(self) -> None:
        self._away(self._cluster.database)

    def _etcd_away(self) -> None:
        self._away(self._cluster.etcd)

    def _compact_history(self) -> None:
        """A broker's watch breaks, and cannot go on where it was."""
        if not self._cluster.memory_presence:
            random = self._cluster.world.random
            random.choice(self._cluster.brokers).presence.lose_location(random.choice((0.01, 1.0, 5.0)))

    def _lose_lease(self) -> None:
        """etcd forgets a connector that is well."""
        leases = self._cluster.etcd.leases
        if leases and not self._cluster.memory_presence:
            self._cluster.etcd.revoke(self._cluster.world.random.choice(leases))

    def _away(self, service: object) -> None:
        service.away = True  # type: ignore[attr-defined]
        self._cluster.world.after(
            self._cluster.world.random.choice((0.5, 3.0, 8.0)), lambda: setattr(service, "away", False)
        )
