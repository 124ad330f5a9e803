"""Groups of a node in memory: as a dialogue names them, with the rows that were written to them.

Owns what a scan finds. Membership does not change, and nothing is erased: for that there are the engines' own tests.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from store.groups import Group, GroupPage, GroupQuery, GroupRow, Member, Role
from store.timelines import Entry, KeptMessage


class Groups:
    """`described`: group → `version` and `members`, the first of them its owner; `admins_write`, if only they may."""

    def __init__(self, described: Mapping[str, Mapping[str, Any]]) -> None:
        self._groups = {group: _group(group, about) for group, about in described.items()}
        self._rows: list[Entry] = []

    def of(self, groups: Collection[str]) -> dict[str, Group | None]:
        """Each of these as it is; None: there is none."""
        return {group: self._groups.get(group) for group in groups}

    def write(self, entry: Entry) -> None:
        """A row of a group, if it is one."""
        if entry.conversation in self._groups:
            self._rows.append(entry)

    def page(self, query: GroupQuery) -> GroupPage:
        """What a device has to get: by group, and by stamp within one."""
        found: dict[object, GroupRow] = {}
        for entry in sorted(self._rows, key=lambda entry: (entry.conversation, entry.stamp)):
            own = (entry.name.author, entry.name.device) == (query.user, query.device)
            mine = query.user in self._groups[entry.conversation].members
            if mine and not own and query.group in ("", entry.conversation) and entry.stamp >= query.since:
                kept = KeptMessage(entry.name, entry.stamp, entry.kind, entry.body, entry.about)
                row = GroupRow(entry.conversation, entry.version, entry.settled, kept)
                found.setdefault((entry.conversation, entry.name), row)
        at = int.from_bytes(query.after, "big")
        rows = list(found.values())[at : at + query.limit]
        end = at + len(rows) >= len(found)
        return GroupPage(tuple(rows), (at + len(rows)).to_bytes(8, "big"), end)


def _group(group: str, about: Mapping[str, Any]) -> Group:
    first, *others = about["members"]
    members = {first: Member(first, Role.OWNER, 1)} | {user: Member(user, Role.MEMBER, 2) for user in others}
    return Group(group, int(about["version"]), "", 0, members, admins_write=about.get("admins_write", False))
