"""Conversations: which there are, what is unread, and what was said, from the newest message back.

Owns what a program sees of them. What is fetched and kept, `client.keeper` decides.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from client import arguments
from client.api.conversations import Listed
from client.keeper import Keeper, Walk, message_of
from client.messages import Message, State
from client.pages import PagedLine
from protocol import sparrow_pb2 as pb
from protocol.errors import HistoryNotKeptError, MisuseError, NotFoundError, SearchNotOfferedError
from protocol.ids import check_dest_id, is_group_id

MAX_MUTE_S = 10 * 366 * 86_400
"""Ten years, with their leap days."""
FOUND = 50
"""Messages that a search gives, unless it asks for more."""


class Conversations:
    """What one user and others write each other, groups included.

    Where the service keeps conversations, that is all of them, on every device; what was fetched is kept in the state
    file of a client with `history`. Where it keeps none, it is what that file has.

    Beside its own errors, each method raises those of every call: `ClosedError`, `SessionEndedError`,
    `UnavailableError` and `PeerError` (`docs/library/userapi.md`, "Errors of every call").
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    async def of(self, user: str) -> Conversation:
        """Return the conversation with one user, or of one group, whether anything was said in it or not.

        Args:
            user: The other user's id, or the group's; of notes to oneself, one's own.

        Raises:
            InvalidIdError: `user` is no id of either.
        """
        check_dest_id(user)
        keeper = self._keeper
        try:
            listed = await keeper.api.one(user)
        except HistoryNotKeptError:
            keeper.kept = False
            here = [one for one in self._kept_here() if one.user == user]
            return here[0] if here else Conversation(keeper, Listed(user, None, 0, 0))
        self._mark(listed)
        return Conversation(keeper, listed)

    async def find(self, words: str, limit: int = FOUND) -> list[Message]:
        """Return messages with these words, in all conversations, newest first.

        The service searches; where it offers none, what is in the state file is searched, for the words as they stand.

        Args:
            words: What to look for.
            limit: How many at most.

        Raises:
            MisuseError: `words` is empty, or nothing that the service can look for.
        """
        return await _find(self._keeper, words, "", limit)

    async def mutes(self) -> dict[str, int]:
        """Return what is muted: users and groups, and until when (Unix time in milliseconds)."""
        return await self._keeper.api.mutes()

    def _mark(self, listed: Listed) -> None:
        history = self._keeper.history
        if history is not None and listed.mark and history.unread(listed.user):
            history.read_up_to(listed.user, listed.mark)
            self._keeper.engine.changed()

    def _kept_here(self) -> Sequence[Conversation]:
        history = self._keeper.history
        if history is None:
            return []
        found = []
        for peer, unread in sorted(history.peers().items()):
            conversation = Conversation(self._keeper, Listed(peer, None, 0, 0, unread))
            newest = history.between(peer, 1, 1 << 62, 1)
            if newest:
                conversation.newest = message_of(self._keeper.engine, newest[0], peer)
            found.append(conversation)
        return found

    async def list(self) -> list[Conversation]:
        """Return all conversations, by the other's id, with their newest message and how much is unread."""
        keeper = self._keeper
        try:
            found = await keeper.api.everything()
        except HistoryNotKeptError:
            keeper.kept = False
            return [*self._kept_here()]
        keeper.kept = True
        for listed in found:
            self._mark(listed)
        return [Conversation(keeper, listed) for listed in found]


