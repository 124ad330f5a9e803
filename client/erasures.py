"""Messages of others that were erased before they came here: nobody waits for them.

Owns their names, as many as fit. Knows nothing of what they said.
"""

from __future__ import annotations

from typing import Final

from client.streams import StreamKey

MAX_ERASURES: Final = 4096
"""What is forgotten for a newer one is waited for, as what is lost."""


class Erasures:
    """Names, oldest first."""

    def __init__(self, most: int = MAX_ERASURES) -> None:
        self._most = most
        self._names: dict[tuple[StreamKey, int], None] = {}

    def __len__(self) -> int:
        return len(self._names)

    def add(self, key: StreamKey, number: int) -> None:
        """This message was erased, and has not come."""
        self._names[key, number] = None
        if len(self._names) > self._most:
            del self._names[next(iter(self._names))]

    def take(self, key: StreamKey, number: int) -> bool:
        """Whether it was erased; it is asked for no more."""
        if (key, number) not in self._names:
            return False
        del self._names[key, number]
        return True
