"""What Tab makes of the beginning of a line.

Owns which of `prompt_toolkit`'s completers is asked. The commands are `commands`' table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter, WordCompleter
from prompt_toolkit.document import Document

from sparrow.chat.commands import COMMANDS
from sparrow.chat.group_commands import GROUP_COMMANDS
from sparrow.chat.table import Table, Takes


class LineCompleter(Completer):
    """Commands, names after those that take one (and after @), paths and files after those that take them."""

    def __init__(
        self,
        names: Callable[[], Sequence[str]],
        files: Callable[[], Sequence[str]],
        groups: Callable[[], Sequence[str]] = lambda: (),
    ) -> None:
        self._commands = _commands(COMMANDS, "/")
        self._group_commands = _commands(GROUP_COMMANDS, "")
        self._places = WordCompleter(lambda: [f"@{name}" for name in (*names(), *groups())], sentence=True)
        self._arguments: dict[Takes, Completer] = {
            Takes.NAME: WordCompleter(lambda: names(), sentence=True),
            Takes.PLACE: WordCompleter(lambda: [*names(), *groups()], sentence=True),
            Takes.PATH: PathCompleter(expanduser=True),
            Takes.FILE: WordCompleter(lambda: files(), sentence=True),
        }

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """See `Completer`."""
        text = document.text_before_cursor
        if text.startswith("@"):
            return self._places.get_completions(document, complete_event)
        if not text.startswith("/"):
            return ()
        name, space, argument = text[1:].partition(" ")
        if not space:
            return self._commands.get_completions(document, complete_event)
        found = COMMANDS.get(name)
        if found is not None and found.takes == Takes.GROUP_COMMAND:
            name, space, argument = argument.lstrip().partition(" ")
            if not space:
                return self._group_commands.get_completions(Document(name), complete_event)
            found = GROUP_COMMANDS.get(name)
        completer = self._arguments.get(found.takes) if found is not None else None
        return () if completer is None else completer.get_completions(Document(argument.lstrip()), complete_event)


def _commands(table: Table, before: str) -> Completer:
    return WordCompleter(
        [f"{before}{name}" for name in table],
        sentence=True,
        meta_dict={f"{before}{name}": each.text for name, each in table.items()},
    )
