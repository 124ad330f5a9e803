"""The one interface to everything that is kept.

Owns the types that cross it. Knows no engine. Asynchronous and batch first: a caller collects what one
turn of its loop produced and hands it over at once; an engine may join the batches of several callers.

Every method raises `protocol.errors.StoreError` when the engine is away or failing. Then nothing is promised:
the work may have happened all the same, so every method here may be repeated.
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fabric.rows import RowKind as RowKind
from store.codes import Codes
from store.contacts import Change, Relation, Verdict
from store.files import File as File
from store.files import Uploads as Uploads
from store.groups import Groups
from store.logins import Login, Refresh
from store.profiles import Profile as Profile
from store.sessions import NoSession, SessionStart, Standing
from store.subjects import Subjects
from store.timelines import Timelines

COMMON = ""
"""The device name of a user's common queue (docs/design.md, "Inbox")."""


@dataclass(frozen=True, slots=True)
class Account:
    """A registered user."""

    user: str
    password_hash: str
    """Empty where another system keeps the password."""
    created_ms: int  # Unix time
    disabled: bool = False
    """Nobody may log in to it, and none of its devices begins a session."""
    epoch: int = field(default=0, compare=False)
    """Another number after whatever makes an earlier check of its password void."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is; None for what an engine cannot tell without reading everything."""

    accounts: int | None = None
    devices: int | None = None
    inbox_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """An installation of a client; `label` is for people only."""

    device: str
    label: str
    created_ms: int  # Unix time
    first: bool = field(default=False, compare=False)
    """Told by `add_device` alone: the user never had any other device, removed ones included."""
    logged_in: bool = field(default=False, compare=False)
    """Told by `list_devices` alone."""


class NewRow(NamedTuple):
    """One copy to be kept for one device, or for `COMMON`."""

    user: str
    device: str
    kind: int
    body: bytes
    author: str = ""
    """Who wrote a message; "": a receipt, or of a release that did not say."""


