"""`Store` over a Cassandra cluster.

Owns the start, the bound on what waits, and the clock. Nothing here blocks the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from protocol.errors import StoreError
from store.cassandra.accounts import Accounts
from store.cassandra.addresses import where
from store.cassandra.codes import CassandraCodes
from store.cassandra.connecting import Connection
from store.cassandra.contacts import Contacts
from store.cassandra.files import Files
from store.cassandra.group_states import GroupStates
from store.cassandra.groups import CassandraGroups, GroupParts, make_group_parts
from store.cassandra.inbox import Inbox
from store.cassandra.lease import Lease
from store.cassandra.logins import Logins
from store.cassandra.opening import open_connection
from store.cassandra.profiles import Profiles
from store.cassandra.requests import Requests
from store.cassandra.schema import enter_keyspace
from store.cassandra.subjects import CassandraSubjects
from store.cassandra.timelines import CassandraTimelines, Parts, make_parts
from store.contacts import Change, Relation, Verdict
from store.files import File, Uploads
from store.group_rules import lives_of
from store.interface import COMMON, Account, Counts, Device, NewRow, Page, PageQuery, Removal, Store
from store.logins import Login, Refresh
from store.ownership import Ownership
from store.profiles import Profile
from store.sessions import NoSession, SessionStart, Standing
from store.settings import NOT_KEPT, HistorySettings, StoreSettings
from store.timelines import Erasure, members_of

_log = logging.getLogger("sparrow.store")
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class _Open:
    connection: Connection
    accounts: Accounts
    codes: CassandraCodes
    subjects: CassandraSubjects
    contacts: Contacts
    files: Files
    profiles: Profiles
    logins: Logins
    inbox: Inbox
    lease: Lease
    timelines: Parts
    groups: GroupParts


class CassandraStore(Store):
    """The engine for clusters. `clock` gives Unix time in seconds. Any number of processes may share a keyspace."""

    def __init__(
        self,
        settings: StoreSettings,
        clock: Callable[[], float] = time.time,
        ownership: Ownership = Ownership.NONE,
        history: HistorySettings = NOT_KEPT,
    ) -> None:
        self._settings = settings
        self._history = history
        self._clock = clock
        self._ownership = ownership
        self._open: _Open | None = None
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._purging: asyncio.Task[None] | None = None
        self._timelines = CassandraTimelines(
            settings, history, lambda: self._parts().timelines, self._now_ms, self.drop_waiting
        )
        terms = self._timelines.keep_days, self._timelines.group_floor
        self._groups = CassandraGroups(settings, history, lambda: self._parts().groups, self._now_ms, *terms)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    async def __aenter__(self) -> CassandraStore:
        """Tries again for a while when no node answers.

        Raises `ConfigError` for a refused login, a schema that is not this version's and data that others own,
        `StoreError` in the end.
        """
        connection = await open_connection(self._settings)
        try:
            requests = Requests(self._settings, connection)
            parts = await asyncio.to_thread(self._prepare, connection, requests)
            await parts.lease.take(self._ownership)
            self._open = parts
        except BaseException:
            await asyncio.to_thread(connection.close)
            raise
        if self._settings.purge_interval_s > 0:
            self._purging = asyncio.create_task(self._purge_for_ever())
        _log.info("store %s is open", where(self._settings))
        return self

    async def _purge_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.purge_interval_s)
            try:
                await self.purge()
            except StoreError as error:
                _log.warning("dropping closed groups: %s", error)

    def _prepare(self, connection: Connection, requests: Requests) -> _Open:
        enter_keyspace(connection, self._settings)
        accounts = Accounts(connection, requests, self._clock)
        profiles = Profiles(connection, requests, self._clock)
        logins = Logins(connection, requests, self._clock)
        codes = CassandraCodes(connection, requests, self._clock, accounts, logins)
        contacts = Contacts(connection, requests, self._clock)
        files = Files(connection, requests, self._clock, self._longest_days)
        inbox = Inbox(self._settings, connection, requests, self._clock)
        lease = Lease(self._settings, connection, requests)
        states = GroupStates(connection, requests)
        timelines = make_parts(
            self._settings,
            self._history,
            connection,
            requests,
            files,
            states,
            self._now_ms,
            self._drop_copies,
            contacts.blocked,
        )
        groups = make_group_parts(connection, requests, states, timelines, self._now_ms)
        people = (accounts, codes, CassandraSubjects(connection, requests, self._clock, accounts), contacts)
        return _Open(connection, *people, files, profiles, logins, inbox, lease, timelines, groups)

    async def _longest_days(self) -> int:
        """How long a message may live that names a file."""
        lives = lives_of(await self._timelines.keep_days(), self._settings)
        return -(-lives.group // _DAY_MS)

    async def _drop_copies(self, erasure: Erasure, stamps: Sequence[int]) -> None:
        parts = self._parts()
        if stamps:
            queues = await parts.accounts.devices(members_of(erasure.conversation))
            for user, devices in queues.items():
                await parts.inbox.drop_copies(user, (*(devices or ()), COMMON), erasure, stamps)

    async def __aexit__(self, *exc: object) -> None:
        if self._purging is not None:
            self._purging.cancel()
            await asyncio.gather(self._purging, return_exceptions=True)
        if self._open is not None:
            await self._open.timelines.usage.flush(now=True)
            await self._open.lease.release()
            connection, self._open = self._open.connection, None
            await asyncio.to_thread(connection.close)
            _log.info("store %s is closed", where(self._settings))

    def _parts(self) -> _Open:
        if self._open is None:
            raise StoreError(f"store {where(self._settings)} is not open")
        return self._open

    @contextmanager
    def _weighing(self, rows: int, size: int = 0) -> Iterator[None]:
        """Room for so many rows and bytes. Raises `StoreError` where there is none."""
        settings = self._settings
        if self._waiting_rows and (
            self._waiting_rows + rows > settings.max_waiting_rows
            or self._waiting_bytes + size > settings.max_waiting_bytes
        ):
            raise StoreError(
                f"store {where(settings)} is behind: {self._waiting_rows} rows wait already; try again later "
                "(limits: store.max_waiting_rows, store.max_waiting_bytes)"
            )
        self._waiting_rows += rows
        self._waiting_bytes += size
        try:
            yield
        finally:
            self._waiting_rows -= rows
            self._waiting_bytes -= size

    @property
    def timelines(self) -> CassandraTimelines:
        return self._timelines

    @property
    def groups(self) -> CassandraGroups:
        return self._groups

    @property
    def codes(self) -> CassandraCodes:
        return self._parts().codes

    @property
    def subjects(self) -> CassandraSubjects:
        return self._parts().subjects

    @property
    def inbox_ttl_ms(self) -> int:
        return self._settings.inbox_ttl_ms

    def free_bytes(self) -> int | None:
        """Nobody here can say: the disks are the nodes'."""
        return None

    def no_space(self) -> bool:
        """A node whose disk is full refuses writes, and those are errors like any other."""
        return False

    # Accounts and devices.

    async def create_account(self, user: str, password_hash: str, invitation: str = "") -> Account:
        return await self._parts().accounts.create_account(user, password_hash, invitation)

    async def account(self, user: str) -> Account | None:
        return await self._parts().accounts.account(user)

    async def change_password(self, user: str, old_hash: str, new_hash: str) -> None:
        await self._parts().profiles.change_password(user, old_hash, new_hash)

    async def profiles(self, users: Collection[str]) -> Mapping[str, Profile]:
        profiles = self._parts().profiles
        with self._weighing(len(users)):
            return await profiles.profiles(users)

    async def change_profile(
        self,
        user: str,
        display_name: str | None = None,
        hides_presence: bool | None = None,
        friends_may_add_me: bool | None = None,
    ) -> Profile:
        return await self._parts().profiles.change_profile(user, display_name, hides_presence, friends_may_add_me)

    async def search(self, prefix: str, after: str, limit: int) -> Sequence[Profile]:
        return await self._parts().profiles.search(prefix, after, limit)

    async def delete_account(self, user: str) -> None:
        parts = self._parts()
        await parts.profiles.delete(user)
        await parts.contacts.forget(user)
        await parts.subjects.forget(user)

    async def set_disabled(self, user: str, disabled: bool) -> None:
        await self._parts().accounts.set_disabled(user, disabled)

    async def counts(self) -> Counts:
        """Nothing: Cassandra would have to read every partition."""
        self._parts()
        return Counts()

    async def add_device(self, user: str, device: str, label: str) -> Device:
        return await self._parts().accounts.add_device(user, device, label)

    async def list_devices(self, user: str) -> list[Device]:
        return await self._parts().accounts.list_devices(user)

    async def rename_device(self, user: str, device: str, label: str) -> None:
        await self._parts().logins.rename_device(user, device, label)

    async def remove_device(self, user: str, device: str) -> None:
        parts = self._parts()
        await parts.accounts.mark_removed(user, device)
        while await parts.inbox.move_to_common(user, device, self._settings.chunk_rows):
            pass

    async def devices(self, users: Collection[str]) -> Mapping[str, tuple[str, ...] | None]:
        accounts = self._parts().accounts
        with self._weighing(len(users)):
            return await accounts.devices(users)

    async def standing(self, users: Collection[str]) -> Mapping[str, Standing | None]:
        accounts = self._parts().accounts
        with self._weighing(len(users)):
            return await accounts.standing(users)

    async def begin_sessions(self, starts: Sequence[SessionStart]) -> Sequence[int | NoSession]:
        parts = self._parts()
        parts.lease.check()
        with self._weighing(len(starts)):
            return await parts.accounts.begin_sessions(starts)

    async def begin_login(self, user: str, device: str, login: str, checked: Account | None = None) -> None:
        await self._parts().logins.begin(user, device, login, checked)

    async def login(self, user: str, device: str) -> Login | None:
        return await self._parts().logins.one(user, device)

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
        logins = self._parts().logins
        return await logins.refresh(user, device, login, generation, grace_ms, lifetime_ms, nonce, bare_grace_ms)

    async def end_login(self, user: str, device: str) -> None:
        await self._parts().logins.end(user, device)

    async def end_logins(self, user: str) -> None:
        parts = self._parts()
        await parts.accounts.new_epoch(user)
        for one in await parts.accounts.list_devices(user):
            await parts.logins.end(user, one.device)

    async def users(self, after: str, limit: int) -> Sequence[str]:
        return await self._parts().accounts.users(after, limit)

    # Contacts.

    async def change_contact(self, user: str, other: str, what: Change) -> tuple[Relation, Relation]:
        return await self._parts().contacts.change(user, other, what)

    async def contact(self, user: str, other: str) -> Relation:
        return await self._parts().contacts.one(user, other)

    async def contacts(self, user: str, after: str, limit: int) -> Sequence[tuple[str, Relation]]:
        return await self._parts().contacts.some(user, after, limit)

    async def verdicts(self, pairs: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Verdict]:
        contacts = self._parts().contacts
        with self._weighing(len(pairs)):
            return await contacts.verdicts(pairs)

    async def saw(self, seen: Mapping[str, int]) -> None:
        contacts = self._parts().contacts
        with self._weighing(len(seen)):
            await contacts.saw(seen)

    async def last_seen(self, users: Collection[str]) -> Mapping[str, int]:
        contacts = self._parts().contacts
        with self._weighing(len(users)):
            return await contacts.last_seen(users)

    # Files.

    async def create_file(self, file: File) -> None:
        await self._parts().files.create(file)

    async def file(self, file: str) -> File | None:
        return await self._parts().files.one(file)

    async def files_of(self, owner: str) -> list[File]:
        return await self._parts().files.of_owner(owner)

    async def uploads_of(self, owner: str, since_ms: int) -> Uploads:
        return await self._parts().files.uploads_of(owner, since_ms)

    async def file_length(self, file: str) -> int:
        return await self._parts().files.length(file)

    async def append_file(self, file: File, offset: int, data: bytes) -> bool:
        files = self._parts().files
        with self._weighing(1, len(data)):
            return await files.append(file, offset, data)

    async def read_file(self, file: str, offset: int) -> bytes:
        return await self._parts().files.read(file, offset)

    async def finish_file(self, file: str, sha256: str) -> None:
        await self._parts().files.finish(file, sha256)

    async def add_reader(self, file: str, user: str) -> None:
        await self._parts().files.add_reader(file, user)

    async def remove_reader(self, file: str, user: str) -> None:
        await self._parts().files.remove_reader(file, user)

    async def remove_file(self, file: str) -> None:
        await self._parts().files.remove(file)

    # Inbox.

    async def append(self, rows: Sequence[NewRow]) -> None:
        parts = self._parts()
        inbox = parts.inbox
        with self._weighing(len(rows), sum([len(row.body) for row in rows])):
            await inbox.append(rows)
        # Only now: an append that lasted may have outlived the lease, and then nobody here knows who is online.
        parts.lease.check()

    async def page(self, queries: Sequence[PageQuery]) -> Sequence[Page]:
        with self._weighing(len(queries)):
            return await self._parts().inbox.page(queries)

    async def remove(self, removals: Sequence[Removal]) -> None:
        inbox = self._parts().inbox
        with self._weighing(sum([len(removal.keys) for removal in removals])):
            await inbox.remove(removals)

    async def waiting(self, users: Collection[str]) -> Mapping[str, Mapping[str, tuple[int, int]]]:
        parts = self._parts()
        queues = await parts.accounts.devices(users)
        return {user: await parts.inbox.waiting(user, (*(queues[user] or ()), COMMON)) for user in users}

    async def drop_waiting(self, user: str, author: str) -> int:
        parts = self._parts()
        queues = await parts.accounts.devices((user,))
        return await parts.inbox.drop_from(user, (*(queues[user] or ()), COMMON), author)

    async def purge(self) -> int:
        """Closed groups: all else Cassandra drops by itself when it has expired."""
        return await self._groups.purge()