class Conversation:
    """One of them, as it was when it was asked for."""

    def __init__(self, keeper: Keeper, listed: Listed) -> None:
        self._keeper = keeper
        self.user = listed.user
        """The other user's id, or the group's."""
        self.newest = None if listed.newest is None else _message(keeper, listed.newest, listed.user)
        """The newest message; None if there is none."""
        self.unread = listed.unread
        """How many messages of theirs are not read; counted up to 100 by a service that keeps them."""
        self.mark = listed.mark
        """Up to which stamp we have read."""
        self.read_by_other = listed.read_by_other
        """Up to which stamp they have, as far as they show it; in a group it is 0: see `Groups.read_by`."""
        self.muted_until_ms = listed.muted_until_ms
        """Until when it is muted, in Unix milliseconds; 0: it is not (or no conversations are kept: see `mutes`)."""

    @property
    def is_group(self) -> bool:
        """Whether it is a group's."""
        return is_group_id(self.user)

    async def backwards(self) -> AsyncIterator[Message]:
        """Give what was said, from the newest message back to the first.

        What the device has is not fetched. Of an erased message there is only that it was (`erased_by`). What was
        given out here does not come in `async for message in client` any more.

        Raises the errors of every call, too (`docs/library/userapi.md`, "Errors of every call").
        """
        walk = Walk(self._keeper, self.user)
        while not walk.ended:
            for entry in await walk.batch():
                yield message_of(self._keeper.engine, entry, self.user)

    async def mark_read(self) -> None:
        """Say that all of it is read: to the authors of what is here, and to one's other devices."""
        keeper, history = self._keeper, self._keeper.history
        newest = 0 if self.newest is None else self.newest.wire.stamp
        if history is not None:
            newest = max(newest, history.newest_stamp(self.user))
        if self.is_group:
            await keeper.engine.read_group(self.user, newest)
            return
        if history is not None:
            streams: dict[tuple[str, int], list[int]] = {}
            for entry in history.unread(self.user):
                streams.setdefault((entry.device, entry.stream), []).append(entry.id)
            for (device, stream), ids in streams.items():
                await keeper.engine.read_names(self.user, device, stream, ids)
            history.read_up_to(self.user, newest)
            keeper.engine.changed()
        if newest and keeper.kept is not False:
            try:
                await keeper.api.mark(self.user, newest)
            except (HistoryNotKeptError, NotFoundError):
                return

    async def hide(self) -> None:
        """Take it out of the list until something newer is written. Nothing is erased.

        Raises:
            HistoryNotKeptError: The service keeps no conversations.
            NotFoundError: Nothing was ever written there.
        """
        await self._keeper.api.hide(self.user)

    async def mute(self, seconds: int | None = None) -> None:
        """Mute it, for all of one's devices, whether anything was said there or not.

        Messages come as before: programs leave out what would disturb. Nobody else hears of it.

        Args:
            seconds: For how long, at most ten years; None: for ever.

        Raises:
            MisuseError: `seconds` is no whole number from 1 on; or as many are muted as may be.
            NotMemberError: It is a group that one is not in.
            NotFoundError: The service is of before 0.2, and mutes nothing.
        """
        for_s = None if seconds is None else arguments.whole("seconds", seconds, MAX_MUTE_S)
        self.muted_until_ms = await self._keeper.api.mute(self.user, for_s)

    async def unmute(self) -> None:
        """Mute it no more; one that is not muted is no error.

        Raises:
            NotFoundError: The service is of before 0.2, and mutes nothing.
        """
        await self._keeper.api.unmute(self.user)
        self.muted_until_ms = 0

    async def find(self, words: str, limit: int = FOUND) -> list[Message]:
        """Return messages of this conversation with these words, newest first; see `Conversations.find`.

        Args:
            words: What to look for.
            limit: How many at most.

        Raises:
            MisuseError: `words` is empty, or nothing that the service can look for.
        """
        return await _find(self._keeper, words, self.user, limit)

    async def report(self, message: Message, text: str) -> None:
        """Report what another wrote to those who run the service; they get a copy of the message.

        Args:
            message: Theirs, of this conversation.
            text: What is wrong with it.

        Raises:
            MisuseError: It is one's own message.
            HistoryNotKeptError: The service keeps no conversations.
            NotFoundError: It is not there any more.
        """
        if message.sender == self._keeper.engine.user or self.user not in (message.sender, message.group):
            raise MisuseError("only what others wrote here can be reported")
        await self._keeper.api.report(self.user, message.name, text)

    def __repr__(self) -> str:
        return f"<Conversation {'of' if self.is_group else 'with'} {self.user}, {self.unread} unread>"


def _message(keeper: Keeper, line: PagedLine, peer: str) -> Message:
    author, device, stream, number = line.name
    wire = pb.Message(from_id=author, from_device=device, stream=stream, id=number, settled=1, stamp=line.stamp)
    wire.dest_id = peer if author == keeper.engine.user or is_group_id(peer) else keeper.engine.user
    wire.kind, wire.body = line.kind, line.body  # type: ignore[assignment]
    message = Message(keeper.engine, wire, False)
    message.revision, message.edited_stamp, message.erased_by = line.revision, line.edited_stamp, line.erased_by
    return message


async def _find(keeper: Keeper, words: str, peer: str, limit: int) -> list[Message]:
    if not arguments.text("what to look for", words).strip():
        raise MisuseError("say what to look for")
    try:
        return [_message(keeper, line, user) for user, line in await keeper.api.search(words, peer, limit)]
    except (HistoryNotKeptError, SearchNotOfferedError, NotFoundError):
        return _found_here(keeper, words, peer, limit)


def _found_here(keeper: Keeper, words: str, peer: str, limit: int) -> list[Message]:
    found: list[Message] = []
    wanted = words.casefold().split()
    for entry in () if keeper.history is None else keeper.history.texts(peer):
        text = entry.body.decode(errors="replace").casefold() if entry.kind == pb.TEXT else ""
        if entry.state != State.FAILED and all(word in text for word in wanted):
            found.append(message_of(keeper.engine, entry, entry.peer))
            if len(found) == limit:
                break
    return found
