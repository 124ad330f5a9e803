"""The monitor of real processes: metrics, health, readiness, and a loop that stands still."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from client import Client
from sparrow.ops.overview import status_lines
from sparrow.ops.seen import ask_all
from tests.ports import free_port
from tests.sparrow.serving import PASSWORD, Node

DOCS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
BEGIN, END = "<!-- metrics: begin -->\n", "<!-- metrics: end -->\n"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """With a monitor at `monitor_port`."""
    made = Node(tmp_path, monitor__listen_port=free_port())
    made.start()
    yield made
    assert made.process is not None
    made.process.send_signal(signal.SIGCONT)
    made.stop()


def at(node: Node) -> str:
    return f"http://127.0.0.1:{node.environment['SPARROW_MONITOR__LISTEN_PORT']}"


def get(node: Node, path: str) -> httpx.Response:
    return httpx.get(at(node) + path, trust_env=False, timeout=20)


def table(node: Node) -> str:
    """What a node tells, as the documentation has it."""
    lines = ["| metric | kind | what it is |", "|---|---|---|"]
    for family in text_string_to_metric_families(get(node, "/metrics").text):
        if family.name.startswith("sparrow"):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = sorted({key for sample in family.samples for key in sample.labels} - {"le"})
            shown = f"`{name}`" + (f" by {', '.join(f'`{label}`' for label in labels)}" if labels else "")
            lines.append(f"| {shown} | {family.type} | {family.documentation} |")
    return "\n".join(lines) + "\n"


def until(node: Node, path: str, status: int) -> httpx.Response:
    deadline = time.monotonic() + 60
    while (answer := get(node, path)).status_code != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)
    return answer


async def test_a_node_tells_what_the_documentation_says(node: Node) -> None:
    async with Client("alice", password=PASSWORD, register=True, api=node.api):
        pass
    _, begun = DOCS.read_text().split(BEGIN)
    written, _ = begun.split(END)
    found = await asyncio.to_thread(table, node)
    assert written == found, f"put this between the marks in docs/metrics.md:\n{found}"


def test_health_and_more(node: Node) -> None:
    assert until(node, "/readyz", 200).json() == {"status": "ok"}
    assert get(node, "/healthz").json() == {"status": "ok"}
    values = get(node, "/varz").json()
    assert (values["role"], values["not_ready"]) == ("node", {})
    assert values["values"]["sparrow_connector_sessions"] == 0
    assert values["values"]["process_resident_memory_bytes"] > 1e6
    assert get(node, "/").status_code == 404
    assert httpx.post(at(node) + "/metrics", trust_env=False).status_code == 405
    assert httpx.head(at(node) + "/metrics", trust_env=False).text == ""
    text = get(node, "/metrics").text
    told = r'^sparrow_info\{cores="(python|compiled)",name="connector-1",role="node",version="[^"]+"\} 1\.0$'
    assert re.search(told, text, re.MULTILINE)
    assert re.search(r"^sparrow_event_loop_lag_seconds_count [1-9]", text, re.MULTILINE)


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        node = Node(tmp_path, monitor__listen_port=other.getsockname()[1])
        with pytest.raises(AssertionError, match=r"the monitor cannot listen on .*set monitor\.listen_host"):
            node.start()


async def test_a_user_api_of_its_own_tells_of_itself(tmp_path: Path) -> None:
    """And says that it reaches no broker."""
    node = Node(tmp_path, monitor__listen_port=free_port(), userapi__name="api-7", log__level="warning")
    with (tmp_path / "log").open("ab") as log:
        node.process = subprocess.Popen(
            [sys.executable, "-m", "sparrow.cli", "userapi"],
            env=node.environment,
            stdout=log,
            stderr=log,
            cwd=tmp_path,
        )
    try:
        port = node.environment["SPARROW_MONITOR__LISTEN_PORT"]
        async with asyncio.timeout(60):
            while not (found := (await ask_all([f"x=127.0.0.1:{port}"]))[0]).not_ready:
                assert node.process.poll() is None, node.log
                await asyncio.sleep(0.1)
        assert (found.role, found.name, found.pid) == ("userapi", "api-7", node.process.pid)
        assert found.values["process_resident_memory_bytes"] > 1e7
        assert "cannot notify brokers: no broker answers" in status_lines([found])[1]
        assert get(node, "/readyz").status_code == 503
        assert httpx.get(node.api + "/readyz", trust_env=False).status_code == 503
        assert httpx.get(node.api + "/healthz", trust_env=False).status_code == 200
    finally:
        assert node.stop() == 0, node.log
