"""Who is big: the users with most that waits for them, with most uploaded, and the largest groups.

Owns the walk through all accounts and groups, a page at a time, when somebody asks for it, and what the last one has
found. Only a walk can tell: no engine keeps such a list, and a database is not read on a timer.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterator
from operator import itemgetter

from sparrow.operator_page.administering import Administering, Json
from userapi.http.problems import ProblemError

MOST = 15
"""So many of each are told."""
PAUSE_S = 0.02
"""Between two pages, for those who use the store meanwhile."""
MAX_S = 600.0
"""A walk that takes longer ends, and says how far it came."""
_BY = {
    "inboxes": ("accounts", "waiting_rows"),
    "uploads": ("accounts", "uploaded_bytes"),
    "groups": ("groups", "members"),
}


class Sizes:
    """The newest walk. Threads may share it."""

    def __init__(
        self, there: Administering, clock: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._there = there
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._told: Json = {"running": False, "begun_ms": None, "looked_at": 0, "trouble": "", "top": {}}

    def told(self) -> Json:
        """How far it is, and what it has found until now."""
        with self._lock:
            return self._told

    def begin(self) -> Json:
        """Walk, unless somebody has begun to."""
        with self._lock:
            if not self._told["running"]:
                self._told = {
                    **{"running": True, "begun_ms": round(self._clock() * 1000), "looked_at": 0, "trouble": ""},
                    "top": {name: [] for name in _BY},
                }
                threading.Thread(target=self._walk, name="sizes", daemon=True).start()
            return self._told

    def _walk(self) -> None:
        trouble, ends_s = "", time.monotonic() + MAX_S
        try:
            for kind, page in self._pages():
                self._add(kind, page)
                if time.monotonic() > ends_s:
                    trouble = f"not all of it: it ended after {MAX_S / 60:.0f} minutes"
                    break
        except ProblemError as problem:
            trouble = problem.detail
        except Exception as error:
            trouble = f"the answer was none of a user API ({type(error).__name__})"
        with self._lock:
            self._told = {**self._told, "running": False, "trouble": trouble}

    def _pages(self) -> Iterator[tuple[str, list[Json]]]:
        asked: dict[str, Callable[[str], Json]] = {
            "accounts": self._there.usage,
            "groups": lambda cursor: self._there.groups(cursor, ""),
        }
        for kind, ask in asked.items():
            cursor = ""
            while True:
                page = ask(cursor)
                yield kind, page[kind]
                if page["next"] is None:
                    break
                cursor = page["next"]
                self._sleep(PAUSE_S)

    def _add(self, kind: str, page: list[Json]) -> None:
        with self._lock:
            top = dict(self._told["top"])
            for name, (of, key) in _BY.items():
                if of == kind:
                    there = [one for one in page if one[key] > 0]
                    top[name] = heapq.nlargest(MOST, [*top[name], *there], key=itemgetter(key))
            self._told = {**self._told, "top": top, "looked_at": self._told["looked_at"] + len(page)}
