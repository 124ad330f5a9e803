"""`sparrow load groups`: against real servers, and a server that fails one member of a group alone."""

from __future__ import annotations

import argparse
import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from client.acks import MOST_FRAMES, WAIT_S
from client.connection import Address, parse_address
from load import add_arguments, options_of, run_against
from load.conductor import Conductor
from load.crew import share
from load.groups import GroupCrowd
from load.ledger import Verdict
from load.report import Report
from load.scenarios import groups
from load.spawn import Spawned
from load.spec import Account, Options, Spec
from load.streams import Group
from load.traffic import Day
from load.wire import read_message
from protocol.errors import ConfigError
from protocol.sparrow_pb2 import TEXT, Frame, Login, Message
from tests.load.exchange import Exchange
from tests.load.test_scenarios import GUARD_S, Somewhere
from tests.sparrow.serving import FakeServer, FakeSession

SHORT = Options("groups", seconds=0.6, warm_up_s=0.1, groups=3, members=6, online=4, in_flight=4, latecomers=4)


def whole(report: Report) -> Report:
    """Everybody was shown everything."""
    assert report.promise == Verdict()
    assert report.errors == {}
    counters, figures = report.counters, report.figures
    assert counters["sent"] == counters["sent_acks"] == counters["sent_acks_of_groups"] > 0
    # Three others who are there; and in some groups one or two who come behind it.
    assert counters["received"] == counters["due"] > 3 * counters["sent"]
    assert figures["delivered"] > figures["texts"] > 0
    assert figures["server_cpu_us_per_text"] > figures["server_cpu_us_per_message"] > 0
    assert report.latency_ms["one_way"]["count"] == figures["delivered"]
    assert report.latency_ms["to_sent"]["count"] > 0
    assert (figures["latecomers"], figures["online_at_end"]) == (4, 16)
    assert figures["catch_up_cpu_us_per_message"] > 0
    return report


def test_a_node(spawned: Spawned) -> None:
    report = whole(run_against(spawned, SHORT, quiet=True))
    assert report.title == "groups (groups 3, members 6, online 4, in flight 4, writers 2)"


def test_again_in_two_processes(spawned: Spawned) -> None:
    whole(run_against(spawned, replace(SHORT, processes=2), quiet=True))


def test_nobody_but_the_author_is_there(spawned: Spawned) -> None:
    report = run_against(spawned, replace(SHORT, online=1, latecomers=0), quiet=True)
    assert report.promise == Verdict()
    assert report.counters["received"] == report.figures["delivered"] == 0
    assert report.figures["server_cpu_us_per_message"] is None
    assert report.figures["server_cpu_us_per_text"] > 0
    assert report.figures["online_at_end"] == 3


def test_a_cluster_where_all_are_there() -> None:
    with Spawned("cluster") as servers:
        report = run_against(servers, replace(SHORT, online=0), quiet=True)
        assert report.promise == Verdict()
        assert report.counters["received"] == 5 * report.counters["sent"] > 0
        assert "latecomers" not in report.figures
        assert "Traceback" not in servers.log()


# What was chosen.


def chosen(*words: str) -> Options:
    commands = argparse.ArgumentParser()
    add_arguments(commands)
    return options_of(commands.parse_args(words))


def test_the_command_line() -> None:
    options = chosen("groups")
    assert (options.groups, options.members, options.online, options.in_flight) == (50, 10, 0, 32)
    assert chosen("groups", "--online", "0", "--in-flight", "1").in_flight == 1
    assert chosen("mixed").groups == 10
    assert chosen("mixed", "--groups", "0").groups == 0
    with pytest.raises(ConfigError, match="there are 10 members"):
        chosen("groups", "--online", "11")
    with pytest.raises(ConfigError, match="at most 1000"):
        chosen("groups", "--members", "1001")
    with pytest.raises(SystemExit):
        chosen("groups", "--groups", "0")


@pytest.mark.parametrize(("count", "processes"), [(5, 2), (2, 3), (7, 1)])
def test_processes_get_whole_groups(count: int, processes: int) -> None:
    options = replace(SHORT, groups=count, processes=processes)
    accounts = [Account(f"user{n}", "load", "") for n in range(count * 6)]
    specs = share(options, Somewhere(Address("127.0.0.1", 1)), accounts, [])
    assert [account for spec in specs for account in spec.accounts] == accounts
    assert [len(spec.accounts) % 6 for spec in specs] == [0] * len(specs)
    assert sum(spec.options.latecomers for spec in specs) == 4


async def test_who_is_there_and_who_comes_late() -> None:
    accounts = [Account(f"user{n}", "load", "") for n in range(18)]
    crowd = GroupCrowd(Spec(SHORT, accounts, [Address("127.0.0.1", 1)]))
    assert [person.user for person in crowd.people[:5]] == ["user0", "user1", "user2", "user3", "user6"]
    assert len(crowd.people) == 12
    assert await crowd.size() == {"count": 18}
    await crowd.close()


async def test_a_server_without_groups_says_so() -> None:
    with pytest.raises(ConfigError, match="has no groups"):
        await Conductor(SHORT, Somewhere(Address("127.0.0.1", 1))).run(groups)


def test_a_day_with_groups() -> None:
    inside = [[0, 1, 2, 3], [3, 4, 5]]
    texts = list(Day(20, 50.0, 0.0, random.Random(3), inside).due(200.0))
    to_groups = [(me, dest - 20) for _, me, dest in texts if dest >= 20]
    assert {group for _, group in to_groups} == {0, 1}
    assert all(me in inside[group] for me, group in to_groups)
    mine = [dest >= 20 for _, me, dest in texts if me < 6]
    assert sum(mine) / len(mine) == pytest.approx(0.2, abs=0.06)


