"""Groups of a run: what the store keeps of them, who comes and goes, and what was promised to whom (G1 to G5 of
docs/design/groups.md).

Owns memberships and their intervals. Rows stand in the simulated timelines.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from client.streams import keyed
from fabric.group_records import GroupCopy
from protocol.allowed import CHANGES
from protocol.errors import MisuseError
from protocol.ids import STAMP_SHIFT, is_group_id, split_address
from protocol.sparrow_pb2 import EDIT, ERASE, TEXT, Message
from store import group_rules, membership
from store.groups import Group, GroupChange, GroupPage, GroupQuery, GroupRow, Interval, Membership
from store.timelines import Entry, KeptMessage, Name
from tests.simulation.world import EPOCH_S

if TYPE_CHECKING:
    from tests.simulation.checker import Checker, Sent
    from tests.simulation.cluster import Cluster
    from tests.simulation.nodes import SimClient
    from tests.simulation.timelines import Timelines

AGO_S = 29 * 86_400.0
AGO_STREAM = 7_000_000


@dataclass
class Memberships:
    """What all brokers and the user API share."""

    groups: dict[str, Group] = field(default_factory=dict)
    intervals: dict[tuple[str, str], Membership] = field(default_factory=dict)
    """(group, user) → when they were in."""
    checkpoints: dict[tuple[str, str], int] = field(default_factory=dict)
    """(user, device) → Unix ms; at first its birth. Devices that were there before the run have been away for ever."""
    keeps: bool = False
    """Conversations are kept."""

    def change(self, group: Group, change: GroupChange) -> bool:
        """Compare and set."""
        before = self.groups.get(group.group)
        if before is not None and before.version != group.version - 1:
            return False
        was = set() if before is None else set(before.members)
        self.groups[group.group] = group
        for user in was - set(group.members):
            self.intervals[group.group, user].intervals[-1].until = group.version
        for user in set(group.members) - was:
            known = self.intervals.setdefault((group.group, user), Membership())
            known.intervals.append(Interval(group.version))
        return True

    def of_user(self, user: str) -> list[str]:
        """Groups that the user is in."""
        return sorted(name for name, group in self.groups.items() if user in group.members)

    def sees(self, group: str, user: str, version: int, is_open: bool) -> bool:
        """Rule G4."""
        return self.intervals.get((group, user), Membership()).sees(version, is_open)

    def since(self, query: GroupQuery) -> int:
        """The stamp from which on a scan has to look."""
        if query.since:
            return query.since
        kept = self.checkpoints.get((query.user, query.device), 0)
        return group_rules.since_of(kept, query.began_ms, self.keeps)[0]

    def page(self, timelines: Timelines, query: GroupQuery) -> GroupPage:
        """One page, as engines do it (G3)."""
        since, done = pickle.loads(query.after) if query.after else (self.since(query), ("", 0))
        if not query.after:
            since = self.since(query)
        rows: list[tuple[tuple[str, int], GroupRow]] = []
        for group in [query.group] if query.group else self.of_user(query.user):
            if query.user in self.groups[group].members:
                rows += [((group, row.message.stamp), row) for row in self.rows(timelines, group, query, since)]
        left = [(place, row) for place, row in rows if place > done]
        taken = left[: query.limit]
        while len(left) > len(taken) and left[len(taken)][0] == taken[-1][0]:
            taken.append(left[len(taken)])  # a position names a stamp: what bears the same one goes along
        place = taken[-1][0] if taken else done
        return GroupPage(tuple(row for _, row in taken), pickle.dumps((since, place)), len(taken) == len(left))

    def rows(self, timelines: Timelines, group: str, query: GroupQuery, since: int) -> list[GroupRow]:
        """What this device gets of a group: visible rows, then each name once, none of its own."""
        found: dict[Name, GroupRow] = {}
        for (stamp, name, version), entry in sorted(timelines.group_rows.get(group, {}).items()):
            if stamp < since or name[:2] == (query.user, query.device):
                continue
            if self.sees(group, query.user, version, entry.open):
                row = GroupRow(group, version, entry.settled, self._message(timelines, group, name, stamp, entry))
                found.setdefault(name, row)
        return list(found.values())

    def _message(self, timelines: Timelines, group: str, name: Name, stamp: int, entry: Any) -> KeptMessage:
        if entry.kind == EDIT:
            edits = (each for (where, _, _), each in timelines.edits.items() if where == group)
            edit = next((each for each in edits if each.name == name), None)
            if edit is None or timelines.is_marked(group, edit.target):
                return KeptMessage(name, stamp, EDIT, b"", entry.about, erased_by="superseded")
            return KeptMessage(name, stamp, EDIT, edit.body, entry.about, edit.revision)
        if entry.kind == ERASE:
            return KeptMessage(name, stamp, ERASE, b"", entry.about)
        if timelines.is_marked(group, name):
            return KeptMessage(name, stamp, entry.kind, b"", entry.about, erased_by=name.author)
        return KeptMessage(name, stamp, entry.kind, timelines.bodies[group, name].entry.body, entry.about)  # type: ignore[union-attr]

    def raise_checkpoints(self, raised: Mapping[tuple[str, str], int]) -> None:
        """They only rise."""
        for key, ms in raised.items():
            self.checkpoints[key] = max(self.checkpoints.get(key, 0), ms)


class GroupStory:
    """Who makes groups, and who comes and goes: the user API's part."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.kept = cluster.database.groups
        self.heard: list[tuple[float, str, int]] = []
        """When the answer to a change was given: time, group, version."""
        self.answer_after_s = cluster.answer_after_s

    def make(self, number: int, members: Sequence[str]) -> None:
        """A group that is there when the run begins."""
        group, change = membership.made("~" + "abcdefgh"[number] * 24, members[0], "team", EPOCH_S * 1000)
        self.kept.change(group, change)
        for user in members[1:]:
            group = self._do(group, members[0], "added", user)
        self.heard.append((0.0, group.group, group.version))

    def long_ago(self, number: int) -> None:
        """What was written in a group 29 days before the run; since then none of its members was there."""
        cluster, group = self._cluster, self.kept.groups["~" + "abcdefgh"[number] * 24]
        author = next(client for client in cluster.clients if client.user in group.members)
        for n in (1, 2, 3):
            name = Name(author.user, author.device, AGO_STREAM + number, n)
            stamp = int((EPOCH_S - AGO_S + n) * 1000) << STAMP_SHIFT
            body = b"long ago %d %d" % (number, n)
            entry = Entry(group.group, name, stamp, TEXT, body, version=group.version, settled=1)
            cluster.database.timelines.write(entry)
            cluster.checker.was_sent(name, author, group.group, -AGO_S, body, group.version)

    def _do(self, group: Group, actor: str, kind: str, user: str = "", value: str = "") -> Group:
        change = GroupChange(group.version + 1, EPOCH_S * 1000, actor, kind, user, value)
        after = membership.after(group, change)
        assert self.kept.change(after, change)
        return after

    def something_changes(self) -> None:
        """One change that can be, told to all brokers; its answer comes T later."""
        chance, cluster = self._cluster.groups, self._cluster
        name = chance.choice(sorted(self.kept.groups))
        group = self.kept.groups[name]
        inside, outside = sorted(group.members), sorted(set(cluster.database.users) - set(group.members))
        if chance.random() < 0.2:
            settings = ("newcomers_see=history", "newcomers_see=nothing", "who_may_write=all", "who_may_write=admins")
            choice = ("settings", "", chance.choice(settings[:3]))
        elif outside and (len(inside) < 2 or chance.random() < 0.5):
            choice = ("joined", chance.choice(outside), "")
        elif inside:
            choice = ("left", chance.choice(inside), "")
        else:
            return
        try:
            after = self._do(group, "", *choice)
        except MisuseError:
            return
        cluster.world.trace(name[:4], f"version {after.version}: {choice[0]} {choice[1]}{choice[2]}")
        cluster.tell_of(name, lambda: cluster.world.after(self.answer_after_s, lambda: self._answered(after)))

    def _answered(self, group: Group) -> None:
        self.heard.append((self._cluster.world.now, group.group, group.version))

    def heard_by(self, group: str, at: float) -> int:
        """The version that everybody may know of at this time."""
        return max((version for when, name, version in self.heard if name == group and when <= at), default=0)


