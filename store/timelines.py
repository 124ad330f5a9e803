"""What is kept of conversations: one interface to their timelines (docs/design/history.md).

Owns the types that cross it. Knows no engine. Like `store.interface`: asynchronous, batch first, and every method may
be repeated; each raises `protocol.errors.StoreError` when the engine is away or failing.
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from protocol.allowed import MAX_REVISION as MAX_REVISION
from protocol.errors import SearchNotOfferedError

MAX_PAGE: Final = 500
"""Rows that one read of a timeline touches, and messages on one page."""
MAX_UNREAD: Final = 100
"""Unread messages are counted up to this."""
FOR_EVER_MS: Final = 2**53 - 1
"""Until when a conversation is muted that is muted for ever: what every client can count up to."""
MAX_KEEP_DAYS: Final = 3650
"""Markers of what was erased live for so long and a year."""


def conversation_of(one: str, other: str) -> str:
    """The id of what two users write each other; of notes to oneself, where both are one."""
    return f"{one}+{other}" if one < other else f"{other}+{one}"


def members_of(conversation: str) -> tuple[str, str]:
    """The two users of a conversation, in order."""
    one, _, other = conversation.partition("+")
    return one, other


def is_group(conversation: str) -> bool:
    """Whether it is a group's, and not one of two users."""
    return conversation[:1] == "~"


class Audience(IntEnum):
    """For whom an entry is. It only ever widens."""

    AUTHOR = 0
    """What a silent block swallowed: for its author alone."""
    BOTH = 1


class Name(NamedTuple):
    """What names a message for ever."""

    author: str
    device: str
    stream: int
    id: int


class Entry(NamedTuple):
    """A message that is to be kept."""

    conversation: str
    name: Name
    stamp: int
    kind: int
    body: bytes
    about: bytes = b""
    """An encoded `About`, where the message has one."""
    audience: Audience = Audience.BOTH
    file: str = ""
    """Of a FILE: the file's id. Whoever may see the message may read the file, as long as it is kept."""
    version: int = 0
    """Of a group's message: the version it was routed in, from 1 on. Each (name, version) is a row of its own, another
    attempt in the same version only beyond `R_B_MS`; the body is the first one's (docs/design/groups.md, G3, G4)."""
    open: bool = False
    """Of a group's message: also who becomes a member later may see it."""
    settled: int = 0
    """Of a group's message: `Message.settled`. EDIT and ERASE are rows there, too, without a body; pages and counts of
    unread messages pass over them."""


class Edit(NamedTuple):
    """Another body of a TEXT of the same author (rule R-E)."""

    conversation: str
    target: Name
    """Its author is the editor."""
    name: Name
    """The EDIT's own."""
    stamp: int
    revision: int
    """1 to `MAX_REVISION`. Of several the highest (revision, name) counts."""
    body: bytes
    audience: Audience = Audience.BOTH


class Erasure(NamedTuple):
    """The end of a message: of its author, or by who may take it down."""

    conversation: str
    target: Name
    stamp: int
    by: str
    """The author; or who took it down: "operator", or a group's owner."""


class Result(IntEnum):
    """What became of one entry, edit or erasure. Each stands for itself."""

    KEPT = 0
    """It is durable, and both lists of conversations name the conversation."""
    FAILED = 1
    """Not now: it may be tried again."""
    FULL = 2
    """The author has as much kept as may be, of this day or in all."""
    NOT_ALLOWED = 3
    """Never: another body under the same name, an edit of what is no TEXT, or too late for it."""


class Archived(NamedTuple):
    """The answer to one entry, edit or erasure."""

    result: Result
    visible: bool = True
    """Of a change: whether the other side may see its target; where that is not known (yet), True."""
    stamp: int = 0
    """Of a group's message: that of the earlier attempt whose row stands for this one, too; 0: it has its own."""


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message as it reads now."""

    name: Name
    stamp: int
    kind: int
    body: bytes
    """The effective one; b"" of what was erased."""
    about: bytes = b""
    revision: int = 0
    """Of the edit that counts; 0: as it was written."""
    edited_stamp: int = 0
    """Of the edit that counts."""
    edit: Name | None = None
    """The edit that counts."""
    erased_by: str = ""
    """Not empty: it was erased, or taken down, by whom."""


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Newest first; may be empty without being the last."""

    messages: tuple[KeptMessage, ...]
    next: bytes
    """Position for the next query, at most 64 bytes; b"": there is nothing older. Holds a position only: it gives no
    right to anything, and is valid in later releases."""


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """What `reader` may see of a conversation, from the newest message, or `before` a position, back."""

    conversation: str
    reader: str
    before: bytes = b""
    limit: int = 50
    own: bool = False
    """Only what the reader wrote."""


class Found(NamedTuple):
    """A message that a search has found."""

    conversation: str
    message: KeptMessage


@dataclass(frozen=True, slots=True)
class FoundPage:
    """Newest first; may be empty without being the last. `next` as in `HistoryPage`."""

    found: tuple[Found, ...]
    next: bytes


@dataclass(frozen=True, slots=True)
class Marks:
    """How far one user has read in one conversation: stamps, 0 if never."""

    private: int = 0
    """Behind it, what others wrote is unread."""
    public: int = 0
    """What the other side sees; never above `private`."""


