"""The TypeScript client against a real node: what an application sees, over TCP, TLS and WebSockets, and over crashes
of the client's process and of the node's, with the account at the end."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.certificates import Authority
from tests.sparrow.serving import PASSWORD, Node, with_websocket
from tests.typescript.conftest import CLIENT

Run = Callable[..., str]
FLAGS = "--disable-warning=ExperimentalWarning"


@pytest.fixture
def users(node: Node) -> tuple[str, str]:
    """Two users of this test's own."""
    made = (f"alice-{uuid.uuid4().hex[:8]}", f"bob-{uuid.uuid4().hex[:8]}")
    node.register(*made)
    return made


def test_what_an_application_sees(node: Node, run: Run) -> None:
    connector = f"127.0.0.1:{node.port}"
    run("node", FLAGS, "--test", "test/real/server.test.ts", SPARROW_API=node.api, SPARROW_CONNECTOR=connector)


class Talker:
    """clients/typescript/test/real/talker.ts; what it says, line by line, up to its end."""

    def __init__(self, bin: Path, api: str, user: str, state: Path, other: str, *arguments: object) -> None:
        command = [bin / "node", FLAGS, "test/real/talker.ts", user, api, state, other, *map(str, arguments)]
        self._process = subprocess.Popen(command, cwd=CLIENT, stdout=subprocess.PIPE, text=True)
        self._watchdog = threading.Timer(60, self._process.kill)
        self._watchdog.start()
        self.lines: list[list[str]] = []

    @property
    def _output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def until(self, *line: str) -> None:
        """Read up to this line, or where it is done."""
        while [*line] not in self.lines and ["done"] not in self.lines:
            said = self._output.readline()
            if not said:
                break
            self.lines.append(said.split())

    def kill(self) -> None:
        """Now; and read what it has still said. The kill may have cut its last line off."""
        os.kill(self._process.pid, signal.SIGKILL)
        self.lines += [line.split() for line in self._output if line.endswith("\n")]
        self._process.wait()
        self._watchdog.cancel()
        self._output.close()

    def said(self, word: str) -> list[int]:
        """The numbers behind a word."""
        return [int(line[1]) for line in self.lines if line[0] == word]


def test_kill_9_of_both_clients_and_the_node_in_the_middle(bin: Path, tmp_path: Path) -> None:
    """What `send` has returned for is kept: it is shown in order and once, whoever is killed, and whenever.

    One writes over TCP, the other reads over a WebSocket.
    """
    total, next_one, got = 400, 0, []
    node = with_websocket(tmp_path / "node").start()
    node.register("alice", "bob")

    def receive() -> Talker:
        return Talker(bin, node.api, "bob", tmp_path / "bob.db", "alice", 0, 0, "websocket")

    receiver = receive()
    for kills, stop_at in enumerate((3, 40, 110, 150, 200, 290, total)):
        talker = Talker(bin, node.api, "alice", tmp_path / "alice.db", "bob", next_one, min(stop_at + 30, total))
        talker.until("kept", str(stop_at))
        if kills == 2:
            node.kill()
            node.start()
        talker.kill()
        # One more may have been kept without its line having come out; the next one says so.
        next_one = max([*talker.said("kept"), *(each - 1 for each in talker.said("next"))]) + 1
        if kills in (1, 3, 4):
            receiver.kill()
            got += receiver.said("got")
            receiver = receive()
    receiver.until("got", str(total - 1))
    receiver.kill()
    got += receiver.said("got")
    # A message that was in the application's hands at a kill is told to it again; nothing else is.
    repeats = [one for one, other in itertools.pairwise(got) if one == other]
    assert len(repeats) <= 3
    assert sorted(got) == got
    assert sorted(set(got)) == list(range(total))
    assert node.stop() == 0, node.log


def test_the_chat_of_the_examples(node: Node, users: tuple[str, str], bin: Path, run: Run, tmp_path: Path) -> None:
    run("scripts/build")
    alice, bob = users

    def chat(user: str, other: str, *lines: str) -> subprocess.CompletedProcess[str]:
        command = [bin / "node", FLAGS, CLIENT / "examples/chat.ts", user, other, node.api]
        told = "".join(f"{line}\n" for line in (PASSWORD, *lines))
        return subprocess.run(command, input=told, capture_output=True, text=True, cwd=tmp_path, timeout=60)

    written = chat(alice, bob, "hello", "/edit hello, bob", "/quit")
    assert "✓ hello" in written.stdout
    shown = chat(bob, alice, "/quit")
    assert (written.returncode, shown.returncode, written.stderr, shown.stderr) == (0, 0, "", "")
    assert f"{alice}: hello, bob" in shown.stdout


@pytest.fixture
def tls_node(tmp_path: Path) -> Iterator[tuple[Node, Authority]]:
    """A node that speaks TLS only."""
    authority = Authority(tmp_path / "tls")
    certificate, key = authority.issue()
    files = {"tls_certificate_file": certificate, "tls_private_key_file": key}
    settings = {f"{part}__{name}": path for part in ("connector", "userapi") for name, path in files.items()}
    node = with_websocket(tmp_path / "node", **settings).start()
    yield node, authority
    node.stop()


def test_tls(tls_node: tuple[Node, Authority], run: Run) -> None:
    node, authority = tls_node
    more = {"SPARROW_API": node.api, "SPARROW_CA": str(authority.file), "NODE_EXTRA_CA_CERTS": str(authority.file)}
    for bob in ("tls", "wss"):
        more["SPARROW_BOB"] = bob
        run("node", FLAGS, "--test", "--test-name-pattern=a conversation:", "test/real/server.test.ts", **more)
    run("node", FLAGS, "test/real/untrusted.ts", **{name: value for name, value in more.items() if "CA" not in name})
