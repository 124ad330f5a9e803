"""What may wait for a user: so much of one author, and so much of all together.

Owns what is known of how much waits, and when the store is asked for it. It costs no read per message: as long as
little has been stored for a user, that is all that is known; then the store counts, and if it is much, what is stored
from there on is counted here, too (docs/design.md, "What may wait").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from broker.core.state import Presence, StorePort, Storing, Turn
from broker.settings import BrokerSettings
from fabric.records import ATTEMPT, FLAGS, INBOX_BUSY, INBOX_FULL, NO_SPACE, ORIGIN, OWN, RECEIPT

FRACTION: Final = 16
"""The store is asked when this part of what one author may fill has been stored for a user since it was asked last."""
MUCH: Final = 2
"""A user of whom less than this part waits is not watched."""
SPACE_S: Final = 1.0
FORGET_S: Final = 60.0
REST: Final = 4
"""Seconds for which the store is left alone, for each second that counting took."""
AT_ONCE: Final = 20
Counts = Mapping[str, tuple[int, int]]


class Watched:
    """A user for whom much waits, or may wait."""

    __slots__ = ("asked_at", "authors", "bytes", "during", "flying", "full", "left", "rows", "used_at")

    def __init__(self, now: float) -> None:
        self.authors: dict[str, tuple[int, int]] = {}
        """Rows and bytes of each; "" has receipts, which are never refused."""
        self.rows = self.bytes = 0
        self.left = 0
        """Bytes, and weights of rows, that may still be stored before the store is asked again."""
        self.flying: dict[int, tuple[str, int]] = {}
        """Copies that were taken and are not in the store yet: author and size."""
        self.during: list[tuple[str, int]] | None = None
        """What the store may not have seen when it counts: what was flying then, and what was taken since."""
        self.full = False
        """Something was refused: whoever tries again finds what is true by then, not what was true at the time."""
        self.asked_at = float("-inf")
        self.used_at = now

    def add(self, author: str, size: int) -> None:
        """Count one more row of so many bytes."""
        rows, total = self.authors.get(author, (0, 0))
        self.authors[author] = (rows + 1, total + size)
        self.rows += 1
        self.bytes += size
        if self.during is not None:
            self.during.append((author, size))

    def counted(self, counts: Counts) -> None:
        """Take what the store has counted, as it was when it began; what was taken since is added."""
        during, self.during = self.during or [], None
        self.authors = dict(counts)
        self.rows = sum([rows for rows, _ in counts.values()])
        self.bytes = sum([size for _, size in counts.values()])
        for author, size in during:
            self.add(author, size)


class Quota:
    """What waits for all users that this broker stores for."""

    def __init__(self, settings: BrokerSettings, turn: Turn, presence: Presence, store: StorePort) -> None:
        self._settings = settings
        self._turn = turn
        self._presence = presence
        self._store = store
        # One number for both limits: whichever is used up, so is this.
        self._row_weight = settings.inbox_max_bytes_of_author // settings.inbox_max_rows_of_author
        self._portion = settings.inbox_max_bytes_of_author // FRACTION
        self._left: dict[str, int] = {}
        """User → how much may be stored before anybody looks. Below 0: the user is watched."""
        self._watched: dict[str, Watched] = {}
        self.due: dict[str, None] = {}
        """Users of whom the store has to count what waits."""
        self._refused = (0, 0)
        """The last attempt of which a copy was refused: its other copies would be stored in vain."""
        self._counting = False
        self._next_at = 0.0
        self._next_tick = 0.0
        self.no_space = False
        """The store's disk is nearly full: nothing but receipts is stored."""

    @property
    def watched(self) -> int:
        """Users for whom much waits, or may wait."""
        return len(self._watched)

    def take(self, copy: Storing, size: int) -> int:
        """Count a copy of so many bytes that is about to be stored: 0, or the state of its outcome if it may not be."""
        user = copy.user
        self._left[user] = left = self._left.get(user, self._portion) - size - self._row_weight
        return 0 if left >= 0 and not self.no_space else self._look(copy, size)

    def _look(self, copy: Storing, size: int) -> int:
        if self.no_space and not copy.record[FLAGS] & RECEIPT:
            return NO_SPACE
        now, user = self._turn.now, copy.user
        watched = self._watched.get(user)
        if watched is None:
            watched = self._watched[user] = Watched(now)
        watched.used_at = now
        # A receipt lets a row go that it is told of; refused, it would keep it. There are no more of them than
        # messages that were taken.
        attempt = (copy.record[ORIGIN], copy.record[ATTEMPT])
        if not copy.record[FLAGS] & RECEIPT and (attempt == self._refused or self._is_full(watched, copy, size)):
            self._refused = attempt
            watched.full = True
            self._ask(user, watched)
            there = copy.device in self._presence.where(user)
            return INBOX_BUSY if there else INBOX_FULL
        watched.add(copy.author, size)
        watched.flying[id(copy)] = (copy.author, size)
        watched.left -= size + self._row_weight
        if watched.left < 0:
            self._ask(user, watched)
        return 0

    def _is_full(self, watched: Watched, copy: Storing, size: int) -> bool:
        """What an author may fill shrinks with the square of the room that is *left*, so that it takes hundreds of
        authors to leave none for one more. One alone comes to the author's limit exactly.

        Copies for one's own other devices are bounded by that alone: nobody else can stop what one writes.
        """
        settings = self._settings
        rows, total = watched.authors.get(copy.author, (0, 0))
        rows, total = rows + 1, total + size
        all_rows, all_bytes = (rows, total) if copy.record[FLAGS] & OWN else (watched.rows + 1, watched.bytes + size)
        return _over(rows, all_rows, settings.inbox_max_rows_of_author, settings.inbox_max_rows) or _over(
            total, all_bytes, settings.inbox_max_bytes_of_author, settings.inbox_max_bytes
        )

    def _ask(self, user: str, watched: Watched) -> None:
        # Where nobody is who could take anything, little changes.
        pause = self._settings.inbox_look_s * (1 if self._presence.where(user) else 10)
        if watched.during is None and self._turn.now >= watched.asked_at + pause:
            self.due[user] = None

    def appended(self, copies: Iterable[Storing]) -> None:
        """These copies are in the store, or could not be put there."""
        for copy in copies if self._watched else ():
            watched = self._watched.get(copy.user)
            if watched is not None:
                watched.flying.pop(id(copy), None)

    def tick(self) -> None:
        """Look at the disk, and forget users for whom nothing is stored any more."""
        now = self._turn.now
        if now < self._next_tick:
            return
        self._next_tick = now + SPACE_S
        self.no_space = self._store.no_space()
        for user, watched in list(self._watched.items()):
            if watched.used_at < now - FORGET_S:
                del self._watched[user]
                self._left[user] = 0  # the next copy asks
            elif watched.full:
                self._ask(user, watched)
        if len(self._left) > self._settings.max_cached_users:
            self._left = dict.fromkeys(self._watched, -1)

    def flush(self) -> None:
        """Let the store count, one question at a time."""
        now = self._turn.now
        if not self.due or self._counting or now < self._next_at:
            return
        users = [user for user in list(self.due)[:AT_ONCE] if user in self._watched]
        for user in list(self.due)[:AT_ONCE]:
            del self.due[user]
        for user in users:
            watched = self._watched[user]
            watched.asked_at, watched.during = now, list(watched.flying.values())
        if users:
            self._counting = True
            self._store.waiting(users, lambda found: self._counted(users, now, found))

    def _counted(self, users: list[str], began: float, found: Mapping[str, Counts] | None) -> None:
        now = self._turn.now
        self._counting = False
        self._next_at = now + REST * (now - began)
        for user in users:
            watched = self._watched.get(user)
            if watched is None:
                continue
            if found is None:
                watched.during = None
                continue
            watched.counted(found[user])
            watched.left = self._portion
            if self._is_little(watched):
                del self._watched[user]
                self._left[user] = self._portion

    def check(self) -> None:
        """Assert that what waits for a user is what waits of all authors together."""
        for user, watched in self._watched.items():
            rows, size = (sum(counts) for counts in zip((0, 0), *watched.authors.values(), strict=True))
            assert (watched.rows, watched.bytes) == (rows, size), f"{user}: {watched.rows=}, and it is {rows}"

    def _is_little(self, watched: Watched) -> bool:
        settings = self._settings
        rows, size = settings.inbox_max_rows_of_author // MUCH, settings.inbox_max_bytes_of_author // MUCH
        return (
            watched.rows < settings.inbox_max_rows // MUCH
            and watched.bytes < settings.inbox_max_bytes // MUCH
            and all(count < rows and total < size for count, total in watched.authors.values())
        )


def _over(of_author: int, of_all: int, max_of_author: int, max_of_all: int) -> bool:
    if of_all > max_of_all or max_of_author >= max_of_all:
        return of_all > max_of_all
    return of_author * (max_of_all - max_of_author) ** 2 > max_of_author * (max_of_all - of_all) ** 2
