"""mosquitto, ejabberd and NATS under load: real ones, small runs; cutting what they say; what is not installed."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from load import run_against
from load.ledger import Verdict
from load.peers import mqtt, nats, xmpp
from load.peers.__main__ import main, parse
from load.peers.servers import PEERS
from load.people import Person
from load.report import read
from load.spec import Account, Options
from load.talker import log_in
from load.world import World
from protocol.errors import ConfigError

ROOT = Path(__file__).parents[2]
GUARD_S = 30.0


@pytest.fixture(scope="session")
def installed() -> None:
    """All are there. Fails under CI, else installs them, or fails with what to do."""
    try:
        for peer in PEERS.values():
            peer()
    except ConfigError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        done = subprocess.run([ROOT / "scripts" / "install-peers"], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(done.stderr)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "servers",
    [("sparrow", "mosquitto"), ("ejabberd",), ("nats",), pytest.param(("nats-unsynced",), marks=pytest.mark.full)],
    ids=" and ".join,
)
def test_servers_side_by_side(servers: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, html = tmp_path / "peers.json", tmp_path / "peers.html"
    arguments = ["--seconds", "0.5", "--warm-up-s", "0.2", "--scale", "0.04", "--json", str(file), "--html", str(html)]
    shapes = ["--rounds", "1", "--shapes", "throughput,offline"]
    assert main([*arguments, *shapes, "--servers", ",".join(servers)]) == 0
    reports = read(file)
    assert [(report.scenario, report.server) for report in reports] == [
        (scenario, server) for scenario in ("pairs", "offline") for server in servers
    ]
    for report in reports:
        assert report.promise.kept
        assert report.errors == {}
        counters = report.counters
        assert counters["received"] == counters["sent"] == counters["sent_acks"] == counters["delivered_acks"] > 0
        if report.scenario == "pairs":
            assert report.figures["server_cpu_us_per_message"] > 0
        else:
            assert counters["received"] == 400
    printed = capsys.readouterr().out
    assert f"| shape | figure | {' | '.join(servers)} |" in printed
    assert "XEP-0198" in printed
    assert "a file that is synced before" in printed
    assert html.read_text().count("<h2>") == 3


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("server", ["mosquitto", pytest.param("ejabberd", marks=pytest.mark.full), "nats"])
def test_groups(server: str) -> None:
    with PEERS[server]() as running:
        options = Options("groups", groups=2, members=10, in_flight=4, latecomers=0, seconds=0.4, warm_up_s=0.1)
        report = run_against(running, options, quiet=True)
    assert report.promise == Verdict()
    assert report.errors == {}
    counters = report.counters
    assert counters["sent"] == counters["sent_acks"] == counters["sent_acks_of_groups"] > 0
    assert counters["received"] == counters["due"] == 9 * counters["sent"]
    # Nobody is told of a group's; and what an author is shown of its own is no repeat.
    assert counters["delivered_acks"] == counters["repeated_on_the_wire"] == 0
    assert report.figures["server_cpu_us_per_message"] > 0


@pytest.mark.usefixtures("installed")
def test_a_replay_of_all_that_was_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "peers.json"
    chosen = ["--shapes", "history", "--servers", "mosquitto,nats-unsynced", "--scale", "0.04", "--rounds", "1"]
    assert main([*chosen, "--json", str(file)]) == 0
    (report,) = read(file)
    assert report.server == "nats-unsynced"
    assert report.promise == Verdict()
    assert report.errors == {}
    assert report.counters["sent"] == report.counters["received"] == 800
    assert report.figures["verified"] == report.counters["paged"] == 800
    assert report.figures["replay_cpu_us_per_message"] > 0
    assert "| history (pairs 1, messages 800, devices 1, rate 200) | µs CPU, read back |" in capsys.readouterr().out


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "server",
    [
        "mosquitto",
        pytest.param("ejabberd", marks=pytest.mark.full),
        pytest.param("nats", marks=pytest.mark.full),  # what was not acked comes after ACK_WAIT_S
    ],
)
def test_clients_that_come_and_go(server: str) -> None:
    with PEERS[server]() as running:
        options = Options("flap", pairs=4, rate=50.0, flaps=5.0, seconds=1.0, warm_up_s=0.2)
        report = run_against(running, options, quiet=True)
    assert report.promise.lost == report.promise.unanswered == report.promise.mixed_up == 0
    assert report.figures["returns_per_second"] > 0


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(GUARD_S):
        while not done():
            await asyncio.sleep(0.02)


@pytest.mark.full
@pytest.mark.usefixtures("installed")
async def test_what_jetstream_has_acked_outlives_a_kill_although_its_consumers_do_not() -> None:
    with PEERS["nats"]() as running:
        accounts = await running.accounts(2)
        world = World()
        writer, reader = (nats.NatsPerson(account, 100, world, n) for n, account in enumerate(accounts))
        await log_in((writer, reader), running.addresses)
        reader.wanted = False
        reader.drop()
        await reader.gone()
        out = writer.out_to(reader.user)
        for _ in range(5):
            writer.say(out, world.clock())
        await until(lambda: out.sent == 5)
        running.kill()
        running.run()
        async with asyncio.timeout(GUARD_S):
            await reader.stay(running.addresses[0])
        await until(lambda: out.delivered == 5 and writer.online)
        # What was acked comes no more.
        running.kill()
        running.run()
        await until(lambda: world.counts.disconnects == 3 and writer.online and reader.online)
        await asyncio.sleep(0.5)
        counts = world.counts
        assert (counts.received, counts.repeated_on_the_wire, counts.foreign, world.errors) == (5, 0, 0, {})
        writer.close()
        reader.close()


@pytest.mark.parametrize("server", ["mosquitto", "ejabberd", "nats"])
def test_one_that_is_not_installed(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(ConfigError, match="scripts/install-peers"):
        PEERS[server]()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--servers", "sparrow,prosody"],
        ["--shapes", "nothing"],
        ["--rounds", "x"],
        ["--rounds", "0"],
        ["--servers", "mosquitto,ejabberd", "--shapes", "history"],
    ],
)
def test_wrong_use(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert "usage: " in capsys.readouterr().err


# What they say.


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 70_000])
def test_mqtt_packets_are_cut_wherever_a_read_ends(size: int) -> None:
    packets = [(0x32, bytes(size)), (0x40, b"\x00\x01"), (0xD0, b"")]
    data = b"".join(mqtt.packet(first, body) for first, body in packets)
    for at in {0, 1, 2, 3, size // 2, len(data) - 3, len(data) - 1, len(data)}:
        some, rest = mqtt.cut(data[:at])
        more, left = mqtt.cut(rest + data[at:])
        assert some + more == packets
        assert left == b""


STANZAS = [
    b"<?xml version='1.0'?>",
    b"<stream:stream id='1' from='localhost'>",
    b"<stream:features><mechanisms xmlns='x'><mechanism>PLAIN</mechanism></mechanisms></stream:features>",
    b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    b"<a xmlns='urn:xmpp:sm:3' h='12'/>",
    b"<message to='a'><body>AAAA</body><request xmlns='urn:xmpp:receipts'/></message>",
    b"<message to='a'><received xmlns='urn:xmpp:receipts' id='5-1'/></message>",
    b"<presence from='a'/>",
]


def test_xmpp_stanzas_are_cut_wherever_a_read_ends() -> None:
    data = b"".join(STANZAS)
    for at in range(len(data) + 1):
        some, rest = xmpp.cut(data[:at])
        more, left = xmpp.cut(rest + data[at:])
        assert some + more == STANZAS
        assert left == b""


OPERATIONS = [
    b'INFO {"server_id":"N"}\r\n',
    b"MSG u.1.bob 2 $JS.ACK.INBOX1.bob.1.1.1.7.0 5\r\na\r\nb \r\n",
    b"MSG a.bob.1 1 0\r\n\r\n",
    b"PING\r\n",
    b"-ERR 'Stale Connection'\r\n",
]


def test_nats_operations_are_cut_wherever_a_read_ends() -> None:
    data = b"".join(OPERATIONS)
    whole, _ = nats.cut(data)
    assert [payload for _, payload in whole] == [b"", b"a\r\nb ", b"", b"", b""]
    assert [words[0] for words, _ in whole] == [b"INFO", b"MSG", b"MSG", b"PING", b"-ERR"]
    for at in range(len(data) + 1):
        some, rest = nats.cut(data[:at])
        more, left = nats.cut(rest + data[at:])
        assert some + more == whole
        assert left == b""


# What one client of NATS makes of it.


@pytest.fixture
def two() -> tuple[nats.NatsPerson, nats.NatsPerson]:
    """Both are logged in."""
    world = World()
    found = [nats.NatsPerson(Account(user, "load", ""), 100, world, 0) for user in ("alice", "bob")]
    for one in found:
        one.begin()
        one.received(message(f"a.{one.user}.c", b'{"name":"it"}'))
        assert one.online
        one._out.clear()
    return found[0], found[1]


def message(subject: str, payload: bytes, sid: str = "1") -> bytes:
    return f"MSG {subject} {sid} $JS.ACK.7 {len(payload)}\r\n".encode() + payload + b"\r\n"


def said(one: Person) -> list[bytes]:
    """The subjects and payloads of what it has published."""
    found, one._out[:] = list(one._out), []
    return [b" ".join((each.split(b" ")[1], each.partition(b"\r\n")[2][:-2])) for each in found]


def test_a_text_its_ack_its_receipt_and_a_repeat(two: tuple[nats.NatsPerson, nats.NatsPerson]) -> None:
    alice, bob = two
    out = alice.out_to("bob")
    alice.text(out, 0.0)
    (text,) = said(alice)
    subject, _, content = text.partition(b" ")
    assert subject.decode() == nats.subject("bob")
    assert len(content) == 100
    alice.received(message("a.alice.1", b'{"stream":"INBOX1", "seq":1}'))
    assert (out.sent, out.delivered) == (1, 0)
    bob.received(message(nats.subject("bob"), content, "2"))
    ack, receipt = said(bob)
    assert ack == b"$JS.ACK.7 "
    subject, _, told = receipt.partition(b" ")
    assert subject.decode() == nats.subject("alice")
    alice.received(message(nats.subject("alice"), told, "2"))
    assert out.delivered == 1
    bob.received(message(nats.subject("bob"), content, "2"))
    assert said(bob) == [b"$JS.ACK.7 "]
    assert (bob.world.counts.received, bob.world.counts.repeated_on_the_wire) == (1, 1)


def test_a_text_that_jetstream_refuses(two: tuple[nats.NatsPerson, nats.NatsPerson]) -> None:
    alice, _ = two
    out = alice.out_to("bob")
    alice.text(out, 0.0)
    alice.received(message("a.alice.1", b'{"error":{"code":503,"description":"insufficient resources"}}'))
    assert (out.sent, out.open, out.refused) == (0, {}, {1})
    assert any("insufficient resources" in error for error in alice.world.errors)


def test_texts_without_an_answer_go_again(two: tuple[nats.NatsPerson, nats.NatsPerson]) -> None:
    alice, _ = two
    for _ in range(3):
        alice.text(alice.out_to("bob"), 0.0)
    before = said(alice)
    alice.received(message("a.alice.2", b'{"stream":"INBOX1", "seq":1}'))
    alice.begin()
    alice._out.clear()
    alice.received(message("a.alice.c", b'{"name":"it"}'))
    assert said(alice) == [before[0], before[2]]
    assert alice.world.counts.resent == 2
