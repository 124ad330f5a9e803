"""A program in a pseudo-terminal, and what its screen shows: characters in cells, with colours.

Owns the child process. Understands what `prompt_toolkit` writes to an xterm.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pexpect  # type: ignore[import-untyped]

_TOKEN = re.compile(
    r"\x1b\[([?>=]?)([\d;]*)([@-~])|\x1b\][^\x07]*\x07|\x1b[()][A-Z0-9]|\x1b[=>78]|[\x00-\x1a]|[^\x1b\x00-\x1a]+"
)
BLUE = 94
ROWS, COLUMNS = 24, 90


@dataclass(frozen=True)
class Cell:
    """One place on the screen."""

    char: str = " "
    colour: int = 39
    reverse: bool = False


class Screen:
    """What a terminal makes of the bytes."""

    def __init__(self) -> None:
        self.cells = [[Cell()] * COLUMNS for _ in range(ROWS)]
        self.row = self.column = 0
        self.colour, self.reverse = 39, False
        self._rest = ""

    def feed(self, text: str) -> None:
        """Obey."""
        text = self._rest + text
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                break
            at = found.end()
            if found[3]:
                if not found[1]:
                    self._command(found[3], [int(number or 0) for number in found[2].split(";")])
                elif found[2] == "1049":
                    self._command("J", [2])
            elif found[0][0] != "\x1b":
                for char in found[0]:
                    self._put(char)
        self._rest = text[at:]

    def _put(self, char: str) -> None:
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self._down()
        elif char == "\b":
            self.column = max(0, self.column - 1)
        elif char >= " ":
            if self.column >= COLUMNS:
                self.column = 0
                self._down()
            self.cells[self.row][self.column] = Cell(char, self.colour, self.reverse)
            self.column += 1

    def _down(self) -> None:
        if self.row < ROWS - 1:
            self.row += 1
        else:
            self.cells = [*self.cells[1:], [Cell()] * COLUMNS]

    def _command(self, name: str, numbers: list[int]) -> None:
        count = max(1, numbers[0])
        if name in "AB":
            self.row = min(ROWS - 1, max(0, self.row + (count if name == "B" else -count)))
        elif name in "CD":
            self.column = min(COLUMNS - 1, max(0, self.column + (count if name == "C" else -count)))
        elif name == "H":
            self.row, self.column = count - 1, (max(1, numbers[1]) if len(numbers) > 1 else 1) - 1
        elif name == "K":
            self._erase(self.row, self.column)
        elif name == "J":
            if numbers[0] == 2:
                self.row = self.column = 0
            for row in range(self.row, ROWS):
                self._erase(row, self.column if row == self.row else 0)
        elif name == "m":
            self._style(numbers)

    def _erase(self, row: int, column: int) -> None:
        self.cells[row][column:] = [Cell()] * (COLUMNS - column)

    def _style(self, numbers: list[int]) -> None:
        for number in numbers:
            if number == 0:
                self.colour, self.reverse = 39, False
            elif number in (7, 27):
                self.reverse = number == 7
            elif 30 <= number <= 39 or 90 <= number <= 97:
                self.colour = number

    @property
    def lines(self) -> list[str]:
        """The text of each row."""
        return ["".join(cell.char for cell in row).rstrip() for row in self.cells]

    def colour_of(self, line: str, text: str) -> int:
        """The colour of `text` in the row that holds `line`."""
        row = next(number for number, shown in enumerate(self.lines) if line in shown)
        return self.cells[row][self.lines[row].index(text)].colour


class Terminal:
    """A child on a screen of its own."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.screen = Screen()
        self.said = ""
        environment = {**environment, "TERM": "xterm-256color", "LANG": "C.UTF-8", "PYTHONWARNINGS": "error"}
        self.child = pexpect.spawn(
            command[0],
            list(command[1:]),
            env=environment,
            dimensions=(ROWS, COLUMNS),
            encoding="utf-8",
            timeout=30,
            # A shell that runs the tests in the background has them ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.child.delaybeforesend = None

    def look(self) -> bool:
        """Take what has been written; whether the child still lives."""
        try:
            text = self.child.read_nonblocking(65536, 0.02)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.said += text
        self.screen.feed(text)
        return True

    def until(self, condition: Callable[[Screen], object], seconds: float = 20.0) -> None:
        """Watch until the screen fulfils it."""
        deadline = time.monotonic() + seconds
        while not condition(self.screen):
            alive = self.look()
            assert time.monotonic() < deadline, self.picture("it does not come")
            assert alive or condition(self.screen), self.picture("it has ended")

    def shows(self, *lines: str) -> None:
        """Watch until each of these stands in a row."""
        self.until(lambda screen: all(any(line in shown for shown in screen.lines) for line in lines))

    def type(self, text: str) -> None:
        """Type, and press Enter."""
        self.child.send(text + "\r")

    def press(self, keys: str) -> None:
        """Type."""
        self.child.send(keys)

    def interrupt(self) -> int:
        """Press Ctrl-C, and again if that came between two looks of Python at its signals; the exit status."""
        self.press("\x03")
        again_at = time.monotonic() + 2
        while self.look() and time.monotonic() < again_at:
            pass
        if self.child.isalive():
            self.press("\x03")
        return self.end()

    def end(self) -> int:
        """Wait until it has ended by itself; the exit status."""
        deadline = time.monotonic() + 20
        while self.look():
            assert time.monotonic() < deadline, self.picture("it does not end")
        self.child.close()
        assert self.child.exitstatus is not None, self.picture(f"ended by signal {self.child.signalstatus}")
        return int(self.child.exitstatus)

    def kill(self) -> None:
        """kill -9, if it still lives."""
        if self.child.isalive():
            self.child.kill(signal.SIGKILL)
        self.child.close(force=True)

    def picture(self, reason: str) -> str:
        """The screen, for a failing test."""
        return "\n".join([reason, *self.screen.lines])
