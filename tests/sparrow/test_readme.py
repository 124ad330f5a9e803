"""The programs in README.md, as they stand there, and the notifier of examples/, against a real node."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from client import FILE, Client
from tests.sparrow.serving import PASSWORD, Node

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


class Program:
    """One that is running, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def says(self, text: str) -> None:
        """Read on until a line begins so."""
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            async for line in self._process.stdout:
                if line.decode().startswith(text):
                    return
        pytest.fail(f"it has ended without saying {text!r}")

    async def stop(self) -> None:
        assert self._process.returncode is None
        self._process.terminate()
        await self._process.wait()


def shown() -> list[str]:
    """The programs in README.md."""
    return re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


def test_they_are_examples_too() -> None:
    for source, name in zip(shown(), ("talk", "group", "friends"), strict=True):
        text = (ROOT / "examples" / f"{name}.py").read_text()
        assert text.partition('"""\n\n')[2] == source


@pytest.fixture
def programs(node: Node, tmp_path: Path) -> list[list[str]]:
    """Commands that run the programs at this node."""
    found = shown()
    commands = []
    for number, source in enumerate(found):
        path = tmp_path / f"program{number}.py"
        path.write_text(source.replace('password="correct horse"', f'password="{PASSWORD}", api="{node.api}"'))
        commands.append([sys.executable, "-u", str(path)])
    return commands


async def started(command: list[str], folder: Path) -> Program:
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=asyncio.subprocess.PIPE)
    return Program(process)


async def test_the_programs(node: Node, programs: list[list[str]], tmp_path: Path) -> None:
    first, grouped, second = programs
    node.register("bob")
    (tmp_path / "holiday.jpg").write_bytes(bytes(100_000))
    async with Client("bob", password=PASSWORD, api=node.api) as bob:
        messages = aiter(bob)
        talking = await started(first, tmp_path)
        async with asyncio.timeout(30):
            message = await anext(messages)
        assert (message.sender, message.text) == ("alice", "hello")
        await bob.send("alice", "hi")
        await talking.says("bob hi")
        await talking.stop()

        writing = await started(grouped, tmp_path)
        async with asyncio.timeout(30):
            while not (invitations := await bob.groups.invitations()):
                await asyncio.sleep(0.05)
            group = await bob.groups.join(invitations[0].group)
        assert (group.name, [each.user for each in group.members]) == ("Hiking", ["alice", "bob"])
        await (await bob.send(group.group, "up")).sent
        await writing.says(f"{group.group} bob up")
        await writing.stop()

        sending = await started(second, tmp_path)
        await sending.says("100000 of 100000")
        async with asyncio.timeout(30):
            message = await anext(messages)
            if message.group:  # it may have been written behind his yes
                message = await anext(messages)
        assert message.kind == FILE
        made = await bob.files.download(message.file, tmp_path / "bobs.jpg")
        assert made.read_bytes() == bytes(100_000)
        assert [one.user for one in await bob.contacts.requests()] == ["alice"]
        await bob.contacts.accept("alice")
        await sending.says("FRIEND_ACCEPTED bob")
        await bob.send_file("alice", made)
        await sending.says("saved as bobs (2).jpg")
        await sending.stop()


async def test_a_notifier_from_a_shell_script(node: Node, tmp_path: Path) -> None:
    node.register("robot")
    node.register("carol")
    environment = {**os.environ, "SPARROW_PASSWORD": PASSWORD, "SPARROW_API": node.api, "XDG_STATE_HOME": str(tmp_path)}

    async def notify(*text: str, lines: bytes = b"") -> None:
        process = await asyncio.create_subprocess_exec(
            ROOT / "examples" / "notify", "robot", "carol", *text, env=environment, stdin=asyncio.subprocess.PIPE
        )
        await process.communicate(lines)
        assert process.returncode == 0

    await notify("the", "disk is full")
    await notify(lines=b"one\ntwo\n")
    async with Client("carol", password=PASSWORD, api=node.api) as carol:
        messages = aiter(carol)
        async with asyncio.timeout(30):
            texts = [(await anext(messages)).text for _ in range(3)]
    assert texts == ["the disk is full", "one", "two"]