class GroupChecker:
    """Messages to groups: at each SENT, at each that is shown, and when all is quiet."""

    def __init__(self, cluster: Cluster, checker: Checker) -> None:
        self._cluster = cluster
        self._checker = checker

    def _rows(self, sent: Sent) -> list[tuple[int, Any]]:
        """(version, entry) of each row."""
        rows = self._cluster.database.timelines.group_rows.get(sent.dest, {})
        return [(version, entry) for (_, name, version), entry in rows.items() if name == sent.name]

    def settled(self, sent: Sent) -> None:
        """SENT: it stands in the timeline, in a version that its author could know of (G1, G5)."""
        rows = self._rows(sent)
        if not rows:
            self._checker.fail(f"{sent.author} saw SENT for {sent.name[2:]}, which stands in no timeline")
            return
        if sent.version:
            return  # what its author writes once more, who has come since may see: nobody has promised that
        sent.version = max(version for version, _ in rows)
        heard = self._cluster.story.heard_by(sent.dest, sent.at)
        if sent.version < heard:
            self._checker.fail(
                f"{sent.name[2:]} was SENT in version {sent.version}, and version {heard} was known when it was written"
            )

    def shown(self, client: SimClient, sent: Sent, message: Message) -> None:
        """Nothing is shown that does not stand in the timeline, or that is not theirs to see (G1, G4)."""
        if message.dest_id != sent.dest:
            self._checker.fail(f"{client.name} is shown {sent.name} as of another group")
        rows = self._rows(sent)
        if not rows:
            self._checker.fail(f"{client.name} shows {sent.name}, which stands in no timeline")
        kept = self._cluster.database.groups
        if not any(kept.sees(sent.dest, client.user, version, entry.open) for version, entry in rows):
            self._checker.fail(f"{client.name} shows {sent.name}, which is not for them")

    def handed_out(self, broker: str, copy: GroupCopy) -> None:
        """Nobody is handed anything who has left, once that was answered (G5)."""
        group, story = copy.group.decode(), self._cluster.story
        heard = story.heard_by(group, self._cluster.world.now)
        for connector in self._cluster.connectors:
            for session in connector.sessions:
                if session.number not in copy.sessions:
                    continue
                user, _ = split_address(session.key)
                known = story.kept.intervals.get((group, user), Membership())
                if not any(not each.until or each.until > heard for each in known.intervals):
                    self._checker.fail(f"{broker} hands something out to {user}, who has left {group[:4]}")

    def finish(self, sent: Sent) -> None:
        """Whoever was a member in its version, and has been since, has seen it, on each device."""
        if sent.kind in CHANGES:
            return  # of one that does not count any more, nobody is given anything to show
        intervals = self._cluster.database.groups.intervals
        if sent.at == -AGO_S:
            self._finish_long_ago(sent)
            return
        for client in self._cluster.clients:
            known = intervals.get((sent.dest, client.user))
            if known is None or client.removed or client.name == sent.author or client.usable_from > sent.at:
                continue
            inside = any(each.since <= sent.version and not each.until for each in known.intervals)
            if not inside or sent.at <= client.forgot_at or self.has(client, sent):
                continue
            self._checker.fail(f"{sent.name} was SENT in version {sent.version}, and {client.name} never showed it")

    def _finish_long_ago(self, sent: Sent) -> None:
        """It waits for as long as in an inbox; where conversations are kept, what is older than a week is paged."""
        kept = self._cluster.database.groups
        for client in self._cluster.clients:
            known = kept.intervals.get((sent.dest, client.user), Membership())
            inside = any(each.since <= sent.version and not each.until for each in known.intervals)
            if client.removed or client.usable_from or client.forgot_at > 0 or client.name == sent.author or not inside:
                continue
            if self.has(client, sent) == kept.keeps:
                what = "shows, as if it had been away for less than a week," if kept.keeps else "never showed"
                self._checker.fail(f"{client.name} {what} {sent.name}, of 29 days ago")

    def has(self, client: SimClient, sent: Sent) -> bool:
        """Whether the device has shown it, in this life or one before."""
        return self._checker.has_shown(client, sent.name)

    def holds(self, client: SimClient, sent: Sent) -> bool:
        """Whether the device keeps it, shown or parked."""
        author, device, stream, number = sent.name
        return client.journal.holds((author, keyed(device, sent.dest), stream, number))


def is_group(dest: str) -> bool:
    """Whether a destination is a group."""
    return is_group_id(dest)
