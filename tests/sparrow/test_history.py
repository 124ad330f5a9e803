"""`sparrow history`: for how long conversations are kept, and that what was erased comes back from no backup."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from client import Client
from sparrow.ops.history import told
from store.timelines import HistoryTerms
from tests.sparrow.people import OPTIONS
from tests.sparrow.serving import PASSWORD, Node, run


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()


def client(node: Node, user: str, state: str) -> Client:
    return Client(user, password=PASSWORD, api=node.api, state=node.folder / state, options=OPTIONS)


async def read(node: Node, state: str) -> list[str]:
    """What a new device of bob's finds, the newest first."""
    async with client(node, "bob", state) as bob:
        conversation = await bob.conversations.of("alice")
        return [message.erased_by or message.text async for message in conversation.backwards()]


async def test_what_was_erased_comes_back_from_no_backup(node: Node) -> None:
    node.start().register("alice", "bob")
    async with client(node, "alice", "alice.db") as alice:
        sendings = [await alice.send("bob", text) for text in ("one", "a secret", "three")]
        for sending in sendings:
            await sending.sent
        assert run(node, "backup", "made.tar").returncode == 0
        await (await sendings[1].erase()).sent
    assert await read(node, "bob.db") == ["three", "alice", "one"]
    node.kill()
    for path in (node.folder / "var").glob("sparrow.db*"):
        path.unlink(missing_ok=True)
    done = run(node, "restore", "made.tar")
    assert "erased again, from " in done.stdout, done
    assert ": 1 messages" in done.stdout
    node.start()
    assert await read(node, "bob2.db") == ["three", "alice", "one"]
    node.kill()
    files = [path for path in (node.folder / "var").iterdir() if path.is_file()]
    assert not [path for path in files if b"a secret" in path.read_bytes()]


async def test_without_a_ledger_a_restore_says_so(node: Node) -> None:
    node.start()
    assert run(node, "backup", "made.tar").returncode == 0
    node.kill()
    for path in (node.folder / "var").glob("sparrow.db*"):
        path.unlink(missing_ok=True)
    done = run(node, "restore", "made.tar")
    assert done.returncode == 0
    assert "nothing is erased again: there is no ledger" in done.stdout


async def test_how_long_is_changed_while_the_node_runs(node: Node) -> None:
    node.start().register("alice", "bob")
    assert run(node, "history").stdout.startswith("conversations are kept for 365 days, all since ")
    done = run(node, "history", "keep", "0")
    assert done.stdout.startswith("conversations are not kept\nwhat is older is not shown any more")
    again = run(node, "history", "keep", "30")
    assert again.stdout.startswith("conversations are kept for 30 days, all since ")
    assert run(node, "history").stdout == again.stdout


@pytest.mark.parametrize("arguments", [("keep",), ("keep", "-1"), ("keep", "x"), ("keep", "3651"), ("replay",)])
def test_what_cannot_be_meant_is_refused_in_one_line(node: Node, arguments: tuple[str, ...]) -> None:
    node.start()
    done = run(node, "history", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "sparrow history" in done.stderr


def test_a_ledger_that_is_not_there(node: Node) -> None:
    node.start()
    done = run(node, "history", "replay", "none.log")
    assert done.returncode == 2
    assert "none.log" in done.stderr.splitlines()[-1]


def test_a_store_of_before_keeps_nothing() -> None:
    assert told(HistoryTerms()) == "conversations are not kept"
