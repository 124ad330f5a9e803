"""What a chat tells whatever shows it: a whole screen, or lines.

Owns that shape alone.
"""

from __future__ import annotations

from typing import Protocol

from sparrow.chat.conversation import Conversation, Line
from sparrow.chat.transfers import Transfer


class Display(Protocol):
    """What is shown of a chat."""

    def refresh(self) -> None:
        """Something has changed."""

    def opened(self, conversation: Conversation) -> None:
        """Another conversation is open."""

    def added(self, line: Line) -> None:
        """A new line."""

    def changed(self, line: Line) -> None:
        """A line of ours has come further, or has been told to wait."""

    def amended(self, line: Line) -> None:
        """A line was edited or erased."""

    def loaded(self, conversation: Conversation) -> None:
        """Older lines of what is open are here."""

    def above(self, conversation: Conversation) -> int:
        """How many lines of it are above what was shown."""

    def back(self, conversation: Conversation, count: int) -> None:
        """Show so many lines more, above what was shown."""

    def notice(self, text: str) -> None:
        """Something to say that is no message. May have several lines."""

    def progress(self, transfer: Transfer) -> None:
        """A transfer has come further, or has ended."""

    def stop(self) -> None:
        """The chat is over."""
