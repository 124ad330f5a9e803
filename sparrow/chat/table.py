"""What a command is, and a table of them: of one, /help and the completion are made.

Owns their form. Which there are is `commands`' and `group_commands`' business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

from protocol.errors import MisuseError
from sparrow.chat.text import short

if TYPE_CHECKING:
    from sparrow.chat.chat import Chat

Run: TypeAlias = "Callable[[Chat, str], Awaitable[None]]"


class Takes(Enum):
    """What stands behind a command, and can be completed."""

    NOTHING = auto()
    TEXT = auto()
    NAME = auto()
    PLACE = auto()
    """A user's name, or a group's."""
    PATH = auto()
    FILE = auto()
    GROUP_COMMAND = auto()


_MISSING = {Takes.NAME: "whom?", Takes.PLACE: "whom?", Takes.PATH: "which file?"}


@dataclass(frozen=True, slots=True)
class Command:
    """One of them."""

    name: str
    argument: str
    """What people read; in brackets, if it may be left out."""
    text: str
    takes: Takes
    run: Run
    beside: str = ""
    """In the help it stands in the row of this one."""
    before: str = "/"
    """What is typed before its name."""

    @property
    def usage(self) -> str:
        """How it is typed."""
        return f"{self.before}{self.name} {self.argument}".rstrip()


class Table(dict[str, Command]):
    """Name → command, in the order in which the help has them."""

    def __init__(self, before: str = "/") -> None:
        super().__init__()
        self._before = before

    def put(self, argument: str, takes: Takes, text: str, beside: str = "") -> Callable[[Run], Run]:
        """Put a function into the table, under its own name."""

        def put(run: Run) -> Run:
            name = run.__name__.strip("_").replace("_", "-")
            self[name] = Command(name, argument, text, takes, run, beside, self._before)
            return run

        return put

    async def obey(self, chat: Chat, name: str, argument: str) -> None:
        """Do what was typed. Raises `SparrowError`."""
        found = self.get(name)
        if found is None:
            help_of = f"{self._before}help"
            raise MisuseError(f"there is no command {self._before}{short(name, 20)}; {help_of} names all")
        argument = argument.strip()
        if not argument and found.argument and not found.argument.startswith("["):
            raise MisuseError(f"{_MISSING.get(found.takes, 'what?')} {found.usage}")
        await found.run(chat, argument)

    def help(self) -> list[str]:
        """A row for each."""
        width = max(len(each.usage) for each in self.values() if not each.beside) + 2
        rows = {name: each.usage.ljust(width) + each.text for name, each in self.items() if not each.beside}
        for each in self.values():
            if each.beside:
                rows[each.beside] += f" · {each.usage}: {each.text}"
        return list(rows.values())


def number(text: str, usage: str) -> int:
    """What is counted: 1 and up. Raises `MisuseError`."""
    if not (text.isascii() and text.isdecimal() and int(text[:8]) > 0 and len(text) < 8):
        raise MisuseError(f"how many? {usage}")
    return int(text)


def how_far_back(argument: str) -> tuple[int, str]:
    """`-N REST`: how far back, and the rest; without it the last."""
    first, _, rest = argument.partition(" ")
    if first[:1] == "-" and first[1:].isascii() and first[1:].isdecimal() and len(first) < 8:
        return int(first), rest.strip()
    return -1, argument
