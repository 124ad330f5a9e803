"""The one interface to everything that is kept.

Owns the types that cross it. Knows no engine. Asynchronous and batch first: a caller collects what one
turn of its loop produced and hands it over at once; an engine may join the batches of several callers.

Every method raises `protocol.errors.StoreError` when the engine is away or failing. Then nothing is promised:
the work may have happened all the same, so every method here may be repeated.
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

COMMON = ""
"""The device name of a user's common queue (docs/design.md, "Inbox")."""


class RowKind(IntEnum):
    """What an inbox row's body is."""

    MESSAGE = 1  # an encoded `Message`
    RECEIPT = 2  # an encoded `Receipt`


@dataclass(frozen=True, slots=True)
class Account:
    """A registered user."""

    user: str
    password_hash: str
    created_ms: int  # Unix time


@dataclass(frozen=True, slots=True)
class Device:
    """An installation of a client; `label` is for people only."""

    device: str
    label: str
    created_ms: int  # Unix time


@dataclass(frozen=True, slots=True)
class NewRow:
    """One copy to be kept for one device, or for `COMMON`."""

    user: str
    device: str
    kind: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """A kept copy. `key` names exactly this row in the queues of its user; opaque, at most 64 bytes."""

    key: bytes
    kind: int
    body: bytes


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which part of an inbox: the device's own queue and the common queue, roughly oldest first.

    `after` is b"" or the `next` of an earlier page for the same device. `fresh` begins a new pass: the engine
    goes back as far as it must to show every row that was appended before this call, so rows seen before may
    come again. Without it the pass goes on.
    """

    user: str
    device: str
    after: bytes
    fresh: bool
    limit: int


@dataclass(frozen=True, slots=True)
class Page:
    """`rows` may be empty; `end` says that the pass is over; `next` (at most 64 bytes) goes into the next query."""

    rows: tuple[Row, ...]
    next: bytes
    end: bool


@dataclass(frozen=True, slots=True)
class Removal:
    """Exactly these rows of one device's view (its own queue and the common one) go away.

    Keys that name no row there do not matter, whoever made them.
    """

    user: str
    device: str
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SessionStart:
    """A device begins a session."""

    user: str
    device: str
    session: int


class Store(abc.ABC):
    """An engine. Made by `store.open_store`; used as an asynchronous context manager."""

    @abc.abstractmethod
    async def __aenter__(self) -> Store: ...

    @abc.abstractmethod
    async def __aexit__(self, *exc: object) -> None: ...

    # Accounts and devices.

    @abc.abstractmethod
    async def create_account(self, user: str, password_hash: str) -> Account:
        """Register `user`; with the very same (salted) hash again it is a repeat. Raises `AlreadyExistsError`."""

    @abc.abstractmethod
    async def account(self, user: str) -> Account | None:
        """The account, or None."""

    @abc.abstractmethod
    async def add_device(self, user: str, device: str, label: str) -> Device:
        """Add a device under a freshly minted id; one that stands already is returned as it is (a repeat).

        Raises `NotFoundError` without such an account, `AlreadyExistsError` for the id of a removed device.
        """

    @abc.abstractmethod
    async def list_devices(self, user: str) -> list[Device]:
        """The user's devices, oldest first; removed ones are not among them."""

    @abc.abstractmethod
    async def remove_device(self, user: str, device: str) -> None:
        """Mark the device removed, then move its rows to the common queue. May be repeated until it returns.

        Raises `NotFoundError` if there never was such a device; one that was removed before is no error.
        """

    @abc.abstractmethod
    async def devices(self, users: Collection[str]) -> Mapping[str, tuple[str, ...] | None]:
        """Device ids of each user, as they stand now; None for a user that does not exist."""

    @abc.abstractmethod
    async def begin_sessions(self, starts: Sequence[SessionStart]) -> Sequence[int | None]:
        """Durably name each device's newest session; returns the one before (0: none; None: no such device).

        Naming the newest session once more is a repeat and gets the same answer. Naming the one before it is a repeat
        that comes late: it changes nothing and gets 0.
        """

    # Inbox.

    @abc.abstractmethod
    async def append(self, rows: Sequence[NewRow]) -> None:
        """Keep all rows durably; returns only after they are. After an error some may stand, which is harmless."""

    @abc.abstractmethod
    async def page(self, queries: Sequence[PageQuery]) -> Sequence[Page]:
        """One page for each query, none of them with an expired row."""

    @abc.abstractmethod
    async def remove(self, removals: Sequence[Removal]) -> None:
        """Remove rows by key; ones that are gone already do not matter."""

    @abc.abstractmethod
    async def purge(self) -> int:
        """Drop rows past their time to live; returns how many, 0 where the database does it by itself."""