class Mark(NamedTuple):
    """A mark that is to rise."""

    user: str
    conversation: str
    stamp: int
    public: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """A conversation in the list of one of its members."""

    conversation: str
    other: str
    newest: KeptMessage | None
    """None: all that was there has expired."""
    mine: Marks
    others: Marks


@dataclass(frozen=True, slots=True)
class Report:
    """A copy of what somebody was written and found wrong. It outlives the message."""

    report: str
    """Its id."""
    reporter: str
    reported_ms: int  # Unix time
    conversation: str
    message: KeptMessage
    text: str
    """What the reporter says."""


@dataclass(frozen=True, slots=True)
class HistoryTerms:
    """What the store says of history: one truth for all processes."""

    keep_days: int = 0
    """0: conversations are not kept."""
    since_ms: int = 0
    """Unix time from which on everything SENT is kept."""


class Timelines(abc.ABC):
    """Timelines of an engine: `Store.timelines`."""

    @abc.abstractmethod
    async def terms(self) -> HistoryTerms:
        """What holds now, read from the store."""

    @abc.abstractmethod
    async def set_keep_days(self, days: int, since_ms: int) -> HistoryTerms:
        """Keep for so long from now on. Lowered, it is a floor for what is kept already: nothing older is shown."""

    @abc.abstractmethod
    async def archive(self, batch: Sequence[Entry | Edit | Erasure]) -> Sequence[Archived]:
        """Keep these; one answer for each, in order, after it is durable. One bad one does not stop others.

        Entries: of one name the *first* body stays and the lowest stamp counts; its audience widens only while the
        repeat is at most `R_B_MS` younger (P3). Erased stays erased, whatever comes later, in whatever order (R-A).
        """

    @abc.abstractmethod
    async def page(self, query: HistoryQuery) -> HistoryPage:
        """One page (H2): what was `KEPT` before the first page was asked for, each name once, by stamp."""

    @abc.abstractmethod
    async def message(self, conversation: str, name: Name, reader: str) -> KeptMessage | None:
        """One message, as `reader` may see it; None if they may not, or it is not there."""

    async def search(
        self, user: str, text: str, conversation: str = "", before: bytes = b"", limit: int = 50
    ) -> FoundPage:
        """Texts of the user's conversations, or of one, that have these words one behind the other, the last perhaps
        begun; the newest first. May be empty without being the last; behind SENT by seconds.

        Raises `SearchNotOfferedError` where there is no search, `MisuseError` for a text without a word, or a question
        that takes too long.
        """
        raise SearchNotOfferedError("search is not offered here")

    async def rebuild_search(self) -> None:
        """Make the index of words anew, in time. Raises `SearchNotOfferedError`."""
        raise SearchNotOfferedError("search is not offered here")

    @abc.abstractmethod
    async def conversations(self, user: str, after: str, limit: int, hidden: bool = False) -> Sequence[Listed]:
        """Up to `limit` conversations of `user`, by the other's id, from behind `after` on; those that are hidden are
        among them only if `hidden` says so. Fewer than `limit` only at the end."""

    @abc.abstractmethod
    async def listed(self, user: str, conversation: str) -> Listed | None:
        """One of them, hidden or not; None if nothing was ever written there that `user` may see."""

    @abc.abstractmethod
    async def hide(self, user: str, conversation: str, stamp: int) -> None:
        """Take it out of the user's list until something newer than `stamp` is written; a floor, not a removal."""

    @abc.abstractmethod
    async def unread(self, user: str, conversations: Collection[str]) -> Mapping[str, int]:
        """How much others wrote behind the user's private mark: TEXT, FILE and kinds from 1000 on that are not erased;
        `MAX_UNREAD` stands for that and more."""

    @abc.abstractmethod
    async def raise_marks(self, marks: Sequence[Mark]) -> Sequence[bool]:
        """Raise marks; a public one raises the private one, too. Whether each rose: what did not, wrote nothing."""

    @abc.abstractmethod
    async def mute(self, user: str, other: str, until_ms: int, most: int) -> bool:
        """Mute the user's conversation with `other`, a user or a group, until then (Unix time); what is over, as 0 is:
        not any more. Whether history is kept does not matter, nor whether anything was ever written there.

        False, and nothing has changed for the others, if `most` of them are muted already.
        """

    @abc.abstractmethod
    async def mutes(self, user: str) -> Mapping[str, int]:
        """Those that hold now: the other, or the group, and until when."""

    @abc.abstractmethod
    async def report(self, report: Report) -> None:
        """Keep a report."""

    @abc.abstractmethod
    async def reports(self, after: str, limit: int) -> Sequence[Report]:
        """Up to `limit` reports, by id (oldest first), from behind `after` on."""

    @abc.abstractmethod
    async def drop_report(self, report: str) -> None:
        """Forget a report; one that is gone already does not matter."""

    @abc.abstractmethod
    async def may_read_file(self, file: str, user: str) -> bool:
        """Whether a kept message that `user` may see, and that is not erased, names this file. Only messages of the
        file's owner count."""

    @abc.abstractmethod
    async def forget_author(self, user: str, keep_words: bool) -> None:
        """An account ends: its list, marks, mutes and reports of its own go; its words as well unless `keep_words`.

        May be repeated until it returns.
        """

    @abc.abstractmethod
    async def purge(self) -> int:
        """Drop what has lived for longer than `keep_days`; returns how many, 0 where the database does it itself."""


R_B_MS: Final = 120_000
"""How far a stamp and the broker's clock may be apart when an entry has become durable (rule R-B)."""
