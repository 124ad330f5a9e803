"""`sparrow status` and `sparrow top`: what they make of what monitors tell, and of those that tell nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.errors import ConfigError
from sparrow.config.settings import Settings
from sparrow.config.tree import MonitorSettings
from sparrow.ops.overview import Seen, addresses_of, ask_all, duration, run_top, status_lines, top_lines
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
    lines = top_lines([seen(10.0)] * 3, [seen(12.0), Seen("10.0.0.2:1", 12.0, "no answer"), stuck])
    assert lines[1].split() == ["c-1", "50.0", "50", "3", "100.0", "0.0", "2.0", "0.0", "0.0", "0.0"]
    assert lines[3].split()[:5] == ["all", "100.0", "100", "6", "200.0"]
    assert lines[4:] == ["10.0.0.2:1: no answer", "b-1: NOT READY: cannot store: its disk is full"]
    assert len({len(line) for line in lines[:4]}) == 1


def test_a_process_that_was_started_anew_counts_nothing_backwards() -> None:
    fresh = seen(12.0, values={"sparrow_connector_messages_total": 5.0})
    assert top_lines([seen(10.0)], [fresh])[1].split()[4] == "0.0"


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


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path, monitor__listen_port=free_port()).start()
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


def test_looking_for_a_while(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(monitor=MonitorSettings(listen_port=int(node.environment["SPARROW_MONITOR__LISTEN_PORT"])))
    assert run_top(settings, 0.2, 2) == 0
    assert capsys.readouterr().out.count("connector-1") == 2
    with pytest.raises(ConfigError, match="--interval"):
        run_top(settings, 0.0, 1)
