"""Who is typing: told of whoever writes to us, and told to whom we write.

Owns what is said of it, each way. Draws nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from client import Client, Message, Signal, Typists
from protocol.errors import SparrowError
from sparrow.chat.conversation import Conversation
from sparrow.chat.text import who

NAMED = 2
"""So many are named; of more, how many they are."""


class Typing:
    """Of one chat."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._typists = Typists()

    def told(self, signal: Signal) -> None:
        """Somebody is typing, or not any more."""
        self._typists.noticed(signal, self._clock())

    def wrote(self, message: Message) -> None:
        """A message has come: its author is not typing it any more."""
        self._typists.stopped(message.group or message.sender, message.sender)

    def shown(self, conversation: Conversation | None) -> str:
        """What is to be said of who is typing in this conversation; empty: nobody is."""
        people = [] if conversation is None else self._typists.typing(conversation.peer, self._clock())
        if not people:
            return ""
        if len(people) > NAMED:
            return f"{len(people)} people are typing…"
        return f"{' and '.join(map(who, people))} {'is' if len(people) == 1 else 'are'} typing…"

    def typed(self, client: Client, conversation: Conversation | None, line: str) -> None:
        """The line that is being typed is this by now."""
        if conversation is None:
            return
        try:
            if line.strip() and (line[0] not in "/@" or line[:2] in ("//", "@@")):
                client.typing(conversation.peer)
            else:
                client.stopped_typing(conversation.peer)
        except SparrowError:
            return  # the chat is about to end, and says why
