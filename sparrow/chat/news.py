"""What is new about people and groups: asked for when a hint says so, and after each connection, since hints get lost.

Owns when the user API is asked, and what is said of its answers. Messages are not its business.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol

from client import Client, GroupChange, GroupChanged, GroupLeft, Hint, HintKind
from protocol.errors import GroupsNotOfferedError, SparrowError
from protocol.ids import is_group_id
from sparrow.chat.conversation import OUT, Conversation, Line
from sparrow.chat.groups import MARK, Groups, change_text
from sparrow.chat.model import Model
from sparrow.chat.people import People

CHANGES: Final = 50
"""Of a group that is opened, so many of its latest changes are shown."""
GONE: Final = "you are not in this group any more"
AGAIN_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
"""What could not be had is asked for again after so long; then with the next hint or connection. A server that was
killed takes connections some time before its user API answers."""


class Shows(Protocol):
    """The part of a view that is needed."""

    def refresh(self) -> None: ...

    def notice(self, text: str) -> None: ...

    def added(self, line: Line) -> None: ...

    def loaded(self, conversation: Conversation) -> None: ...


class News:
    """Of one chat; `now_ms` is Unix time."""

    def __init__(
        self,
        user: str,
        model: Model,
        groups: Groups,
        view: Shows,
        now_ms: Callable[[], int],
        again_s: Sequence[float] = AGAIN_S,
    ) -> None:
        self._user = user
        self._model = model
        self._view = view
        self._now_ms = now_ms
        self._again_s = again_s
        self.people = People()
        self.groups = groups
        self._people_changed = asyncio.Event()
        self._groups_changed = asyncio.Event()
        self._opened: dict[str, None] = {}
        """Groups whose changes are wanted."""
        self._versions: dict[str, int] = {}

    # What happens.

    def connected(self) -> None:
        """We have been away."""
        self._people_changed.set()
        self._groups_changed.set()

    def hinted(self, hint: Hint) -> None:
        """See `client.Hint`."""
        if hint.kind == HintKind.DEVICES_CHANGED:
            self._view.notice("your devices have changed: /devices lists them")
        elif hint.kind == HintKind.GROUP_CHANGED:
            # With a version, `GroupChanged` follows.
            if not hint.version:
                self._groups_changed.set()
        elif hint.kind not in (HintKind.PROFILE_CHANGED, HintKind.HISTORY_CHANGED, HintKind.SKIPPED):
            self._people_changed.set()

    def group_changed(self, event: GroupChanged) -> None:
        """See `client.GroupChanged`."""
        change = event.change
        if change.kind in ("made", "renamed"):
            self.groups.renamed(event.group, change.value or "")
            self._model.relabel()
        if self._user in (change.user, change.actor):
            self._groups_changed.set()
        line = self._put(event.group, change, news=True)
        if line is not None:
            self._view.added(line)

    def group_left(self, event: GroupLeft) -> None:
        """See `client.GroupLeft`."""
        self.groups.left(event.group)
        self._model.relabel()
        line = self._model.changed(event.group, OUT, GONE, self._now_ms())
        if line is not None:
            self._view.added(line)

    def _put(self, group: str, change: GroupChange, *, news: bool) -> Line | None:
        return self._model.changed(group, change.version, change_text(change, self._user), change.ms, news=news)

    def opened(self, conversation: Conversation) -> None:
        """Somebody looks at it: of a group, its latest changes belong there."""
        if is_group_id(conversation.peer):
            self._opened[conversation.peer] = None
            self._groups_changed.set()

    def names(self) -> list[str]:
        """Whom one may want to name: friends, who wants to be one, and whom we talk to."""
        users = (peer for peer in self._model.conversations if not is_group_id(peer))
        return sorted({*self.people.names(), *users})

    def group_names(self) -> list[str]:
        """Groups that one may want to name: ours, and those that we talk in."""
        groups = (peer for peer in self._model.conversations if is_group_id(peer))
        return sorted({*self.groups.mine(), *map(self.groups.label, groups)})

    # Asking.

    async def run(self, client: Client) -> None:
        """Ask whenever there is something, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look(self._people_changed, lambda: self._look_for_people(client)))
            group.create_task(self._look(self._groups_changed, lambda: self._look_for_groups(client)))

    async def _look(self, changed: asyncio.Event, ask: Callable[[], Awaitable[None]]) -> None:
        failures = 0
        while True:
            await changed.wait()
            changed.clear()
            try:
                await ask()
                failures = 0
            except SparrowError:
                if failures < len(self._again_s):
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), self._again_s[failures])
                    failures += 1
                    changed.set()
                else:
                    failures = 0

    async def _look_for_people(self, client: Client) -> None:
        changes = self.people.changes
        found = [*await client.contacts.friends(), *await client.contacts.requests()]
        if changes != self.people.changes:
            self._people_changed.set()
        else:
            self._say(self.people.news(found))

    async def _look_for_groups(self, client: Client) -> None:
        try:
            await self._list(client)
            for group in list(self._opened):
                await self._changes(client, group)
                self._opened.pop(group, None)
        except GroupsNotOfferedError:
            self._opened.clear()

    async def know(self, client: Client, text: str) -> None:
        """If `text` begins with a group that is not known here yet, ask which there are. Raises what requests raise."""
        if text.startswith(MARK) and not self.groups.knows(text):
            await self._list(client)

    async def _list(self, client: Client) -> None:
        found = await client.groups.list()
        # Of what we leave while we are here, `GroupLeft` tells.
        told = {each.group for each in found if self.groups.role(each.group) is not None}
        self.groups.listed(found)
        self._versions = {each.group: each.version for each in found if each.left_ms is None}
        self._model.relabel()
        for each in found:
            conversation = self._model.conversations.get(each.group)
            if each.left_ms is not None and conversation is not None and each.group not in told:
                self._model.changed(each.group, OUT, GONE, each.left_ms, news=False)
            elif each.left_ms is None and conversation is None:
                # Nothing was written there yet, and it is to be found all the same.
                self._opened[each.group] = None
        self._view.refresh()
        self._say(self.groups.invited(await client.groups.invitations()))

    async def _changes(self, client: Client, group: str) -> None:
        version = self._versions.get(group)
        if version is None:
            return  # we are not in it
        found = await client.groups.changes(group, max(0, version - CHANGES))
        lines = [self._put(group, change, news=False) for change in found]
        if any(lines):
            self._view.loaded(self._model.conversation(group))

    def _say(self, texts: Iterable[str]) -> None:
        for text in texts:
            self._view.notice(text)
