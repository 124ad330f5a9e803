"""Kept conversations between the user API and the state file: what is here is not fetched again.

Owns which page is fetched when, and what is looked at once more. What a page changes here is `client.pages`' business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from client import events
from client.api.conversations import MAX_PAGE, ConversationsApi, Page
from client.changes import Target
from client.engine import Engine
from client.flow import fresh
from client.history import History
from client.lines import HistoryEntry
from client.memory import ClientJournal
from client.messages import Message, State
from client.pages import OPEN, SLOW_MS, PagedLine, Stretch
from client.schema import SEEN_MS
from client.state import Event, MessageName, Skipped
from protocol import sparrow_pb2 as pb
from protocol.errors import HistoryNotKeptError, SparrowError
from protocol.ids import STAMP_SHIFT, is_group_id, stamp_ms

log = logging.getLogger("sparrow.client")

FIRST_PAGE: Final = 50
"""Messages of the first page that a walk fetches; each further one has twice as many, up to `MAX_PAGE`."""
BATCH: Final = 500
"""Lines that are read from the state file at a time."""
LOOK_FETCHES: Final = 20
"""Pages that are fetched at most where nobody has asked for them."""
GATHER_S: Final = 1.0
"""What is to be looked at within so long is looked at together."""
SLOW: Final = SLOW_MS << STAMP_SHIFT


class Keeper:
    """Of one client."""

    def __init__(self, engine: Engine, api: ConversationsApi, journal: ClientJournal) -> None:
        self.engine = engine
        self.api = api
        self.journal = journal
        self.kept: bool | None = None
        """Whether the service keeps conversations; None: not known."""
        self._to_look: dict[str, int] = {}
        """Conversation → down to which stamp it is to be looked at."""
        self._looking: asyncio.Task[None] | None = None
        self._again: dict[str, asyncio.TimerHandle] = {}
        self._here = 0
        """Up to this stamp, what came before this session is here."""

    @property
    def history(self) -> History | None:
        """Where there is one."""
        return self.journal.history

    def close(self) -> None:
        """Look at nothing any more."""
        for timer in self._again.values():
            timer.cancel()
        if self._looking is not None:
            self._looking.cancel()

    # What happens.

    def noticed(self, event: Event) -> None:
        """See `Engine.noticed`."""
        if isinstance(event, pb.LoggedIn):
            self._logged_in(event)
        elif self.history is None:
            return
        elif isinstance(event, Skipped):
            self._skipped(self.history, event)
        elif isinstance(event, pb.Hint) and event.kind == pb.Hint.HISTORY_CHANGED:
            peer = event.group or event.user_id
            self.history.pages.forget(peer, event.stamp, event.stamp or OPEN)
            self._look(peer, event.stamp or OPEN - 1)
            self.engine.changed()
        elif isinstance(event, pb.Hint) and event.kind == pb.Hint.SKIPPED:
            # What was here before is all there is of what was said by then; behind it something is missing.
            self.history.pages.close(event.group, self._here)
            self._look(event.group, max(1, self._here))
            self.engine.changed()

    def _logged_in(self, frame: pb.LoggedIn) -> None:
        self.kept = None  # it may have been changed meanwhile
        history = self.history
        if history is None:
            return
        seen_ms = int(self.journal.value(SEEN_MS) or 0)
        self._here = max(0, (seen_ms << STAMP_SHIFT) - SLOW)
        life_ms = frame.inbox_ttl_ms
        if self.engine.core.forked or (life_ms and seen_ms and frame.server_time_ms - seen_ms > life_ms):
            # What came meanwhile went to somebody else who had this state, or is gone from the inbox.
            history.pages.close("", self._here)
        self.journal.put_value(SEEN_MS, str(frame.server_time_ms))
        for peer, fetched_ms in history.pages.again().items():
            self._once_more(peer, fetched_ms)
        self.engine.changed()

    def _skipped(self, history: History, event: Skipped) -> None:
        """What was given up may stand in the timeline (H2)."""
        found = history.around(event)
        if found is None:
            return
        peer, below, above = found
        history.pages.forget(peer, max(0, below - SLOW), above + SLOW if above else OPEN)
        if below:
            self._look(peer, max(1, below - SLOW))
        self.engine.changed()

    def once_more(self, peer: str, fetched_ms: int) -> None:
        """The newest page was fetched: what was stamped before may have been on its way to the store."""
        if peer not in self._again:
            self._once_more(peer, fetched_ms)

    def _once_more(self, peer: str, fetched_ms: int) -> None:
        wait_s = max(0.0, (fetched_ms + SLOW_MS - self.engine.core.server_ms) / 1000)
        if peer in self._again:
            self._again.pop(peer).cancel()
        loop = asyncio.get_running_loop()
        self._again[peer] = loop.call_later(wait_s, self._newest_again, peer, fetched_ms)

    def _newest_again(self, peer: str, fetched_ms: int) -> None:
        self._again.pop(peer, None)
        if self.history is not None:
            stamp = max(1, (fetched_ms << STAMP_SHIFT) - SLOW)
            self.history.pages.close(peer, stamp)
            self.engine.changed()
            self._look(peer, stamp)

    # Looking unasked.

    def _look(self, peer: str, stamp: int) -> None:
        self._to_look[peer] = min(stamp, self._to_look.get(peer, stamp))
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_at_all())

    async def _look_at_all(self) -> None:
        while self._to_look:
            await asyncio.sleep(GATHER_S)
            peer, stamp = next(iter(self._to_look.items()))
            del self._to_look[peer]
            try:
                await self.look_at(peer, stamp)
            except SparrowError as error:
                # What is not here is fetched when somebody wants to see it.
                log.info("%s: the history cannot be looked at now: %s", self.engine.user, error)

    async def look_at(self, peer: str, stamp: int) -> None:
        """See what stands in a conversation down to a stamp, and tell what is new of it."""
        walk = Walk(self, peer, unasked=True)
        while walk.place > stamp and not walk.ended and walk.fetches < LOOK_FETCHES:
            await walk.batch()
        if walk.new:
            found = tuple(message_of(self.engine, entry, peer) for entry in walk.new)
            self.engine.tell(events.Found(peer, found))


class Walk:
    """From the newest message of a conversation back, a batch at a time."""

    def __init__(self, keeper: Keeper, peer: str, *, unasked: bool = False) -> None:
        self._keeper = keeper
        self._peer = peer
        self._unasked = unasked
        self.place = OPEN
        """Everything above this stamp was given out."""
        self._before: str | None = ""
        """The cursor of `place`."""
        self._seen: set[tuple[object, ...]] = set()
        """What stands at `place` itself and was given out."""
        self._limit = FIRST_PAGE
        self._marks = (0, 0)
        self.fetches = 0
        self.new: list[HistoryEntry] = []
        """What was not here before."""
        self.ended = False
        """There is nothing older."""

    async def batch(self) -> list[HistoryEntry]:
        """The next ones, newest first; may be empty without being the last. Raises what requests raise."""
        history, keeper = self._keeper.history, self._keeper
        if keeper.engine.error is not None:
            raise fresh(keeper.engine.error)
        if history is not None:
            if keeper.kept is False:
                return self._from_here(history, Stretch(OPEN, 0, None, 0))
            stretch = history.pages.at(self._peer, self.place)
            if stretch is not None:
                return self._from_here(history, stretch)
        if self._before is None or (history is None and keeper.kept is False):
            self.ended = True
            return []
        try:
            page = await self._fetch(self._before)
        except HistoryNotKeptError:
            keeper.kept = False
            return []
        return self._paged(page)

    def _from_here(self, history: History, stretch: Stretch) -> list[HistoryEntry]:
        found = history.between(self._peer, stretch.low, self.place, BATCH + len(self._seen))
        more = len(found) == BATCH + len(self._seen)
        new = self._unseen(found)
        if more:
            self._move(found[-1].stamp, new)
        else:
            self._move(stretch.low, new)
            self._before, self.ended = stretch.before, stretch.before is None
        return new

    async def _fetch(self, before: str) -> Page:
        keeper = self._keeper
        if not before:
            listed = await keeper.api.one(self._peer)
            self._marks = (listed.mark, listed.read_by_other)
        self.fetches += 1
        page = await keeper.api.messages(self._peer, before, self._limit)
        self._limit = min(2 * self._limit, MAX_PAGE)
        keeper.kept = True
        return page

    def _paged(self, page: Page) -> list[HistoryEntry]:
        engine, history = self._keeper.engine, self._keeper.history
        if history is None:
            for line in page.messages:
                self._keeper.journal.put_paged(Target(self._peer, *line.name).key)
            found = [self._entry(line) for line in page.messages]
        else:
            found = self._keep(history, page)
        engine.core.paged()
        engine.changed()
        new = self._unseen(found)
        self._move(page.messages[-1].stamp if page.messages else self.place, new)
        self._before = page.next
        self.ended = history is None and page.next is None
        return new

    def _keep(self, history: History, page: Page) -> list[HistoryEntry]:
        """Among the lines, durably; returns them as they read now, and what is here between them."""
        engine = self._keeper.engine
        engine.turn()  # what has happened so far is to be seen in the file
        new = [line.name for line in page.messages if history.line(self._peer, line.name) is None]
        changes = history.pages.put(self._peer, page.messages, *self._marks)
        lowest = page.messages[-1].stamp if page.messages else self.place
        fetched_ms = 0 if self._before or self._unasked else engine.core.server_ms
        if page.messages or page.next is None:
            low = 0 if page.next is None else lowest
            history.pages.cover(self._peer, Stretch(self.place, low, page.next, fetched_ms))
        engine.core.touch()
        engine.turn()
        if engine.error is not None:
            raise fresh(engine.error)
        if fetched_ms:
            self._keeper.once_more(self._peer, fetched_ms)
        for change in changes:
            engine.telling.changed(change)
        here = {self._name(one): one for one in history.between(self._peer, lowest, self.place, 10 * BATCH)}
        for line in page.messages:
            # What was too much for the file may be gone from it already.
            entry = history.line(self._peer, line.name) or self._entry(line)
            here[self._name(entry)] = entry
            if line.name in new:
                self.new.append(entry)
        return sorted(here.values(), key=lambda entry: entry.stamp, reverse=True)

    def _unseen(self, entries: Iterable[HistoryEntry]) -> list[HistoryEntry]:
        return [one for one in entries if one.stamp <= self.place and self._name(one) not in self._seen]

    def _move(self, place: int, given: list[HistoryEntry]) -> None:
        here = {self._name(one) for one in given if one.stamp == place}
        self._seen = here | (self._seen if place == self.place else set())
        self.place = place

    @staticmethod
    def _name(entry: HistoryEntry) -> tuple[object, ...]:
        return entry.mine, entry.author, entry.device, entry.stream, entry.id

    def _entry(self, line: PagedLine) -> HistoryEntry:
        author, device, stream, number = line.name
        mine = author == self._keeper.journal.user
        mark, read_by_other = self._marks
        read = line.stamp <= (read_by_other if mine else mark)
        state = State.READ if read else State.SENT if mine else State.QUEUED
        own_device = mine and device == self._keeper.journal.device
        return HistoryEntry(
            *(mine, self._peer, "" if own_device else device, stream, number, 0, line.kind, line.body),
            *(line.stamp, stamp_ms(line.stamp), False, state, ""),
            *(line.revision, line.edited_stamp, line.erased_by, "" if mine or not is_group_id(self._peer) else author),
        )


def name_of(engine: Engine, entry: HistoryEntry) -> MessageName:
    """What names a line's message."""
    author = engine.user if entry.mine else entry.author or entry.peer
    device = entry.device or (engine.credentials.device if entry.mine else "")
    return author, device, entry.stream, entry.id


def message_of(engine: Engine, entry: HistoryEntry, peer: str) -> Message:
    """A line as a message."""
    author, device, stream, number = name_of(engine, entry)
    wire = pb.Message(
        from_id=author,
        from_device=device,
        stream=stream,
        id=number,
        settled=1,
        dest_id=peer if entry.mine or is_group_id(peer) else engine.user,
        kind=entry.kind,  # type: ignore[arg-type]
        body=entry.body,
        stamp=entry.stamp,
    )
    message = Message(engine, wire, entry.late)
    message.state = entry.state if entry.mine else State.SENT
    message.read = not entry.mine and entry.state == State.READ
    message.revision, message.edited_stamp, message.erased_by = entry.revision, entry.edited_stamp, entry.erased_by
    return message
