"""What the user API knows of history: whether conversations are kept, and how.

Owns the memory of what the store says of it, one in each process. Knows no endpoint.
"""

from __future__ import annotations

from collections.abc import Callable

from store.settings import HistorySettings
from store.timelines import HistoryTerms, Timelines
from userapi.bridge import StoreBridge
from userapi.http.problems import ProblemError

TERMS_S = 3.0
"""What the store says of it is asked for so often at most."""


class History:
    """Of one process; threads may share it. `steady` is a clock in seconds that never steps."""

    def __init__(self, bridge: StoreBridge, settings: HistorySettings, steady: Callable[[], float]) -> None:
        self._bridge = bridge
        self._steady = steady
        self._known: tuple[float, HistoryTerms] | None = None
        self.keeps_words = settings.words_of_deleted_accounts == "keep"
        """Whether the words of those whose account ends stay with the others."""

    @property
    def timelines(self) -> Timelines:
        """What is kept."""
        return self._bridge.store.timelines

    def terms(self) -> HistoryTerms:
        """What holds now, `TERMS_S` old at most. Raises `StoreError`."""
        now, known = self._steady(), self._known
        if known is None or not 0 <= now - known[0] < TERMS_S:
            known = self._known = now, self._bridge.call(self.timelines.terms)
        return known[1]

    def check(self) -> None:
        """Raises `ProblemError` ("history_not_kept") where conversations are not kept, and `StoreError`."""
        if not self.terms().keep_days:
            raise ProblemError("history_not_kept")
