"""An event loop whose time passes only while everybody waits, and then at once: tests of time-outs that take none.

For what is all in this process: nobody waits for a socket.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any


class ClockLoop(asyncio.SelectorEventLoop):
    """Begins at 1,000 s."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        select = self._selector.select  # type: ignore[attr-defined]

        def passes(timeout: float | None = None) -> Any:
            assert timeout is not None, "everybody waits, and nothing is to happen"
            self.now += timeout
            return select(0)

        self._selector.select = passes  # type: ignore[attr-defined]

    def time(self) -> float:
        """Seconds."""
        return self.now


def by_the_clock(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in such a loop."""

    @functools.wraps(test)
    def run(*args: Any, **named: Any) -> None:
        with asyncio.Runner(loop_factory=ClockLoop) as runner:
            runner.run(test(*args, **named))

    return run
