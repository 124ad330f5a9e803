"""Messages to groups: append, be sure of presence, membership and oneself, hand out, and only then *safe*.

Owns messages on their way to members. The order of the steps is the promise (docs/design/groups.md, rule G1). Knows no
inbox: whoever is not there reads the group's timeline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from broker.core.archive import Archive, change_of, entry_of, read_message
from broker.core.looks import Looks
from broker.core.memberships import Memberships, Plan
from broker.core.outcomes import Outcomes
from broker.core.state import Presence, Turn
from broker.settings import BrokerSettings
from fabric.group_records import GroupCopy
from fabric.rates import Rate
from fabric.records import (
    ADMINS_ONLY,
    ATTEMPT,
    BODY,
    BY,
    CHANGE,
    FLAGS,
    GROUP_BUSY,
    NOT_ALLOWED,
    NOT_MEMBER,
    QUIET,
    SAFE,
    TO,
    TRACED,
    UNAVAILABLE,
    Record,
    outcome_name,
)
from protocol.framing import varint
from protocol.ids import split_address
from store.timelines import R_B_MS, Audience

BURST_S = 4.0
_VERSION_TAG = b"\x68"
"""`Message.version`: field 13, varint."""


@dataclass(slots=True, eq=False)
class Sharing:
    """A message on its way to the members of a group."""

    connector: int
    record: Record
    group: Plan
    joined: int
    """Since when this broker is a member of the cluster, as it was known before the append."""
    began_ms: int
    stamp: int = 0
    """Of the row that stands for it: whoever cannot take it now reads the timeline from there on."""


class GroupRouting:
    """All that a broker routes to groups."""

    def __init__(
        self,
        settings: BrokerSettings,
        turn: Turn,
        presence: Presence,
        memberships: Memberships,
        archive: Archive,
        looks: Looks,
        outcomes: Outcomes,
    ) -> None:
        self._settings = settings
        self._turn = turn
        self._presence = presence
        self._memberships = memberships
        self._archive = archive
        self._looks = looks
        self._outcomes = outcomes
        self._waiting: dict[str, list[tuple[int, Record]]] = {}
        """What waits for a group's membership, before the append."""
        self.appended: list[Sharing] = []
        """Durable, and behind no barrier yet."""
        self._passed_by: dict[str, list[Sharing]] = {}
        """Behind the barrier, and waiting for the membership as it is by now."""
        self._under_way: dict[Sharing, None] = {}
        """From before the append until handed out, oldest first."""
        self._reach: dict[str, int] = {}
        """Sessions that the last message to a group was for."""
        author, group = settings.group_author_bytes_per_second, settings.group_bytes_per_second
        self._authors, self._groups = Rate(author, BURST_S * author), Rate(group, BURST_S * group)
        memberships.on_read = self._read
        memberships.on_forgotten = lambda: None  # each message looks anew
        self.routed = 0
        """Messages to groups that were SENT."""
        self.copies = 0
        """Sessions that they were handed out for."""
        self.refused: Counter[int] = Counter()
        """Messages to groups that were not, by the outcome's state."""

    # Before the append.

    def route(self, connector: int, rec: Record) -> None:
        """An attempt at a message to a group has come. Raises `RecordError`."""
        name = rec[TO].decode()
        known = self._memberships.get(name)
        if known is None:
            if self.waiting >= self._settings.max_group_messages:
                return self._answer(connector, rec, UNAVAILABLE)
            self._waiting.setdefault(name, []).append((connector, rec))
            return None
        author, _ = split_address(rec[BY])
        refused = self._refusal(known.value, author, rec)
        if refused or known.value is None:
            return self._answer(connector, rec, refused)
        sharing = Sharing(connector, rec, known.value, self._presence.joined, self._turn.wall_ms)
        if rec[FLAGS] & CHANGE:
            return self._change(sharing)
        return self._append(sharing)

    def _refusal(self, group: Plan | None, author: str, rec: Record) -> int:
        if group is None or not group.has(author):
            return NOT_MEMBER
        if rec[FLAGS] & QUIET and not rec[FLAGS] & CHANGE:
            return NOT_ALLOWED
        if group.admins_write and author not in group.admins:
            return ADMINS_ONLY
        if self.waiting >= self._settings.max_group_messages:
            return UNAVAILABLE
        cost, now = len(rec[BODY]) * max(1, self._reach_of(group)), self._turn.now
        if not self._authors.spend(author, cost, now) or not self._groups.spend(group.group, cost, now):
            return GROUP_BUSY
        return 0

    def _change(self, sharing: Sharing) -> None:
        """An EDIT or ERASE: nobody gets one that the store has not taken."""
        rec = sharing.record
        change = change_of(read_message(rec), Audience.BOTH)
        self._under_way[sharing] = None

        def changed(state: int, visible: bool, stamp: int) -> None:
            if state == SAFE:
                self._append(sharing)
            else:
                self._finish(sharing, state)

        self._archive.change(sharing.connector, rec, change, changed)

    def _append(self, sharing: Sharing) -> None:
        rec, group = sharing.record, sharing.group
        message = read_message(rec)
        entry = entry_of(message, group.group, group)
        if rec[FLAGS] & CHANGE:
            entry = entry._replace(body=b"", file="")
        self._under_way[sharing] = None

        def kept(state: int, visible: bool, stamp: int) -> None:
            self._kept(sharing, state, stamp)

        self._archive.keep(sharing.connector, rec, entry, kept)

    def _kept(self, sharing: Sharing, state: int, stamp: int) -> None:
        if state == SAFE:
            sharing.stamp = stamp
            self.appended.append(sharing)
        else:
            self._finish(sharing, state)

    # Behind it.

    def flush(self) -> None:
        """One barrier for all that has become durable in this turn."""
        if self.appended:
            batch, self.appended = self.appended, []
            self._presence.barrier(lambda passed: self._passed(batch, passed))

    def _passed(self, batch: list[Sharing], passed: bool) -> None:
        """Presence is newer than the rows. Had this broker left in between, connectors may have looked too early, and
        nobody would look again if it died now."""
        joined = self._presence.joined
        for sharing in batch:
            if passed and joined and joined == sharing.joined:
                self._look_again(sharing)
            else:
                self._finish(sharing, UNAVAILABLE)

    def _look_again(self, sharing: Sharing) -> None:
        """The membership may be older than T by now: what a paused broker knew may count no more."""
        name = sharing.group.group
        known = self._memberships.get(name)
        if known is None:
            self._passed_by.setdefault(name, []).append(sharing)
        elif known.value is None or known.value.version != sharing.group.version:
            self._finish(sharing, UNAVAILABLE)
        else:
            self._hand_out(sharing)

    def _hand_out(self, sharing: Sharing) -> None:
        rec, group = sharing.record, sharing.group
        author, author_device = split_address(rec[BY])
        online = self._presence.locations
        by_connector: dict[int, list[int]] = {}
        for user in filter(online.__contains__, group.users):
            for device, (connector, session) in online[user].items():
                if device == author_device and user == author:
                    continue
                sessions = by_connector.get(connector)
                if sessions is None:
                    by_connector[connector] = [session]
                else:
                    sessions.append(session)
        message = rec[BODY] + _VERSION_TAG + varint(group.version)
        reach, state = 0, SAFE
        for connector, sessions in by_connector.items():
            takes = self._looks.takes(connector)
            if takes is None:
                continue
            if not takes:
                state = UNAVAILABLE  # it may not notice should this broker die now
            reach += len(sessions)
            if rec[FLAGS] & TRACED:
                self._trace(sharing, f"copies for {len(sessions)} sessions of the group go to connector {connector}")
            copy = GroupCopy(rec[TO], rec[BY], self._looks.number(), sharing.stamp, sessions, message)
            self._looks.hand(connector, copy, sharing.began_ms)
        self._note_reach(group.group, reach)
        self.copies += reach
        self._finish(sharing, state)

    def _trace(self, sharing: Sharing, what: str) -> None:
        self._turn.traces.append((sharing.connector, sharing.record[ATTEMPT], what))

    def _reach_of(self, group: Plan) -> int:
        """As the last message has found it; of the first ones, which come together, whoever is there."""
        reach = self._reach.get(group.group)
        if reach is None:
            online = self._presence.locations
            reach = sum(len(online[user]) for user in group.users if user in online)
            self._note_reach(group.group, reach)
        return reach

    def _note_reach(self, group: str, reach: int) -> None:
        if len(self._reach) >= self._settings.max_cached_users:
            self._reach.clear()
        self._reach[group] = reach

    def _read(self, names: Iterable[str], ok: bool) -> None:
        for name in names:
            for connector, rec in self._waiting.pop(name, ()):
                if ok:
                    self.route(connector, rec)
                else:
                    self._answer(connector, rec, UNAVAILABLE)
            for sharing in self._passed_by.pop(name, ()):
                if ok:
                    self._look_again(sharing)
                else:
                    self._finish(sharing, UNAVAILABLE)

    # Answers.

    def _finish(self, sharing: Sharing, state: int) -> None:
        self._under_way.pop(sharing, None)
        self.routed += state == SAFE
        self._answer(sharing.connector, sharing.record, state)

    def _answer(self, connector: int, rec: Record, state: int) -> None:
        if state != SAFE:
            self.refused[state] += 1
        if rec[FLAGS] & TRACED:
            what = (
                "handed out to all of the group" if state == SAFE else f"not SENT to the group: {outcome_name(state)}"
            )
            self._turn.traces.append((connector, rec[ATTEMPT], what))
        self._outcomes.add(connector, rec[ATTEMPT], 0, 1, state, 0)

    def clear_ms(self, connector: int) -> int:
        """What began to be appended before this Unix time is in the hands of this connector."""
        now_ms = self._turn.wall_ms
        oldest = next(iter(self._under_way), None)
        # What has been under way for longer than that is refused as too late (R-B).
        begun = now_ms if oldest is None else max(oldest.began_ms, now_ms - R_B_MS - 30_000)
        return min(begun, self._looks.clear_ms(connector, now_ms))

    def tick(self) -> None:
        """Forget who has spent nothing for long."""
        self._authors.tick(self._turn.now)
        self._groups.tick(self._turn.now)

    @property
    def waiting(self) -> int:
        """Messages that wait for a membership, or are on their way."""
        return len(self._under_way) + len(self._waiting)

    def check(self) -> None:
        """Assert that what is waited for is under way."""
        behind = [*self.appended, *(each for some in self._passed_by.values() for each in some)]
        assert self._under_way.keys() >= set(behind), "a message is handed out that is not counted"