@dataclass(frozen=True, slots=True)
class Row:
    """A kept copy. `key` names exactly this row in the queues of its user; opaque, at most 64 bytes."""

    key: bytes
    kind: int
    body: bytes


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which part of an inbox: the device's own queue and the common queue, roughly oldest first.

    `after` is b"" or the `next` of an earlier page for the same device. `fresh` begins a new scan: the engine
    goes back as far as it must to show every row that was appended before this call, so rows seen before may
    come again. Without it the scan goes on.
    """

    user: str
    device: str
    after: bytes
    fresh: bool
    limit: int


@dataclass(frozen=True, slots=True)
class Page:
    """`rows` may be empty; `end` says that the scan is over; `next` (at most 64 bytes) goes into the next query."""

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


class Store(abc.ABC):
    """An engine. Made by `store.open_store`; used as an asynchronous context manager."""

    @abc.abstractmethod
    async def __aenter__(self) -> Store: ...

    @abc.abstractmethod
    async def __aexit__(self, *exc: object) -> None: ...

    @property
    @abc.abstractmethod
    def timelines(self) -> Timelines:
        """What is kept of conversations."""

    @property
    @abc.abstractmethod
    def groups(self) -> Groups:
        """What is kept of groups."""

    @property
    @abc.abstractmethod
    def codes(self) -> Codes:
        """What is kept of codes for a new password, and of invitations to register."""

    @property
    @abc.abstractmethod
    def subjects(self) -> Subjects:
        """What is kept of people whom an OpenID provider knows."""

    @property
    @abc.abstractmethod
    def inbox_ttl_ms(self) -> int:
        """How long a row of the inbox is kept, in ms."""

    @abc.abstractmethod
    def free_bytes(self) -> int | None:
        """How much the disk still takes, a second ago at most; None where the engine cannot tell."""

    @abc.abstractmethod
    def no_space(self) -> bool:
        """Whether the disk is full, or has less than `store.min_free_bytes`.

        Then `create_account`, `create_file` and `append_file` raise `NoSpaceError`. `append` does so only where the
        disk takes nothing more: which rows still matter, its caller knows.
        """

    # Accounts and devices.

    @abc.abstractmethod
    async def create_account(self, user: str, password_hash: str, invitation: str = "") -> Account:
        """Register `user`; with the very same (salted) hash again it is a repeat. Raises `AlreadyExistsError`.

        `invitation`: the id of the one that it is made with.
        """

    @abc.abstractmethod
    async def account(self, user: str) -> Account | None:
        """The account, or None; also for one that was deleted."""

    @abc.abstractmethod
    async def change_password(self, user: str, old_hash: str, new_hash: str) -> None:
        """Put `new_hash` in the place of `old_hash`; of two changes at once one wins. May be repeated.

        Raises `NotFoundError` without such an account, `AlreadyExistsError` if another hash stands there.
        """

    @abc.abstractmethod
    async def profiles(self, users: Collection[str]) -> Mapping[str, Profile]:
        """The profile of each user that exists."""

    @abc.abstractmethod
    async def change_profile(
        self,
        user: str,
        display_name: str | None = None,
        hides_presence: bool | None = None,
        friends_may_add_me: bool | None = None,
    ) -> Profile:
        """Change what is not None; returns what stands then. Raises `NotFoundError` without such an account."""

    @abc.abstractmethod
    async def search(self, prefix: str, after: str, limit: int) -> Sequence[Profile]:
        """Up to `limit` users whose ids begin with `prefix` (two characters or more), by id, from behind `after` on.

        Fewer than `limit` only at the end.
        """

    @abc.abstractmethod
    async def delete_account(self, user: str) -> None:
        """The account ends, then its devices and all that waits for them go; nobody ever gets the name again.

        May be repeated until it returns. Raises `NotFoundError` if there never was such an account.
        """

    @abc.abstractmethod
    async def set_disabled(self, user: str, disabled: bool) -> None:
        """Disable or enable an account; once more is no error. Raises `NotFoundError` without such an account."""

    @abc.abstractmethod
    async def counts(self) -> Counts:
        """How much there is; removed devices are not counted, expired rows may be."""

    @abc.abstractmethod
    async def add_device(self, user: str, device: str, label: str) -> Device:
        """Add a device under a freshly minted id; one that stands already is returned as it is (a repeat).

        Raises `NotFoundError` without such an account, `AlreadyExistsError` for the id of a removed device.
        """

    @abc.abstractmethod
    async def list_devices(self, user: str) -> list[Device]:
        """The user's devices, oldest first; removed ones are not among them."""

    @abc.abstractmethod
    async def rename_device(self, user: str, device: str, label: str) -> None:
        """Change the label. Raises `NotFoundError` unless the device stands."""

    @abc.abstractmethod
    async def remove_device(self, user: str, device: str) -> None:
        """Mark the device removed, then move its rows to the common queue. May be repeated until it returns.

        Raises `NotFoundError` if there never was such a device; one that was removed before is no error.
        """

    @abc.abstractmethod
    async def devices(self, users: Collection[str]) -> Mapping[str, tuple[str, ...] | None]:
        """Device ids of each user, as they stand now; None for a user that does not exist."""

    @abc.abstractmethod
    async def begin_sessions(self, starts: Sequence[SessionStart]) -> Sequence[int | NoSession]:
        """Durably name each device's newest session; returns the one before (0: none), or why there is no session.

        Naming the newest session once more is a repeat and gets the same answer. Naming the one before it is a repeat
        that comes late: it changes nothing and gets 0. Of one start, a lower try than that of the newest session gets
        `LATE`, whatever came in between.
        """

    @abc.abstractmethod
    async def standing(self, users: Collection[str]) -> Mapping[str, Standing | None]:
        """What the sessions of each user are held against; None for a user that does not exist."""

    # Logins: `store.logins`.

    @abc.abstractmethod
    async def begin_login(self, user: str, device: str, login: str, checked: Account | None = None) -> None:
        """Log the device in; an earlier login of it ends. Raises `NotFoundError` unless the device stands.

        `checked`: the account as it was when the password was checked. Raises `OutdatedError` if the account was
        disabled since, or its password hash or epoch is another.
        """

    @abc.abstractmethod
    async def login(self, user: str, device: str) -> Login | None:
        """The device's login, as it stands now; None if there is no such user or device (any more)."""

    @abc.abstractmethod
    async def refresh_login(
        self,
        user: str,
        device: str,
        login: str,
        generation: int,
        grace_ms: int,
        lifetime_ms: int,
        nonce: str = "",
        bare_grace_ms: int | None = None,
    ) -> Refresh:
        """A refresh token of this login and generation is presented; of many at once one is `DONE`.

        `nonce`: a hash of what the client has drawn for this refresh; empty: nothing. `bare_grace_ms` is the grace
        where the first one came without (None: `grace_ms`).
        """

    @abc.abstractmethod
    async def end_login(self, user: str, device: str) -> None:
        """Log the device out, if it is there and logged in."""

    @abc.abstractmethod
    async def end_logins(self, user: str) -> None:
        """Log all devices of the user out; no login whose password was checked before succeeds afterwards.

        Raises `NotFoundError` without such an account. May be repeated.
        """

    @abc.abstractmethod
    async def users(self, after: str, limit: int) -> Sequence[str]:
        """Up to `limit` users, in an order of the engine's own, from behind `after` (empty: the first) on; an empty
        answer is the end. Some that have ended may be among them."""

    # Contacts. What each may do, and what comes of it: `store.contacts`.

    @abc.abstractmethod
    async def change_contact(self, user: str, other: str, what: Change) -> tuple[Relation, Relation]:
        """`user` does something about `other`; returns how they stood before and stand now. May be repeated.

        Of two changes at once, one happens after the other. Raises as `store.contacts.change`.
        """

    @abc.abstractmethod
    async def contact(self, user: str, other: str) -> Relation:
        """How the two stand, as `user` sees it."""

    @abc.abstractmethod
    async def contacts(self, user: str, after: str, limit: int) -> Sequence[tuple[str, Relation]]:
        """Up to `limit` of those whom `user` stands in some relation to, by id, from behind `after` on.

        Fewer than `limit` only at the end. Who has blocked `user`, and is nothing else, is not among them.
        """

    @abc.abstractmethod
    async def verdicts(self, pairs: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Verdict]:
        """Of each (author, receiver), as they stand now, whether one may write to the other."""

    @abc.abstractmethod
    async def saw(self, seen: Mapping[str, int]) -> None:
        """User → when they were online last, Unix time in milliseconds. The latest that was ever told holds."""

    @abc.abstractmethod
    async def last_seen(self, users: Collection[str]) -> Mapping[str, int]:
        """When each was online last; users that never were are absent."""

    # Files.

    @abc.abstractmethod
    async def create_file(self, file: File) -> None:
        """Begin a file. May be repeated with the very same."""

    @abc.abstractmethod
    async def file(self, file: str) -> File | None:
        """The file; None if there is none (any more)."""

    @abc.abstractmethod
    async def files_of(self, owner: str) -> list[File]:
        """All files of one owner, complete or not, by id. It reads what each file is: not for requests."""

    @abc.abstractmethod
    async def uploads_of(self, owner: str, since_ms: int) -> Uploads:
        """What an owner has begun to upload, and is still there; cheap enough for requests. `since_ms`: Unix time."""

    @abc.abstractmethod
    async def file_length(self, file: str) -> int:
        """How many bytes of it are there, from its begin on without gaps."""

    @abc.abstractmethod
    async def append_file(self, file: File, offset: int, data: bytes) -> bool:
        """Keep one piece, which begins where the file ends now; False if another piece stands there already."""

    @abc.abstractmethod
    async def read_file(self, file: str, offset: int) -> bytes:
        """What one piece holds from `offset` on; b"" at the end."""

    @abc.abstractmethod
    async def finish_file(self, file: str, sha256: str) -> None:
        """It is complete, and this is its checksum."""

    @abc.abstractmethod
    async def add_reader(self, file: str, user: str) -> None:
        """Let one more user read it. Raises `NotFoundError` without such a file."""

    @abc.abstractmethod
    async def remove_reader(self, file: str, user: str) -> None:
        """Let a user read it no more; once more is no error. Raises `NotFoundError` without such a file."""

    @abc.abstractmethod
    async def remove_file(self, file: str) -> None:
        """Forget it; one that is gone already does not matter."""

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
    async def waiting(self, users: Collection[str]) -> Mapping[str, Mapping[str, tuple[int, int]]]:
        """Of each user and author ("": the rest), rows and bytes that wait. Reads all of it: not for every message."""

    @abc.abstractmethod
    async def drop_waiting(self, user: str, author: str) -> int:
        """Drop the messages from `author` that wait for `user` on any device; returns how many rows. May be repeated.

        What is appended meanwhile may stay.
        """

    @abc.abstractmethod
    async def purge(self) -> int:
        """Drop rows past their time to live; returns how many, 0 where the database does it by itself."""
