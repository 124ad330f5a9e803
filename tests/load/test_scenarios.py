"""Each scenario, small, against real servers; and servers that drop, repeat or stay silent, seen from the outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.protocol import State

from client.connection import Address, parse_address
from load import run_against
from load.conductor import Conductor
from load.crew import parts, share
from load.ledger import Verdict
from load.report import USED, Report, text
from load.scenarios import SCENARIOS, pairs
from load.spawn import Spawned
from load.spec import Account, Options, Spec
from load.targets import Target
from load.words import FIGURES
from load.world import EachFrame, loopback_sources
from protocol.errors import ConfigError, UnavailableError
from protocol.framing import delimit
from protocol.sparrow_pb2 import Goodbye, Login, Message
from tests.ports import free_port
from tests.sparrow.serving import FakeServer, FakeSession

SHORT = Options(
    seconds=1.0, warm_up_s=0.2, pairs=5, in_flight=4, rate=100.0, users=6, messages=60, sessions=20, groups=4, members=5
)
GUARD_S = 60.0


def kept(report: Report) -> Report:
    """All is well, whatever the scenario."""
    assert report.promise == Verdict()
    assert report.errors == {}
    assert set(report.figures) <= set(FIGURES)
    counters = report.counters
    assert counters["sent"] == counters["sent_acks"]
    assert counters["received"] == counters["due"] >= counters["sent"]
    assert counters["delivered_acks"] == counters["sent_acks"] - counters["sent_acks_of_groups"]
    assert counters["exceptions"] == counters["foreign"] == 0
    return report


@pytest.mark.parametrize("read", [False, True])
def test_pairs(spawned: Spawned, read: bool) -> None:
    report = kept(run_against(spawned, replace(SHORT, read=read), quiet=True))
    assert report.figures["delivered"] > 0
    assert report.figures["server_cpu_us_per_message"] > 0
    assert report.counters["read_acks"] == (report.counters["sent"] if read else 0)
    assert report.latency_ms["one_way"]["count"] > 0
    assert report.latency_ms["to_sent"]["p50"] > 0
    assert sum(count for _, count in report.histograms["one_way"]) == report.latency_ms["one_way"]["count"]


@pytest.mark.parametrize("how", ["turn", "frame"])
def test_over_websocket(how: str) -> None:
    with Spawned("cluster", websocket=True) as servers:
        assert all(address.websocket for address in servers.addresses)
        report = kept(run_against(servers, replace(SHORT, websocket=how), quiet=True))
    assert report.settings["websocket"] == how


async def test_a_message_for_each_frame() -> None:
    """Of WebSocket, as clients do that do not gather."""
    made = EachFrame("ws://a.example/", asyncio.Protocol())
    said: list[bytes] = []
    made._websocket = SimpleNamespace(  # type: ignore[assignment]
        state=State.OPEN, send_binary=said.append, data_to_send=list
    )
    frames = [delimit(b"x" * size) for size in (0, 1, 127, 128, 20_000)]
    made.write(b"".join(frames))
    assert said == frames


def test_rate_from_two_processes(spawned: Spawned) -> None:
    report = kept(run_against(spawned, replace(SHORT, scenario="rate", processes=2), quiet=True))
    assert report.figures["delivered"] > 0
    assert report.figures["online_at_end"] == 10


def test_idle(spawned: Spawned) -> None:
    report = kept(run_against(spawned, replace(SHORT, scenario="idle"), quiet=True))
    assert report.figures["online_at_end"] == 20
    assert report.counters["logins"] == 20
    assert report.counters["sent"] == 0
    assert {"kib_per_session", "idle_cpu_percent", "logins_per_second"} <= set(report.figures)


def test_storm(spawned: Spawned) -> None:
    report = kept(run_against(spawned, replace(SHORT, scenario="storm"), quiet=True))
    assert report.counters["logins"] == 40
    assert report.figures["online_at_end"] == 20
    assert report.figures["all_back_s"] > 0
    assert report.figures["back_p50_ms"] <= report.figures["back_p99_ms"]


def test_offline(spawned: Spawned) -> None:
    report = kept(run_against(spawned, replace(SHORT, scenario="offline"), quiet=True))
    assert report.counters["sent"] == report.figures["messages"] == 60
    assert report.figures["stored_per_second"] > 0
    assert report.latency_ms["one_way"]["count"] == 0
    assert report.figures["pull_cpu_us_per_message"] > 0


def test_flap(spawned: Spawned) -> None:
    report = kept(run_against(spawned, replace(SHORT, scenario="flap", flaps=30.0, seconds=2.0), quiet=True))
    assert report.figures["returns_per_second"] > 0
    assert report.figures["online_at_end"] == 10
    assert sum(each.logins for each in report.seconds) > 10


def test_mixed(spawned: Spawned) -> None:
    report = kept(run_against(spawned, replace(SHORT, scenario="mixed", users=20, seconds=2.0), quiet=True))
    assert report.counters["read_acks"] == report.counters["delivered_acks"] > 0
    assert report.counters["sent_acks_of_groups"] > 0
    assert report.figures["online_at_end"] == 20


def test_mixed_without_groups(spawned: Spawned) -> None:
    report = kept(run_against(spawned, replace(SHORT, scenario="mixed", users=20, groups=0), quiet=True))
    assert report.counters["received"] == report.counters["sent"]
    assert "groups" not in report.title


def test_soak_tells_how_memory_grows(spawned: Spawned) -> None:
    report = kept(run_against(spawned, replace(SHORT, scenario="soak", users=20, seconds=4.0), quiet=True))
    assert {each["pid"] for each in report.memory} >= set(spawned.connector_pids())
    for each in report.memory:
        assert each["kib_per_hour"] is not None
        assert len(each["samples"]) >= 3
    assert {each["process"] for each in report.memory} == {"serve", "child of serve"}


def test_several_brokers_with_an_etcd_of_their_own_and_curve() -> None:
    with Spawned("cluster", connectors=3, brokers=2, curve=True) as servers:
        report = kept(run_against(servers, replace(SHORT, scenario="flap", pairs=6), quiet=True))
        roles = {each["process"] for each in report.memory}
        assert roles >= {"etcd", "broker", "connector"}
        assert "Traceback" not in servers.log()


def test_each_scenario_is_known_everywhere() -> None:
    assert set(SCENARIOS) == set(USED)
    for name in SCENARIOS:
        Report(name, "sparrow", "one", {}, {}).title  # noqa: B018


# How a run is shared out.


class Somewhere(Target):
    """A target that somebody else provides."""

    def __init__(self, *addresses: Address) -> None:
        super().__init__()
        self.addresses = list(addresses)

    async def accounts(self, count: int) -> list[Account]:
        return [Account(f"user{n}", "load", f"user{n}") for n in range(count)]


@pytest.mark.parametrize(("people", "processes"), [(2, 1), (10, 3), (11, 4), (100, 7), (4, 8), (1, 2)])
def test_shares_are_whole_pairs_and_together_everybody(people: int, processes: int) -> None:
    accounts = [Account(f"user{n}", "load", "") for n in range(people)]
    options = replace(SHORT, processes=processes, rate=70.0, flaps=7.0)
    specs = share(options, Somewhere(Address("127.0.0.1", 1)), accounts, [])
    assert [account for spec in specs for account in spec.accounts] == accounts
    assert [len(spec.accounts) % 2 for spec in specs] == [0] * (len(specs) - 1) + [people % 2]
    assert all(spec.accounts for spec in specs)
    assert sum(spec.options.rate for spec in specs) == pytest.approx(70.0)
    assert sum(spec.options.flaps for spec in specs) == pytest.approx(7.0)
    assert [spec.first for spec in specs] == [sum(len(s.accounts) for s in specs[:n]) for n in range(len(specs))]
    assert [Spec.of_json(spec.as_json()) for spec in specs] == specs


def test_parts() -> None:
    assert parts(7, 3) == [3, 2, 2]
    assert parts(2, 5) == [1, 1]


def test_many_clients_of_one_machine_get_source_addresses() -> None:
    here = [Address("127.0.0.1", 7400)]
    assert loopback_sources(20_000, here) == []
    assert loopback_sources(50_000, here) == ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    assert loopback_sources(50_000, [Address("192.0.2.1", 7400)]) == []
    assert loopback_sources(50_000, [Address("example.net", 7400)]) == []


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:0", "host:x", "tls://host", "host:70000"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="host:port"):
        parse_address(text)


def test_addresses() -> None:
    assert parse_address("a.example:7400") == Address("a.example", 7400, False)
    assert parse_address("tls://[::1]:7400") == Address("::1", 7400, True)


# Servers that break the promise.

Rule = Callable[[Message], Iterable[bytes]]


def server(rule: Rule, says_sent: Callable[[Message], bool]) -> FakeServer:
    """Carries what `rule` says, and tells SENT."""
    there: dict[str, FakeSession] = {}

    def on_event(session: FakeSession, event: Any) -> None:
        if isinstance(event, Login):
            there[event.token] = session
            session.welcome()
        elif isinstance(event, Message):
            for encoded in rule(event):
                there[event.dest_id].wire.message(encoded)
            there[event.dest_id].flush()
            if says_sent(event):
                session.wire.sent(event.stream, event.id, 1, True)

    return FakeServer(on_event)


async def outcome(rule: Rule, says_sent: Callable[[Message], bool] = lambda message: True) -> Report:
    async with server(rule, says_sent) as fake:
        options = replace(SHORT, pairs=2, in_flight=2, seconds=0.3, drain_s=1.0)
        async with asyncio.timeout(GUARD_S):
            return await Conductor(options, Somewhere(parse_address(fake.address))).run(pairs)


def whole(message: Message) -> bytes:
    return message.SerializeToString()


async def test_a_server_that_does_it_right() -> None:
    assert (await outcome(lambda message: [whole(message)])).promise == Verdict()


async def test_people_go_elsewhere_when_their_connector_is_gone() -> None:
    async with server(lambda message: [whole(message)], lambda message: True) as fake:
        options = replace(SHORT, pairs=2, in_flight=2, seconds=0.3, drain_s=1.0)
        gone = f"127.0.0.1:{free_port()}"
        async with asyncio.timeout(GUARD_S):
            target = Somewhere(parse_address(gone), parse_address(fake.address), parse_address(gone))
            report = await Conductor(options, target).run(pairs)
    assert report.promise == Verdict()


async def test_who_never_comes_back_is_no_loss() -> None:
    gone: list[FakeSession] = []

    def rule(message: Message) -> Iterable[bytes]:
        return [whole(message)] if message.id < 20 else []

    def throws_out(message: Message) -> bool:
        if message.id == 20 and not gone:
            gone.append(readers[message.dest_id])
            readers[message.dest_id].transport.abort()
        return True

    async with server(rule, throws_out) as fake:
        welcome, readers = fake.on_event, {}

        def on_event(session: FakeSession, event: Any) -> None:
            if isinstance(event, Login) and gone:
                session.transport.abort()  # the only connector is dead for them
                return
            if isinstance(event, Login):
                readers[event.token] = session
            welcome(session, event)

        fake.on_event = on_event
        options = replace(SHORT, pairs=1, in_flight=2, seconds=0.3, drain_s=0.5)
        async with asyncio.timeout(GUARD_S):
            report = await Conductor(options, Somewhere(parse_address(fake.address))).run(pairs)
    assert (report.promise.absent, report.promise.lost) == (1, 0)
    assert report.promise.waiting > 0
    assert "1 never did" in text(report)
    assert "BROKEN" not in text(report)


async def test_a_server_that_drops() -> None:
    promise = (await outcome(lambda message: [] if message.id % 10 == 5 else [whole(message)])).promise
    assert promise.lost > 0
    assert not promise.kept


async def test_a_server_that_delivers_under_two_names() -> None:
    def rule(message: Message) -> Iterable[bytes]:
        other = Message()
        other.CopyFrom(message)
        other.id += 1
        return [whole(message), whole(other)] if message.id == 7 else [whole(message)]

    promise = (await outcome(rule)).promise
    assert promise.twice == 2
    assert not promise.kept


async def test_a_server_that_does_not_answer() -> None:
    report = await outcome(lambda message: [whole(message)], lambda message: message.id < 9)
    assert report.promise.unanswered > 0
    assert report.promise.lost == 0
    assert not report.promise.kept


async def test_servers_that_are_not_there_are_waited_for_no_longer_than_planned(monkeypatch: Any) -> None:
    monkeypatch.setattr("load.conductor.EXTRA_S", 1.0)
    with pytest.raises(TimeoutError):
        await Conductor(replace(SHORT, seconds=0.1), Somewhere(Address("127.0.0.1", 1))).run(pairs)


class Renewing(Somewhere):
    """Tokens that are good for a moment; the third time there are none."""

    renews_tokens_s = 0.1
    calls = 0

    async def accounts(self, count: int) -> list[Account]:
        self.calls += 1
        if self.calls == 3:
            raise UnavailableError("come back later")
        return [account._replace(token=f"{account.user} {self.calls}") for account in await super().accounts(count)]


async def test_tokens_are_renewed_while_it_runs_and_trouble_is_told() -> None:
    tokens: list[str] = []
    done = asyncio.Event()

    def on_event(session: FakeSession, event: Any) -> None:
        if isinstance(event, Login):
            tokens.append(event.token)
            session.welcome()
            if event.token.endswith(" 1"):
                asyncio.get_running_loop().call_later(0.2, until_renewed, session)

    def until_renewed(session: FakeSession) -> None:
        if target.calls < 4:
            asyncio.get_running_loop().call_later(0.2, until_renewed, session)
            return
        session.goodbye(Goodbye.MOVE)

    async with FakeServer(on_event) as fake:
        target = Renewing(parse_address(fake.address))

        async def scenario(conductor: Conductor) -> None:
            await conductor.gather(2)
            await conductor.log_in()
            await done.wait()
            await conductor.finish()

        async def watch() -> None:
            while len({token.split()[0] for token in tokens if not token.endswith(" 1")}) < 2:
                await asyncio.sleep(0.05)
            done.set()

        watching = asyncio.create_task(watch())
        async with asyncio.timeout(GUARD_S):
            report = await Conductor(replace(SHORT, scenario="idle"), target).run(scenario)
            await watching
    assert report.errors == {"new tokens: come back later": 1}
    assert [each.errors for each in report.seconds if each.errors] == [report.errors]
    assert {each.exceptions for each in report.seconds} == {0, 1}
    assert report.counters["exceptions"] == 1
