"""Deliberate defects of groups: each takes one rule of docs/design/groups.md out, and must be found.

Owns nothing but the patches; what a defect is stands in `tests.simulation.defect`.
"""

from __future__ import annotations

from typing import Any

from broker.core import archive as broker_archive
from broker.core import group_routing
from broker.core.group_routing import GroupRouting
from broker.core.looks import Looks
from connector.core import checkpoints as connector_checkpoints
from connector.core import groups as connector_groups
from connector.core.attempts import Attempts
from connector.core.checkpoints import Checkpoints
from connector.core.groups import ALL, GroupCatchup
from fabric import records
from fabric.group_records import GroupRows
from store import group_rules
from tests.simulation.defect import Defect
from tests.simulation.groups import GroupStory, Memberships
from tests.simulation.nodes import SimConnector

SHORT = (
    (broker_archive, "R_B_MS", 2_000),
    (group_routing, "R_B_MS", 2_000),
    (Attempts, "SAME_STAMP_MS", 800),
    (connector_checkpoints, "TRAIL_MS", 12_000),
    (connector_groups, "TRAIL_MS", 12_000),
    (group_rules, "TRAIL_MS", 12_000),
    (connector_checkpoints, "KEEP_S", 1.0),
    (SimConnector, "HEARTBEAT_S", 4.0),
)
"""Times of rule G2 that are short enough to matter in a run of a minute; with clocks that agree."""
AGREE = ("groups", "clocks agree")


def _handed_out_first(self: Any, sharing: Any) -> None:
    self._hand_out(sharing)
    _append(self, sharing)


_append = GroupRouting._append


def _at_its_own_stamp(self: Any, sharing: Any, state: int, stamp: int) -> None:
    """Though the row of an earlier attempt stands for it."""
    _kept(self, sharing, state, int.from_bytes(sharing.record[records.BODY][-8:], "little"))


_kept = GroupRouting._kept


def _by_stamp(self: Any, group: str, user: str, version: int, is_open: bool) -> bool:
    """Who is in now sees what comes now, whatever its version."""
    return user in self.groups[group].members


def _once_before_visible(self: Any, timelines: Any, group: str, query: Any, since: int) -> Any:
    """Each name once, by its lowest stamp, and only then what is visible."""
    lowest: dict[Any, Any] = {}
    for place in sorted(timelines.group_rows.get(group, {})):
        lowest.setdefault(place[1], place)
    kept = set(lowest.values())
    every = timelines.group_rows
    timelines.group_rows = {**every, group: {p: e for p, e in every.get(group, {}).items() if p in kept}}
    try:
        return _rows(self, timelines, group, query, since)
    finally:
        timelines.group_rows = every


_rows = Memberships.rows


def _any_membership(self: Any, sharing: Any) -> None:
    self._hand_out(sharing)


def _whoever_it_was(self: Any, batch: Any, passed: bool) -> None:
    for sharing in batch:
        sharing.joined = self._presence.joined = self._presence.joined or 1
    _passed(self, batch, passed)


_passed = GroupRouting._passed


def _at_login_alone(self: Any, session: Any) -> None:
    if session.groups is not None and not session.groups.kept_at < self._turn.now:
        _read_again(self, session)


_read_again = GroupCatchup.read_again


def _past_what_is_dirty(self: Any, session: Any, reading: Any, clear_ms: int) -> None:
    if clear_ms:
        reading.checkpoint = max(reading.checkpoint, clear_ms)


def _synced_without(self: Any, session: Any, n: int, group: str) -> None:
    """A scan of the inbox alone."""
    self._synced_groups(session, n)


def _answered_at_once(self: Any) -> None:
    self.answer_after_s = 0.0
    _something_changes(self)


_something_changes = GroupStory.something_changes


def _one_try(self: Any, rec: Any) -> None:
    """A page that failed is taken for the last."""
    page = GroupRows.of(rec)
    _rows_come(self, encoded(page._replace(failed=False, end=page.end or page.failed)))


_rows_come = GroupCatchup.rows


def encoded(page: GroupRows) -> Any:
    (rec,) = records.parse(records.batch([page.encode()]))
    return rec


def _no_looks(self: Any, peer: Any) -> None:
    for number in [number for number, owed in peer.copies.items() if owed.due <= self._turn.now]:
        del peer.copies[number]


def _without_room_dropped(self: Any, session: Any, reading: Any, group: str, stamp: int) -> None:
    if group == ALL:
        _owe(self, session, reading, group, stamp)


_owe = GroupCatchup._owe


def _always_cut(checkpoint_ms: int, now_ms: int, keeps: bool) -> tuple[int, int | None]:
    return _since_of(checkpoint_ms, now_ms, True)


_since_of = group_rules.since_of


GROUP_DEFECTS = (
    Defect("handed out before it is durable", 40, ((GroupRouting, "_append", _handed_out_first),), ("groups",)),
    Defect("visible by time", 40, ((Memberships, "sees", _by_stamp),), ("groups",)),
    Defect(
        "a name dropped for a lower stamp before it is visible",
        400,
        ((Memberships, "rows", _once_before_visible),),
        ("groups", "failing store", "people come and go"),
    ),
    Defect(
        "a membership older than T kept behind the barrier",
        200,
        ((GroupRouting, "_look_again", _any_membership),),
        ("groups", "stop under way"),
    ),
    Defect(
        "SENT by a broker out of the membership",
        400,
        ((GroupRouting, "_passed", _whoever_it_was),),
        ("groups", "half linked", "clocks agree"),
    ),
    Defect(
        "no look when a broker left", 200, ((GroupCatchup, "read_again", _at_login_alone),), ("groups", "kill broker")
    ),
    Defect(
        "no look for what was not confirmed",
        200,
        ((Looks, "_turn_to_looks", _no_looks),),
        ("groups", "brief cuts", "people come and go"),
    ),
    Defect(
        "what there is no room for is forgotten", 100, ((GroupCatchup, "_owe", _without_room_dropped),), ("groups",)
    ),
    Defect(
        "a failed read of a group is given up",
        100,
        ((GroupCatchup, "rows", _one_try),),
        ("groups", "failing store"),
    ),
    Defect(
        "a Sync that skips a group's ids",
        200,
        ((GroupCatchup, "sync", _synced_without),),
        ("groups", "failing store", "cut connection"),
    ),
    Defect(
        "an answer before T",
        100,
        ((GroupStory, "something_changes", _answered_at_once),),
        ("groups", "late watch", "people come and go"),
    ),
    Defect(
        "cut at a week where nothing is kept", 20, ((group_rules, "since_of", _always_cut),), ("groups", "long away")
    ),
    Defect(
        "a repeat looked for from its own stamp on",
        100,
        ((GroupRouting, "_kept", _at_its_own_stamp), (Attempts, "SAME_STAMP_MS", 0)),
        ("groups", "slow store", "busy people"),
    ),
    Defect("a checkpoint past what is dirty", 200, (*SHORT, (Checkpoints, "_move", _past_what_is_dirty)), AGREE),
    Defect("no trail", 200, (*SHORT, (group_rules, "TRAIL_MS", 0)), AGREE),
)
