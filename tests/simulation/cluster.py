"""One run: a cluster, its people, its bad luck, and the quiet at the end. Everything from one seed.

Owns the scenario. `run(seed)` is the whole of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from fabric.records import FIRST_UNSEEN_KIND
from protocol.sparrow_pb2 import EDIT, ERASE, READ, TEXT, About
from tests.simulation.checker import Checker
from tests.simulation.faults import Faults
from tests.simulation.groups import GroupStory
from tests.simulation.network import Link
from tests.simulation.nodes import CACHE_S, SimBroker, SimClient, SimConnector
from tests.simulation.pumped import PumpLink
from tests.simulation.services import Database, Etcd
from tests.simulation.signals import SignalStory
from tests.simulation.world import World

QUIET_S = 90.0
SMALL_INBOXES: dict[str, Any] = {
    "inbox_max_rows": 200,
    "inbox_max_bytes": 20000,
    "inbox_max_rows_of_author": 60,
    "inbox_max_bytes_of_author": 6000,
    "inbox_look_s": 1.0,
}


@dataclass
class Result:
    """What came of a seed."""

    seed: int
    failures: list[str]
    trace: list[str]
    messages: int
    sent: int
    late: int
    refused: int
    events: int
    signals: int


class Cluster:
    """All processes of a run and what they share."""

    def __init__(self, world: World, emphasis: tuple[str, ...] = ()) -> None:
        random = world.random
        self.emphasis = emphasis
        """Faults that this run has more of."""
        self.world = world
        self.database = Database()
        self.etcd = Etcd(world)
        apart = "back and dead" in emphasis or "half linked" in emphasis
        self.memory_presence = (random.random() < 0.3 and not apart) or "node" in emphasis
        """One broker, one connector, presence in memory."""
        self.is_node = self.memory_presence and ("node" in emphasis or Random(f"node {world.seed}").random() < 0.7)
        """Both in one process."""
        self.max_unacked = random.choice((4, 16, 256))
        self.store_after_s = random.choice((0.0, 0.2, 0.5, 0.5))
        self.order_wait_s = random.choice((3.0, 10.0))
        self.resend_s = random.choice((0.05, 0.5, 2.0))
        self.active_s = random.uniform(8.0, 45.0)
        # Drawn apart, so that what came later changes no seed of before.
        self.room = Random(f"room {world.seed}")
        small = "small inboxes" in emphasis or self.room.random() < 0.2
        self.inboxes: dict[str, Any] = SMALL_INBOXES if small else {}
        self.blocks = "blocks" in emphasis or self.room.random() < 0.15
        self.full_disk = "full disk" in emphasis or self.room.random() < 0.1
        self.history = Random(f"history {world.seed}")
        self.keeps = "history" in emphasis or self.history.random() < 0.5
        """Conversations are kept."""
        self.groups = Random(f"groups {world.seed}")
        self.database.groups.keeps = self.keeps
        self.has_groups = "groups" in emphasis or self.groups.random() < 0.4
        self.answer_after_s = CACHE_S
        """The user API answers so long after all brokers were told of a change."""
        self.pace = Random(f"pace {world.seed}")
        self.busy_people = "busy people" in emphasis or self.pace.random() < 0.3
        """Their applications are slow to take what comes: acks wait."""
        self.signals = SignalStory(self)
        least = 2 if apart else 1
        brokers, connectors = (1, 1) if self.memory_presence else (random.randint(least, 3), random.randint(least, 3))
        self.brokers = [SimBroker(world, f"broker{n}", self, self._skew()) for n in range(brokers)]
        self.connectors = [SimConnector(world, f"connector{n}", self, self._skew()) for n in range(connectors)]
        kind = PumpLink if self.is_node else Link
        self.links = [kind(world, connector, broker) for connector in self.connectors for broker in self.brokers]
        for link in self.links:
            link.broker.links.append(link)
            link.connector.links[link.broker.name] = link
        for connector in self.connectors:
            names = [broker.name for broker in self.brokers]
            connector.configured = tuple(random.sample(names, 1 if apart else random.randint(1, len(names))))
        self._members: dict[int, tuple[str, float | None]] = {}
        self._lapses: dict[int, int] = {}
        """How often a broker has been missing, this time included."""
        self._lapsed: dict[int, tuple[float, float]] = {}
        """Broker → from when until when it is missing, though it lives."""
        self.clients: list[SimClient] = []
        self.checker = Checker(self)
        self.faults = Faults(self)
        self.story = GroupStory(self)
        self._words = 0
        self._logins = 0
        self._people()
        self._groups()

    def _skew(self) -> float:
        skew = self.world.random.uniform(-30.0, 30.0)
        return 0.0 if "clocks agree" in self.emphasis else skew

    def _people(self) -> None:
        random = self.world.random
        for number in range(random.randint(2, 4)):
            user = f"user{number}"
            self.database.users[user] = {}
            for device in range(random.choice((1, 1, 1, 2, 3))):
                self._add_device(user, f"d{device}", 0.0)

    def _groups(self) -> None:
        users = list(self.database.users)
        for number in range(self.groups.randint(1, 3) if self.has_groups else 0):
            members = self.groups.sample(users, self.groups.randint(1, len(users)))
            self.story.make(number, members)
            if "long away" in self.emphasis or self.groups.random() < 0.1:
                self.story.long_ago(number)

    def _add_device(self, user: str, device: str, usable_from: float) -> SimClient:
        client = SimClient(self.world, user, device, self)
        random = self.world.random
        client.durable = random.random() < 0.8
        client.tells_start = random.random() < 0.8
        client.understands_signals = self.signals.understands()
        client.usable_from = usable_from
        client.slow_s = random.choice((0.0, 0.0, 0.0, 0.3, 2.0))
        client.up_slow_s = 1.0 if "slow upstream" in self.emphasis else random.choice((0.0, 0.0, 0.0, 1.0))
        self.database.users[user][device] = True
        self.database.logins[user, device] = client.login
        self.clients.append(client)
        return client

    def client(self, name: str) -> SimClient:
        return next(client for client in self.clients if client.name == name)

    # Membership: a broker that died is missing from the list when its lease has run out.

    def configure(self, broker: SimBroker) -> None:
        self._members[broker.core.incarnation] = (broker.name, None)
        self._lapsed.pop(broker.core.incarnation, None)
        self.faults.configure(broker)

    def broker_died(self, broker: SimBroker) -> None:
        incarnation = broker.core.incarnation
        since, back = self._lapsed.get(incarnation, (math.inf, math.inf))
        if since <= self.world.now < back:
            del self._members[incarnation]
        else:
            self._members[incarnation] = (broker.name, self.world.now + Etcd.LEASE_S)

    def broker_stops(self, broker: SimBroker, seconds: float, back_s: float | None = None) -> None:
        """One that stands still for longer than its lease is missing until it has announced itself anew."""
        if seconds > Etcd.LEASE_S:
            now = self.world.now
            back = now + seconds + (self.world.random.uniform(0.0, 1.0) if back_s is None else back_s)
            self._lapsed[broker.core.incarnation] = (now + Etcd.LEASE_S, back)
            self.world.at(now + Etcd.LEASE_S, lambda: self._lapse(broker.core.incarnation))

    def _lapse(self, incarnation: int) -> None:
        self._lapses[incarnation] = self._lapses.get(incarnation, 0) + 1

    def member_since(self, broker: SimBroker) -> int:
        """As `Presence.joined` has it."""
        incarnation, now = broker.core.incarnation, self.world.now
        since, back = self._lapsed.get(incarnation, (math.inf, math.inf))
        return 0 if since <= now < back else 1 + self._lapses.get(incarnation, 0)

    def members(self, asking: SimBroker) -> dict[int, str]:
        """As `broker.members.Members` has them: a broker that is not about to leave always names itself."""
        now = self.world.now
        found = {}
        for member, (name, until) in self._members.items():
            since, back = self._lapsed.get(member, (now, now))
            lapsed = since <= now < back and member != asking.core.incarnation
            if not lapsed and (until is None or until > now):
                found[member] = name
        return found

    # The story.

    def play(self) -> None:
        world, random = self.world, self.world.random
        self.database.hiding = frozenset(user for user in self.database.users if self.history.random() < 0.2)
        for process in (*self.brokers, *self.connectors, *self.clients):
            process.start()
        for client in self.clients:
            world.at(random.uniform(0.0, 3.0), lambda client=client: self.come(client))
            for _ in range(random.choice((3, 8, 20))):
                world.at(random.uniform(0.5, self.active_s), lambda client=client: self.write(client))
            for _ in range(random.choice((0, 2, 5))):
                world.at(random.uniform(1.0, self.active_s), lambda client=client: self.come_or_go(client))
        for user in self.database.users if "further devices" in self.emphasis else ():
            world.at(random.uniform(2.0, self.active_s), lambda user=user: self._further_device(user))
        if random.random() < 0.4:
            world.at(random.uniform(2.0, self.active_s), self._further_device)
        if random.random() < 0.4:
            world.at(random.uniform(2.0, self.active_s), lambda: self._remove_device(random.choice(self.clients)))
        if "removed devices" in self.emphasis:
            for client in random.sample(self.clients, len(self.clients) // 2):
                world.at(random.uniform(2.0, self.active_s), lambda client=client: self._remove_device(client))
        if "gone in a cut" in self.emphasis:
            for client in random.sample(self.clients, len(self.clients) // 2):
                world.at(random.uniform(2.0, self.active_s), lambda client=client: self._gone_in_a_cut(client))
        if "gone with a broker" in self.emphasis:
            for client in random.sample(self.clients, len(self.clients) // 2):
                world.at(
                    self.active_s - random.uniform(0.5, 2.0), lambda client=client: self._gone_with_a_broker(client)
                )
        for client in self.clients:
            if random.random() < (0.9 if "end logins" in self.emphasis else 0.1):
                for _ in range(2):
                    world.at(random.uniform(1.0, self.active_s), lambda client=client: self._end_login(client))
        self._plan_groups()
        self._plan_room()
        self._plan_history()
        self._plan_pace()
        self.signals.plan()
        self.faults.plan(self.active_s)
        world.run(self.active_s)
        self.faults.end()
        for client in self.clients:
            client.slow_s = client.up_slow_s = 0.0
            if client.connection is not None:
                client.connection.slow_s = client.connection.up_slow_s = 0.0
            client.start()
            client.event(lambda client=client: client.hold_acks(False))
            self.come(client)
        while world.now < self.active_s + QUIET_S:
            world.run(world.now + 5.0)
            if world.now > self.active_s + 25.0 and self._quiet():
                break
        self.checker.finish()

    def _quiet(self) -> bool:
        if any(connector.core.groups.reading for connector in self.connectors):
            return False
        if self.absent():
            return False
        if any(broker.core.groups.waiting or broker.core.looks.owed for broker in self.brokers):
            return False
        return all(
            client.removed
            or (
                client.core.logged_in
                and not client.core.unsettled
                and not client.core.blocked
                and not self.database.queues.get((client.user, client.device))
            )
            for client in self.clients
        )

    def absent(self) -> list[tuple[str, int]]:
        """(user/device, session) that are in presence and nowhere else."""
        if self.memory_presence:
            known = self.brokers[0].memory.locations
            there = {(user, device): at for user, devices in known.items() for device, at in devices.items()}
        else:
            there = {key: at for key, (at, _) in self.etcd.keys.items()}
        sessions = {(each.core.incarnation, number) for each in self.connectors for number in each.core.sessions}
        return [("/".join(key), at.session) for key, at in there.items() if (at.connector, at.session) not in sessions]

    def come(self, client: SimClient) -> None:
        client.wants = True

    def come_or_go(self, client: SimClient) -> None:
        client.wants = not client.wants
        if not client.wants and client.alive:
            client.event(client._disconnect)

    def write(self, client: SimClient) -> None:
        """A burst of messages, or READ for what was shown."""
        if not client.alive or client.removed or client.usable_from > self.world.now:
            return
        random = self.world.random
        shown = list(self.checker.shown.get(client.name, ()))
        for _ in range(random.choice((1, 1, 2, 5))):
            if shown and random.random() < 0.3:
                author, device, stream, number = random.choice(shown)
                if author != client.user:
                    about = About(from_device=device, stream=stream, ids=[number])
                    mark = client.server_stamp()
                    client.event(
                        lambda author=author, about=about, mark=mark: client.send(author, READ, b"", about, mark=mark)
                    )
                continue
            if self.keeps and self.history.random() < 0.25:
                self._change_or_page(client)
                continue
            dest = random.choice(list(self.database.users)) if random.random() < 0.97 else "nobody"
            if self.has_groups and self.groups.random() < 0.5:
                dest = self.groups.choice(sorted(self.database.groups.groups))
            self._words += 1
            body = b"word %d" % self._words
            kind = TEXT if self._words % 6 else FIRST_UNSEEN_KIND
            client.event(lambda dest=dest, body=body, kind=kind: client.send(dest, kind, body))
        if random.random() < 0.1:  # the same once more, as a client may
            client.event(lambda: client.core._outbox.connected(256, 4096) if client.core.logged_in else None)

    def _change_or_page(self, client: SimClient) -> None:
        """An edit or an erasure of something of this user's, from whichever device of theirs; or a look back."""
        history = self.history
        if history.random() < 0.3:
            peer = history.choice(list(self.database.users))
            client.event(lambda: client.page(peer))
            return
        own = [sent for sent in self.checker.messages.values() if sent.name[0] == client.user and sent.kind != READ]
        if not own:
            return
        sent = history.choice(own[-8:])
        _, device, stream, number = sent.name
        about = About(from_device=device, stream=stream, ids=[number])
        if history.random() < 0.3:
            client.event(lambda: client.send(sent.dest, ERASE, b"", about))
            return
        self._words += 1
        body, revision = b"word %d" % self._words, history.randint(1, 4)
        client.event(lambda: client.send(sent.dest, EDIT, body, about, revision))

    def _further_device(self, user: str | None = None) -> None:
        user = user or self.world.random.choice(list(self.database.users))
        if "d9" in self.database.users[user]:
            return
        client = self._add_device(user, "d9", math.inf)
        self.database.groups.checkpoints[user, "d9"] = self.brokers[0].wall_ms
        self.tell_of(user, lambda: self._hand_out(client))

    def tell_of(self, name: str, then: Callable[[], None] = lambda: None) -> None:
        """What the user API does after a change: ask one broker after another, until one has told all."""
        heard: list[bool] = []

        def answered(told: bool) -> None:
            if told and not heard:
                heard.append(True)
                then()

        def ask() -> None:
            if not heard:
                self.world.random.choice(self.brokers).ask_changed([name], answered)
                self.world.after(1.0, ask)

        ask()

    def _gone_in_a_cut(self, client: SimClient) -> None:
        """It leaves for good while no broker can be told, which takes too short for either end to notice."""
        for link in self.links:
            link.cut(0.3)
        self.world.after(0.1, lambda: self._remove_device(client))

    def _gone_with_a_broker(self, client: SimClient) -> None:
        """It leaves for good, and whichever broker is told dies before it can act on that."""
        self._remove_device(client)

        def kill() -> None:
            for broker in self.brokers:
                broker.kill()
                self.world.after(0.5, broker.start)

        self.world.after(0.001, kill)

    def _hand_out(self, client: SimClient) -> None:
        """Its token, T from now."""
        client.usable_from = self.world.now + CACHE_S
        client.wants = True
        client.start()

    def _end_login(self, client: SimClient) -> None:
        """What the user API does when a device is logged out, or in anew. Whoever has the old token goes on with it."""
        if client.removed or client.usable_from > self.world.now:
            return
        random, key = self.world.random, (client.user, client.device)
        before, self._logins = self.database.logins[key], self._logins + 1
        after = f"l{self._logins}"
        anew = random.random() < 0.5
        if not before:
            return
        self.world.trace(client.name, f"login {before} ends, {'for' if anew else 'then comes'} {after}")
        self.database.logins[key] = after if anew else ""
        self.checker.ended[client.name, before] = None
        self.tell_of(client.user)
        self._close(client, before)

        def log_in() -> None:
            if (client.name, after) not in self.checker.ended:  # it may have ended by now as well
                self.database.logins[key] = client.login = after

        self.world.after(random.choice((0.1, 3.0, 10.0)), log_in)

    def _close(self, client: SimClient, login: str) -> None:
        """Ask one broker after another, until it is confirmed."""

        def answered(confirmed: bool) -> None:
            if confirmed and self.checker.ended[client.name, login] is None:
                self.world.trace(client.name, f"login {login} has ended everywhere")
                self.checker.ended[client.name, login] = self.world.now

        def ask() -> None:
            if self.checker.ended[client.name, login] is None:
                spare = self.database.logins[client.user, client.device]
                self.world.random.choice(self.brokers).ask_close(client.user, client.device, spare, answered)
                self.world.after(1.5, ask)

        ask()

    def _plan_groups(self) -> None:
        """People come and go."""
        many = 60 if "people come and go" in self.emphasis else self.groups.randint(0, 12)
        for _ in range(many if self.has_groups else 0):
            self.world.at(self.groups.uniform(1.0, self.active_s), self.story.something_changes)

    def _plan_room(self) -> None:
        """Blocks, and a disk that is full for a while."""
        world, room = self.world, self.room
        for _ in range(room.randint(1, 3) if self.blocks else 0):
            world.at(room.uniform(2.0, self.active_s), self._block)
        for _ in range(room.randint(1, 3) if self.full_disk else 0):
            begin = room.uniform(1.0, self.active_s)
            world.at(begin, lambda: setattr(self.database, "full", True))
            world.at(begin + room.choice((1.5, 5.0)), lambda: setattr(self.database, "full", False))

    def _plan_history(self) -> None:
        """Clocks that are set wrong for a while."""
        many = 4 if "step clock" in self.emphasis else self.history.choice((0, 0, 1))
        # A node has one clock, and nothing to see by that it is wrong.
        many = 0 if "clocks agree" in self.emphasis or self.is_node else many
        for client in self.clients if "other bodies" in self.emphasis else ():
            for _ in range(20):
                self.world.at(self.history.uniform(1.0, self.active_s), lambda client=client: self._rewrite(client))
        for _ in range(many if self.keeps else 0):
            connector, seconds = self.history.choice(self.connectors), self.history.choice((-200.0, 200.0))
            begin = self.history.uniform(1.0, self.active_s)
            for at, by in ((begin, seconds), (begin + self.history.choice((1.0, 8.0)), -seconds)):
                self.world.at(at, lambda connector=connector, by=by: connector.step_clock(by))

    def _rewrite(self, client: SimClient) -> None:
        """Somebody who means harm repeats what is not SENT yet with other words."""
        for stream in client.core._outbox.streams.values() if client.alive else ():
            for outgoing in stream.messages.values():
                if outgoing.kind == TEXT:
                    self._words += 1
                    outgoing.body = b"word %d" % self._words

    def _plan_pace(self) -> None:
        """Applications that have enough to do for a while, and clients that ask for no more meanwhile."""
        for client in self.clients if self.busy_people else ():
            for _ in range(self.pace.randint(0, 3)):
                begin = self.pace.uniform(0.5, self.active_s)
                for at, hold in ((begin, True), (begin + self.pace.choice((0.5, 3.0, 12.0)), False)):
                    self.world.at(at, lambda client=client, hold=hold: client.event(lambda: client.hold_acks(hold)))

    def _block(self) -> None:
        """What the user API does: first nobody takes any more, then what waits is dropped."""
        author, receiver = self.room.sample(list(self.database.users), 2)
        self.world.trace(receiver, f"blocks {author}")
        self.database.blocked.add((author, receiver))

        def told() -> None:
            self.database.drop_from(receiver, author)
            self.checker.signals.now_apart(author, receiver)

        self.tell_of(receiver, told)
        self.tell_of(author, lambda: self.checker.signals.now_apart(receiver, author))

    def _remove_device(self, client: SimClient) -> None:
        if client.removed:
            return
        self.world.trace(client.name, "is removed")
        client.removed = True
        client.kill()
        self.database.remove_device(client.user, client.device)
        self.tell_of(client.user)
        self.world.after(
            self.world.random.uniform(0.0, 2.0),
            lambda: self.database.move_rows(client.user, client.device, self.brokers[0].wall_ms),
        )
        if self.world.random.random() < 0.5:
            self._further_device(client.user)


def run(seed: int, *, tracing: bool = False, emphasis: tuple[str, ...] = ()) -> Result:
    """Play one seed, with more of some faults: a method of `Faults` in words, or one of its other words."""
    world = World(seed, tracing=tracing)
    cluster = Cluster(world, emphasis)
    cluster.play()
    checker = cluster.checker
    return Result(
        seed,
        checker.failures,
        world.lines,
        len(checker.messages),
        sum(sent.sent_at is not None for sent in checker.messages.values()),
        checker.late,
        checker.refused,
        world.events,
        checker.signals.received,
    )
