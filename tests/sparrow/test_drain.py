"""`sparrow drain`: real servers that stop, one with sessions; and all that it refuses."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from client import Client
from protocol.errors import ServiceError
from sparrow.ops import drain
from sparrow.ops.seen import Seen
from tests.cluster.processes import Deployment, Process
from tests.ports import free_port
from tests.sparrow.serving import Node

SESSIONS = 20
DRAIN_PER_SECOND = 10


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """Nothing runs in it yet."""
    with Deployment(tmp_path, connector__drain_per_second=DRAIN_PER_SECOND) as made:
        yield made
        assert "Traceback" not in made.logs


async def connector(deployment: Deployment, *options: str) -> Process:
    """One that is up, with a broker behind it and a monitor."""
    broker = deployment.broker()
    port = free_port()
    ports = {"SPARROW_CONNECTOR__LISTEN_PORT": str(port), "SPARROW_MONITOR__LISTEN_PORT": str(free_port())}
    command = [sys.executable, "-W", "error", "-m", "sparrow.cli", "connector", *options]
    made = deployment.add("connector", command, port, "broker up", **ports)
    for process in (broker, made):
        process.start()
        await process.up()
    return made


async def said(*arguments: object, **environment: str) -> tuple[int | None, str, str]:
    """By `sparrow drain`: its exit status, output and complaint."""
    command = [sys.executable, "-W", "error", "-m", "sparrow.cli", "drain", *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, complaint = await process.communicate()
    return process.returncode, output.decode(), complaint.decode()


async def complaint(*arguments: object, **environment: str) -> str:
    """The one line that it refuses with."""
    status, output, text = await said(*arguments, **environment)
    assert (status, output, text.count("\n")) == (2, "", 1), text
    assert text.startswith("sparrow: ")
    return text


async def log_in(stack: AsyncExitStack, deployment: Deployment, process: Process) -> None:
    tokens = await deployment.tokens(f"user{number}/d{number}" for number in range(SESSIONS))
    for name, token in tokens.items():
        client = Client(name.partition("/")[0], token=token, connectors=[f"127.0.0.1:{process.port}"])
        await stack.enter_async_context(client)


async def test_a_connector_with_sessions(deployment: Deployment) -> None:
    process = await connector(deployment)
    async with AsyncExitStack() as stack:
        await log_in(stack, deployment, process)
        status, output, text = await said(process.pid)
        assert (status, text) == (0, "")
        assert await process.ended() == 0
    lines = output.splitlines()
    assert lines[0] == f"sparrow connector (process {process.pid}): stopping; sessions left: {SESSIONS}"
    left = [int(line.removeprefix("sessions left: ")) for line in lines[1:-1]]
    assert left == sorted(left, reverse=True)
    assert 0 < left[0] < SESSIONS
    assert re.fullmatch(rf"sparrow connector \(process {process.pid}\): gone after \ds", lines[-1])


async def test_one_that_takes_longer(deployment: Deployment) -> None:
    """It goes on, and may be waited for again."""
    process = await connector(deployment)
    async with AsyncExitStack() as stack:
        await log_in(stack, deployment, process)
        status, output, _ = await said(process.pid, "--timeout-s", "0.1")
        assert status == 1
        assert "still there after 0.1 s" in output.splitlines()[-1]
        assert (await said(process.pid))[0] in (0, 2)  # 2: it was gone before anybody looked
        assert await process.ended() == 0


async def test_a_node_and_its_parts(tmp_path: Path) -> None:
    node = Node(tmp_path, monitor__listen_port=free_port()).start()
    assert node.process is not None
    pid = node.process.pid
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    assert children
    for child in children:
        text = await complaint(child)
        assert f"a part of sparrow serve (process {pid})" in text
        assert f"sparrow drain {pid}" in text
    status, output, _ = await said(pid)
    assert status == 0
    assert "stopping; sessions left: 0, copies to store: 0\n" in output
    assert node.process.wait(30) == 0


async def test_one_without_a_monitor(deployment: Deployment) -> None:
    broker = deployment.broker()
    broker.start()
    await broker.up()
    status, output, text = await said(broker.pid)
    assert (status, text) == (0, "")
    assert output.startswith(f"sparrow broker (process {broker.pid}): stopping\n")
    assert await broker.ended() == 0


def ended_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


async def test_what_it_refuses() -> None:
    assert f"process {os.getpid()} is no server of Sparrow's, but " in await complaint(os.getpid())
    for pid in (0, ended_process(), 10**30):
        assert f"there is no process {pid}: " in await complaint(pid)
    assert "--timeout-s must be above 0" in await complaint(os.getpid(), "--timeout-s", 0)
    assert "one at a time" in await complaint("sparrow-*")
    assert "name the process id" in await complaint("sparrow", PATH="/nowhere")
    status, _, text = await said()
    assert status == 2
    assert "usage: sparrow drain" in text


async def test_somebody_elses_process(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = deployment.broker()
    broker.start()
    await broker.up()

    def refuse(handle: int, number: signal.Signals) -> None:
        raise PermissionError

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    with pytest.raises(ServiceError, match=rf"\(process {broker.pid}\) belongs to somebody else: .* sudo$"):
        await asyncio.to_thread(drain.drain, str(broker.pid), 10)


@pytest.mark.parametrize(
    ("line", "role"),
    [
        ("/opt/sparrow/current/bin/python3 /opt/sparrow/current/bin/sparrow connector --config x", "connector"),
        ("python -W error -m sparrow.cli broker", "broker"),
        ("/opt/sparrow/bin/sparrow userapi", "userapi"),
        ("sparrow serve", "serve"),
        ("sparrow chat alice", ""),
        ("python -m sparrow.cli load soak", ""),
        ("vim sparrow serve", ""),
        ("sparrow", ""),
        ("", ""),
    ],
)
def test_what_a_server_looks_like(line: str, role: str) -> None:
    assert drain.role_of(tuple(line.split(" "))) == role


def test_what_is_left() -> None:
    values = {"sparrow_connector_sessions": 1234.0, "sparrow_broker_storing_rows": 5.0}

    def left(role: str) -> str:
        return drain.what_is_left(Seen("here", 0.0, role=role, values=values))

    assert left("connector") == "sessions left: 1,234"
    assert left("broker") == "copies to store: 5"
    assert left("node") == "sessions left: 1,234, copies to store: 5"
    assert left("") == ""


# systemd, played by a script.

SYSTEMCTL = """\
#!/bin/sh
echo "$*" >> {log}
case "$1 $UNIT_STATE" in
    "show gone") printf 'LoadState=not-found\\nMainPID=0\\n' ;;
    "show dead") printf 'LoadState=loaded\\nMainPID=0\\n' ;;
    show*) printf 'MainPID={pid}\\nLoadState=loaded\\n' ;;
    "stop refused") echo 'Interactive authentication required.' >&2; exit 1 ;;
    stop*) kill {pid} ;;
esac
"""


async def test_a_unit(deployment: Deployment, tmp_path: Path) -> None:
    broker = deployment.broker()
    broker.start()
    await broker.up()
    log, script = tmp_path / "asked", tmp_path / "bin" / "systemctl"
    script.parent.mkdir()
    script.write_text(SYSTEMCTL.format(log=log, pid=broker.pid))
    script.chmod(0o755)
    path = f"{script.parent}:{os.environ['PATH']}"
    unit = "sparrow-broker@1"
    assert f"there is no unit {unit}.service" in await complaint(unit, PATH=path, UNIT_STATE="gone")
    assert f"{unit}.service does not run" in await complaint(unit, PATH=path, UNIT_STATE="dead")
    status, _, text = await said(unit, PATH=path, UNIT_STATE="refused")
    assert status == 2
    assert text == f"sparrow: systemctl stop --no-block {unit}.service: Interactive authentication required.\n"
    status, output, _ = await said(unit, PATH=path)
    assert status == 0
    assert output.startswith(f"sparrow broker (process {broker.pid}) of {unit}.service: stopping")
    assert log.read_text().endswith(f"stop --no-block {unit}.service\n")
    assert await broker.ended() == 0