# One client, in memory.


def members(exchange: Exchange, *users: str) -> list[Any]:
    group = exchange.world.groups["~g"] = Group("~g", frozenset(users))
    people = [exchange.person(user) for user in users]
    exchange.rule = lambda message: [message.SerializeToString()]
    assert group.members == set(users)
    return people


def comes(exchange: Exchange, user: str, message: Message) -> None:
    exchange.links[user].wire.message(message.SerializeToString())
    exchange.settle()


def acked(exchange: Exchange, user: str) -> int:
    return exchange.links[user].wire.acked


def written(exchange: Exchange, author: Any, count: int) -> list[Message]:
    out = author.out_to("~g")
    exchange.stalls = True
    for _ in range(count):
        author.say(out, exchange.now)
    exchange.settle()
    return exchange.written(author)


def test_messages_of_groups_are_acked_late() -> None:
    exchange = Exchange()
    alice, bob = members(exchange, "alice", "bob")
    texts = written(exchange, alice, MOST_FRAMES + 1)
    for text in texts[: MOST_FRAMES - 1]:
        comes(exchange, "bob", text)
    assert acked(exchange, "bob") == 0
    comes(exchange, "bob", texts[MOST_FRAMES - 1])
    assert acked(exchange, "bob") == MOST_FRAMES
    comes(exchange, "bob", texts[MOST_FRAMES])
    bob.overdue()
    exchange.settle()
    assert acked(exchange, "bob") == MOST_FRAMES
    exchange.now += WAIT_S
    bob.overdue()
    exchange.settle()
    assert acked(exchange, "bob") == MOST_FRAMES + 1


def test_what_is_no_groups_is_acked_at_once_and_with_it_what_waited() -> None:
    exchange = Exchange()
    alice, _ = members(exchange, "alice", "bob")
    comes(exchange, "bob", written(exchange, alice, 1)[0])
    exchange.stalls = False
    alice.say(alice.out_to("bob"), exchange.now)
    exchange.settle()
    assert acked(exchange, "bob") == 2


def test_a_row_of_a_group_is_read_in_the_order_of_its_fields() -> None:
    exchange = Exchange()
    alice, _ = members(exchange, "alice", "bob")
    row = written(exchange, alice, 1)[0]
    row.from_id, row.from_device, row.stamp, row.version = "alice", "phone", 7 << 20, 3
    assert read_message(Frame(message=row).SerializeToString())[1:4] == (1, 1, TEXT)
    comes(exchange, "bob", row)
    assert exchange.world.counts.received == 1
    assert exchange.world.mixed_up == 0


@pytest.mark.parametrize("user", ["carol", "alice"])
def test_who_is_no_member_and_the_author_get_nothing(user: str) -> None:
    exchange = Exchange()
    alice, _ = members(exchange, "alice", "bob")
    text = written(exchange, alice, 1)[0]
    if user == "carol":
        exchange.person("carol")
    comes(exchange, user, text)
    assert exchange.world.mixed_up == 1


# A server that breaks the promise to one of the members.


class Grouped(Somewhere):
    """A target whose server knows who is in which group."""

    async def make_groups(self, members: Sequence[Sequence[Account]]) -> Mapping[str, Account]:
        self.members = {f"~{n}": [account.token for account in some] for n, some in enumerate(members)}
        return {f"~{n}": some[0] for n, some in enumerate(members)}


async def outcome(copies: Callable[[str, Message], int]) -> Report:
    """Of a run in which each reader gets so many copies of each message, the latecomers at their login."""
    there: dict[str, FakeSession] = {}
    kept: dict[str, list[tuple[str, bytes]]] = defaultdict(list)

    def hands_out(user: str, encoded: bytes) -> None:
        for _ in range(copies(user, Message.FromString(encoded))):
            there[user].wire.message(encoded)
        there[user].flush()

    def on_event(session: FakeSession, event: Any) -> None:
        if isinstance(event, Login):
            session.welcome()
            there[event.token] = session
            for author, encoded in kept[event.token]:
                assert author != event.token
                hands_out(event.token, encoded)
            return
        message = event if isinstance(event, Message) else None
        if isinstance(event, tuple):
            message = Message.FromString(event[-1])
        if message is None:
            return
        encoded = message.SerializeToString()
        author = next(user for user, one in there.items() if one is session)
        for user in target.members[message.dest_id]:
            if user == author:
                continue
            if user in there:
                hands_out(user, encoded)
            else:
                kept[user].append((author, encoded))
        session.wire.sent(message.stream, message.id, 1, False)
        session.flush()

    async with FakeServer(on_event) as fake:
        target = Grouped(parse_address(fake.address))
        options = replace(SHORT, groups=1, seconds=0.2, in_flight=2, drain_s=0.5)
        async with asyncio.timeout(GUARD_S):
            return await Conductor(options, target).run(groups)


async def test_a_server_that_does_right() -> None:
    assert (await outcome(lambda user, message: 1)).promise == Verdict()


async def test_a_server_that_forgets_one_member_once() -> None:
    report = await outcome(lambda user, message: int((user, message.id) != ("user2", 5)))
    assert report.promise.lost > 0
    assert not report.promise.kept


async def test_a_server_that_forgets_who_was_away() -> None:
    report = await outcome(lambda user, message: int((user, message.id) != ("user5", 3)))
    assert report.promise.lost > 0
    assert not report.promise.kept
