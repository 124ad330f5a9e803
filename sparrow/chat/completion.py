"""What Tab makes of the beginning of a line.

Owns which of `prompt_toolkit`'s completers is asked. The commands are `commands`' table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter, WordCompleter
from prompt_toolkit.document import Document

from sparrow.chat.commands import COMMANDS, Takes


class LineCompleter(Completer):
    """Commands, names after those that take one (and after @), paths and files after those that take them."""

    def __init__(self, names: Callable[[], Sequence[str]], files: Callable[[], Sequence[str]]) -> None:
        self._commands = WordCompleter(
            [f"/{name}" for name in COMMANDS],
            sentence=True,
            meta_dict={f"/{name}": each.text for name, each in COMMANDS.items()},
        )
        self._people = WordCompleter(lambda: [f"@{name}" for name in names()], sentence=True)
        self._arguments: dict[Takes, Completer] = {
            Takes.NAME: WordCompleter(lambda: names(), sentence=True),
            Takes.PATH: PathCompleter(expanduser=True),
            Takes.FILE: WordCompleter(lambda: files(), sentence=True),
        }

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """See `Completer`."""
        text = document.text_before_cursor
        if text.startswith("@"):
            return self._people.get_completions(document, complete_event)
        if not text.startswith("/"):
            return ()
        name, space, argument = text[1:].partition(" ")
        if not space:
            return self._commands.get_completions(document, complete_event)
        found = COMMANDS.get(name)
        completer = self._arguments.get(found.takes) if found is not None else None
        return () if completer is None else completer.get_completions(Document(argument.lstrip()), complete_event)
