"""A server and the terminals of people at it, and what their screens show.

Owns the node and the children.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from tests.sparrow.serving import PASSWORD, Node
from tests.sparrow.terminal import BLUE, Screen, Terminal


class Stage:
    """A server, and terminals of people at it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.node = Node(folder)
        self.terminals: list[Terminal] = []
        self.password = PASSWORD

    def command(self, user: str, *more: str) -> list[str]:
        return [sys.executable, "-m", "sparrow.cli", "chat", user, "--api", self.node.api, *more]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "XDG_STATE_HOME": str(self.folder / "state"), "SPARROW_TRACEBACK": "1"}

    def chat(self, user: str, *more: str) -> Terminal:
        """`sparrow chat USER` in a terminal."""
        terminal = Terminal(self.command(user, *more), self.environment)
        self.terminals.append(terminal)
        return terminal

    def newcomer(self, user: str) -> Terminal:
        """The same, for the first time: a password, and a new account."""
        terminal = self.chat(user)
        terminal.shows(f"Password of {user}:")
        terminal.type(PASSWORD)
        terminal.shows("Make a new account")
        terminal.type("y")
        terminal.shows("once more")
        terminal.type(PASSWORD)
        terminal.shows("connected")
        return terminal

    def plain(self, user: str, *more: str) -> subprocess.Popen[str]:
        """`sparrow chat USER --plain` on pipes."""
        return subprocess.Popen(
            self.command(user, "--plain", *more),
            env={**self.environment, "SPARROW_PASSWORD": self.password},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        for terminal in self.terminals:
            terminal.kill()
            assert "Traceback" not in terminal.said
        if self.node.process is not None and self.node.process.poll() is None:
            assert self.node.stop() == 0
        assert "Traceback" not in self.node.log


def texts(screen: Screen, author: str) -> list[str]:
    """What `author` has said, as far as it is on the screen, from above to below."""
    found = [re.search(rf"^\d\d:\d\d .. {author}(?: \(.*?\))?: (.*)", line) for line in screen.lines]
    return [match[1] for match in found if match is not None]


def read(text: str) -> Callable[[Screen], bool]:
    """Whether our line `text` is shown as read."""

    def is_read(screen: Screen) -> bool:
        return any(f"✓✓ me: {text}" in line for line in screen.lines) and (
            screen.colour_of(f"me: {text}", "✓✓") == BLUE
        )

    return is_read


def until_line(output: IO[str], line: str) -> None:
    """Read until this line has come."""
    for said in output:
        if said.rstrip("\n") == line:
            return
    pytest.fail(f"it has ended without saying {line!r}")
