"""`sparrow status` and `sparrow top`: what they make of what monitors tell, and of those that tell nothing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from protocol.errors import ConfigError
from sparrow.config.settings import Settings
from sparrow.config.tree import MonitorSettings
from sparrow.ops.findings import findings
from sparrow.ops.overview import run_status, run_top, status_lines, top_lines
from sparrow.ops.seen import MAX_ANSWER_BYTES, MAX_TEXT, Seen, addresses_of, ask_all, duration
from tests.ports import free_port
from tests.sparrow.serving import Node


def seen(at: float = 10.0, **changes: object) -> Seen:
    values = {
        "sparrow_connector_sessions": 3.0,
        "sparrow_connector_messages_total": 100.0 * at,
        "sparrow_connector_failed_total{code=UNAVAILABLE}": 1.0 * at,
        "sparrow_connector_failed_total{code=TOO_FAST}": 1.0 * at,
        "sparrow_connector_broker_up{endpoint=a}": 1.0,
        "sparrow_connector_broker_up{endpoint=b}": 0.0,
        "process_cpu_seconds_total": 0.5 * at,
        "process_resident_memory_bytes": 2.0**20 * 50,
    }
    how = {"name": "c-1", "role": "connector", "version": "1.2", "up_s": 3700.0, "values": values, **changes}
    return Seen("10.0.0.1:1", at, **how)  # type: ignore[arg-type]


def test_status() -> None:
    away = {"log_in": "no broker is up", "store": "no broker is up", "deliver": "stopping"}
    lines = status_lines([seen(), seen(not_ready=away, name="c" * 30), Seen("10.0.0.2:1", 0.0, "refused")])
    assert " ".join(lines[1].split()) == "c-1 (connector) 1.2 1h 1m ready: 3 sessions, 0 behind, 1 of 2 brokers up"
    assert lines[2].endswith("NOT READY: cannot log in, store: no broker is up; cannot deliver: stopping")
    assert {line.index("1h 1m") for line in lines[1:3]} == {lines[0].index("up")}
    assert " ".join(lines[3].split()) == "10.0.0.2:1 - - down: refused"
    assert [each.well for each in (seen(), seen(not_ready={"a": "b"}), Seen("x", 0.0, "y"))] == [True, False, False]


def test_what_goes_on_between_two_looks() -> None:
    stuck = seen(12.0, not_ready={"store": "its disk is full"}, name="b-1")
    now = [seen(12.0), Seen("10.0.0.2:1", 12.0, "no answer"), stuck]
    lines = top_lines([seen(10.0)] * 3, now, findings(now, unix_s=0.0))
    assert [line.partition("  ")[2].partition(": ")[0] for line in lines[:4]] == ["10.0.0.2:1", "b-1", "c-1", "b-1"]
    assert lines[0].startswith("CRITICAL  10.0.0.2:1: does not tell of itself: no answer: ")
    assert lines[3].startswith("WARNING  b-1: does not reach the broker b: ")
    assert lines[4] == ""
    head = lines[5].replace(" %", "%").replace(" ms", "ms").split()
    first, stuck_one, everything = (dict(zip(head, line.split(), strict=True)) for line in lines[6:9])
    told = {"process": "c-1", "cpu%": "50.0", "MiB": "50", "sessions": "3", "messages/s": "100.0", "failed/s": "2.0"}
    assert told.items() <= first.items()
    assert stuck_one["process"] == "b-1"
    told = {"process": "all", "cpu%": "100.0", "MiB": "100", "sessions": "6", "messages/s": "200.0", "lagms": "-"}
    assert told.items() <= everything.items()
    assert len({len(line) for line in lines[5:9]}) == 1
    assert "versions: 1.2 (c-1, b-1)" in lines


def test_a_process_that_was_started_anew_counts_nothing_backwards() -> None:
    fresh = seen(12.0, values={"sparrow_connector_messages_total": 5.0})
    assert top_lines([seen(10.0)], [fresh])[1].split()[4] == "2.5"


@pytest.mark.parametrize("width", [70, 80, 100, 120])
def test_on_a_narrow_screen_columns_are_left_out(width: int) -> None:
    head, *rows = top_lines([seen(10.0)], [seen(12.0)], width=width)[:3]
    assert max(map(len, (head, *rows))) <= width
    assert ("routed/s" in head, "messages/s" in head, "failed/s" in head, "errors/s" in head) == (
        False,
        True,
        True,
        True,
    )


def test_what_stands_is_said_below() -> None:
    values = {
        "sparrow_store_free_bytes": 3.0 * 2**30,
        "sparrow_certificate_expiration_timestamp_seconds{setting=connector.tls_certificate_file}": 4e9,
        "sparrow_backup_timestamp_seconds": 0.0,
    }
    lines = top_lines([seen(10.0)], [seen(12.0, values=values)])
    assert "stores: c-1 3.0 GiB free" in lines
    assert "backups: c-1 NONE YET" in lines
    assert any(line.startswith("certificates: c-1 connector.tls_certificate_file 2") for line in lines)
    assert "backups: nobody tells of any (monitor.backup_folder)" in top_lines([seen(10.0)], [seen(12.0)])


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.9, "59s"), (61, "1m 1s"), (3600, "1h"), (90061, "1d 1h"), (86405, "1d 5s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_whom_to_ask() -> None:
    with pytest.raises(ConfigError, match=r"set monitor\.processes"):
        addresses_of(Settings())
    assert addresses_of(Settings(monitor=MonitorSettings(listen_port=7))) == ("127.0.0.1:7",)
    assert addresses_of(Settings(monitor=MonitorSettings(listen_port=7, processes=("a:1", "b:2")))) == ("a:1", "b:2")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    made = Node(tmp_path_factory.mktemp("node"), monitor__listen_port=free_port()).start()
    yield made
    made.stop()


async def test_real_monitors_and_what_is_none(node: Node) -> None:
    port = node.environment["SPARROW_MONITOR__LISTEN_PORT"]
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        found = await ask_all(
            [f"127.0.0.1:{port}", f"127.0.0.1:{nobody.getsockname()[1]}", f"127.0.0.1:{silent.getsockname()[1]}"]
        )
        (other,) = await ask_all([f"127.0.0.1:{node.api_port}"])
    assert found[0].well
    assert (found[0].role, found[1].well, found[2].trouble) == ("node", False, "no answer")
    assert "no monitor of Sparrow" in other.trouble
    assert "0 sessions" in status_lines(found)[1]


TOLD = '{"name": "%s", "role": "x", "version": "1", "up_s": 1, "pid": 1, "not_ready": {}, "values": {"a": %s}}'


@pytest.mark.parametrize(
    "body",
    [
        " " * (2 * MAX_ANSWER_BYTES),
        "[" * 100_000,
        "[]",
        "{}",
        TOLD % ("x", '"y"'),
        TOLD % ("x", "[]"),
        (TOLD % ("x", "1")).replace('"pid": 1', '"pid": 1e999'),
    ],
    ids=["long", "deep", "list", "empty", "text", "no number", "infinite"],
)
async def test_no_more_is_believed_than_a_monitor_tells(body: str) -> None:
    found = await asked(body)
    assert (found.name, found.trouble) == ("strange", "what answers there is no monitor of Sparrow")


async def test_what_is_no_number_is_left_out() -> None:
    for value in ("NaN", "1e999", "-Infinity"):
        assert (await asked(TOLD % ("x", value))).values == {}
    assert (await asked(TOLD % ("x" * 9999, "1.5"))).values == {"a": 1.5}
    assert (await asked(TOLD % ("x" * 9999, "1.5"))).name == "x" * MAX_TEXT


async def asked(body: str) -> Seen:
    """What is made of a monitor that answers so."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + body.encode())
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        (found,) = await ask_all([f"strange=127.0.0.1:{server.sockets[0].getsockname()[1]}"])
    return found


def test_status_says_first_what_its_table_does_not(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    port = node.environment["SPARROW_MONITOR__LISTEN_PORT"]
    monitor = MonitorSettings(processes=(f"node=127.0.0.1:{port}", f"away=127.0.0.1:{free_port()}"))
    assert run_status(Settings(monitor=monitor)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("process")
    assert lines[2].startswith("away")
    (found,) = findings([seen(not_ready={}, values={"sparrow_store_free_bytes": 1e9})], unix_s=0.0)
    assert found.line.startswith("WARNING  c-1: the store's disk takes 0.9 GiB more: make room")


def test_looking_for_a_while(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(monitor=MonitorSettings(listen_port=int(node.environment["SPARROW_MONITOR__LISTEN_PORT"])))
    assert run_top(settings, 0.2, 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("connector-1 ") for line in lines) == 2
    with pytest.raises(ConfigError, match="--interval"):
        run_top(settings, 0.0, 1)
