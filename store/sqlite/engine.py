"""`Store` over one SQLite file.

Owns the two threads and the clock. Nothing here waits for the disk on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from protocol.errors import NoSpaceError, StoreError
from store.contacts import Change, Relation, Verdict
from store.interface import (
    Account,
    Counts,
    Device,
    File,
    NewRow,
    Page,
    PageQuery,
    Profile,
    Removal,
    Store,
    Uploads,
)
from store.logins import Login, Refresh
from store.ownership import Ownership
from store.sessions import NoSession, SessionStart, Standing
from store.settings import NOT_KEPT, HistorySettings, StoreSettings
from store.sqlite import accounts, contacts, files, reading, subjects, writing
from store.sqlite.codes import SqliteCodes
from store.sqlite.disk import Disk
from store.sqlite.groups import SqliteGroups
from store.sqlite.lock import DataLock
from store.sqlite.schema import begin_immediate, is_migrating, open_reader, open_writer
from store.sqlite.subjects import SqliteSubjects
from store.sqlite.timelines import SqliteTimelines
from store.sqlite.worker import Worker

_log = logging.getLogger("sparrow.store")
FULL_S = 5.0
"""A disk that has taken nothing is tried again after so long."""
PIECES_AT_ONCE = 16
"""Of a file that is removed: so that its megabytes do not hold up everybody's messages."""
_SWITCH_INTERVAL_S = 0.0005


class SqliteStore(Store):
    """The embedded engine. `clock` gives Unix time in seconds.

    Several processes may have the same file open. Entering it lowers the interpreter's switch interval.
    """

    def __init__(
        self,
        settings: StoreSettings,
        clock: Callable[[], float] = time.time,
        ownership: Ownership = Ownership.NONE,
        history: HistorySettings = NOT_KEPT,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._ownership = ownership
        self._lock = DataLock(settings.path)
        self._disk = Disk(settings)
        self._writer = Worker(
            "store-writer",
            settings,
            partial(open_writer, settings, history.keep_days),
            partial(begin_immediate, timeout_s=settings.busy_timeout_s),
        )
        self._reader = Worker("store-reader", settings, partial(open_reader, settings), _begin)
        self._purging: asyncio.Task[None] | None = None
        self._timelines = SqliteTimelines(
            settings,
            history,
            self._writer,
            self._reader,
            self._now_ms,
            self.remove_file,
            owner=ownership is not Ownership.NONE,
        )
        self._groups = SqliteGroups(settings, history, self._writer, self._reader, self._now_ms)
        self._codes = SqliteCodes(self._writer, self._reader, self._now_ms)
        self._subjects = SqliteSubjects(self._writer, self._reader, self._now_ms)

    @property
    def timelines(self) -> SqliteTimelines:
        return self._timelines

    @property
    def groups(self) -> SqliteGroups:
        return self._groups

    @property
    def codes(self) -> SqliteCodes:
        return self._codes

    @property
    def subjects(self) -> SqliteSubjects:
        return self._subjects

    @property
    def commits(self) -> int:
        """Write transactions committed since it was opened."""
        return self._writer.commits

    async def __aenter__(self) -> SqliteStore:
        """Raises `ConfigError` for a file that is not ours, too new, or owned by another process, `StoreError` for one
        that does not open."""
        # Before anything else is touched.
        try:
            self._lock.take(self._ownership)
        except OSError as error:
            raise StoreError(f"store {self._settings.path}: {error.filename}: {error.strerror}") from error
        try:
            return await self._enter()
        except BaseException:
            self._lock.release()
            raise

    async def _enter(self) -> SqliteStore:
        # Under full load an event loop gives up the interpreter's lock only for an instant in each turn. A thread that
        # waits longer than a turn before it insists (5 ms by default) can be passed over for seconds, as was seen.
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL_S))
        await self._writer.start()
        try:
            await self._reader.start()
        except BaseException:
            await self._writer.stop()
            raise
        if self._settings.purge_interval_s > 0:
            self._purging = asyncio.create_task(self._purge_for_ever())
        await self._timelines.start()
        _log.info("store %s is open", self._settings.path)
        if self._ownership is not Ownership.NONE and await self._reader.call(is_migrating):
            _log.warning(
                "store %s is being moved to Cassandra: sparrow migrate --to cassandra goes on with it, with --abort it "
                "is forgotten; until then each message costs something more",
                self._settings.path,
            )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._purging is not None:
            self._purging.cancel()
            await asyncio.gather(self._purging, return_exceptions=True)
        await self._timelines.stop()
        await self._reader.stop()
        await self._writer.stop()
        self._lock.release()
        _log.info("store %s is closed", self._settings.path)

    @property
    def inbox_ttl_ms(self) -> int:
        return self._settings.inbox_ttl_ms

    def free_bytes(self) -> int | None:
        return self._disk.free_bytes()

    def no_space(self) -> bool:
        return self._disk.is_low() or time.monotonic() < self._writer.full_at + FULL_S

    def _refuse_if_full(self) -> None:
        if self.no_space():
            raise NoSpaceError(
                f"store {self._settings.path}: its disk is nearly full (store.min_free_bytes): free some space there"
            )

    async def create_account(self, user: str, password_hash: str, invitation: str = "") -> Account:
        self._refuse_if_full()
        account = Account(user, password_hash, self._now_ms())
        return await self._writer.call(partial(writing.create_account, account=account, invitation=invitation))

    async def account(self, user: str) -> Account | None:
        return await self._reader.call(partial(reading.account, user=user))

    async def change_password(self, user: str, old_hash: str, new_hash: str) -> None:
        work = partial(accounts.change_password, user=user, old_hash=old_hash, new_hash=new_hash)
        await self._writer.call(work)

    async def profiles(self, users: Collection[str]) -> Mapping[str, Profile]:
        if not users:
            return {}
        return await self._reader.call(partial(accounts.profiles, users=users), rows=len(users))

    async def change_profile(
        self,
        user: str,
        display_name: str | None = None,
        hides_presence: bool | None = None,
        friends_may_add_me: bool | None = None,
    ) -> Profile:
        changes = (display_name, hides_presence, friends_may_add_me)
        return await self._writer.call(partial(accounts.change_profile, user=user, changes=changes))

    async def search(self, prefix: str, after: str, limit: int) -> Sequence[Profile]:
        return await self._reader.call(partial(accounts.search, prefix=prefix, after=after, limit=limit))

    async def delete_account(self, user: str) -> None:
        limit = self._settings.chunk_rows
        await self._writer.call(partial(accounts.mark_deleted, user=user, now_ms=self._now_ms()))
        await self._writer.call(partial(contacts.forget, user=user))
        await self._writer.call(partial(subjects.forget, user=user))
        while await self._writer.call(partial(accounts.drop_inbox, user=user, limit=limit), rows=limit) == limit:
            pass

    async def set_disabled(self, user: str, disabled: bool) -> None:
        await self._writer.call(partial(writing.set_disabled, user=user, disabled=disabled))

    async def counts(self) -> Counts:
        return await self._reader.call(reading.counts)

    async def add_device(self, user: str, device: str, label: str) -> Device:
        new = Device(device, label, self._now_ms())
        return await self._writer.call(partial(writing.add_device, user=user, device=new))

    async def list_devices(self, user: str) -> list[Device]:
        return await self._reader.call(partial(reading.list_devices, user=user))

    async def rename_device(self, user: str, device: str, label: str) -> None:
        await self._writer.call(partial(accounts.rename_device, user=user, device=device, label=label))

    async def remove_device(self, user: str, device: str) -> None:
        now = self._now_ms()
        limit = self._settings.chunk_rows
        await self._writer.call(partial(writing.mark_removed, user=user, device=device, now_ms=now))
        move = partial(writing.move_to_common, user=user, device=device, limit=limit)
        while await self._writer.call(move, rows=limit) == limit:
            pass

    async def devices(self, users: Collection[str]) -> Mapping[str, tuple[str, ...] | None]:
        if not users:
            return {}
        return await self._reader.call(partial(reading.devices, users=users), rows=len(users))

    async def standing(self, users: Collection[str]) -> Mapping[str, Standing | None]:
        if not users:
            return {}
        return await self._reader.call(partial(reading.standing, users=users), rows=len(users))

    async def begin_sessions(self, starts: Sequence[SessionStart]) -> Sequence[int | NoSession]:
        if not starts:
            return []
        return await self._writer.call(partial(writing.begin_sessions, starts=starts), rows=len(starts))

    async def begin_login(self, user: str, device: str, login: str, checked: Account | None = None) -> None:
        now = self._now_ms()
        work = partial(accounts.begin_login, user=user, device=device, login=login, now_ms=now, checked=checked)
        await self._writer.call(work)

    async def login(self, user: str, device: str) -> Login | None:
        return await self._reader.call(partial(accounts.login, user=user, device=device))

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
        presented = (login, generation, self._now_ms(), grace_ms, lifetime_ms, nonce, bare_grace_ms)
        return await self._writer.call(partial(accounts.refresh_login, user=user, device=device, presented=presented))

    async def end_login(self, user: str, device: str) -> None:
        await self._writer.call(partial(accounts.end_login, user=user, device=device))

    async def end_logins(self, user: str) -> None:
        await self._writer.call(partial(accounts.end_logins, user=user))

    async def users(self, after: str, limit: int) -> Sequence[str]:
        return await self._reader.call(partial(reading.users, after=after, limit=limit))

    async def change_contact(self, user: str, other: str, what: Change) -> tuple[Relation, Relation]:
        work = partial(contacts.change, user=user, other=other, what=what, now_ms=self._now_ms())
        return await self._writer.call(work)

    async def contact(self, user: str, other: str) -> Relation:
        return await self._reader.call(partial(contacts.one, user=user, other=other))

    async def contacts(self, user: str, after: str, limit: int) -> Sequence[tuple[str, Relation]]:
        return await self._reader.call(partial(contacts.some, user=user, after=after, limit=limit))

    async def verdicts(self, pairs: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Verdict]:
        if not pairs:
            return {}
        return await self._reader.call(partial(contacts.verdicts, pairs=pairs), rows=len(pairs))

    async def saw(self, seen: Mapping[str, int]) -> None:
        if seen:
            await self._writer.call(partial(contacts.saw, seen=seen), rows=len(seen))

    async def last_seen(self, users: Collection[str]) -> Mapping[str, int]:
        if not users:
            return {}
        return await self._reader.call(partial(contacts.last_seen, users=users), rows=len(users))

    async def create_file(self, file: File) -> None:
        self._refuse_if_full()
        await self._writer.call(partial(files.create, file=file))

    async def file(self, file: str) -> File | None:
        return await self._reader.call(partial(files.one, file=file, now_ms=self._now_ms()))

    async def files_of(self, owner: str) -> list[File]:
        return await self._reader.call(partial(files.of_owner, owner=owner, now_ms=self._now_ms()))

    async def uploads_of(self, owner: str, since_ms: int) -> Uploads:
        work = partial(files.uploads_of, owner=owner, since_ms=since_ms, now_ms=self._now_ms())
        return await self._reader.call(work)

    async def file_length(self, file: str) -> int:
        return await self._reader.call(partial(files.length, file=file))

    async def append_file(self, file: File, offset: int, data: bytes) -> bool:
        self._refuse_if_full()
        work = partial(files.append, file=file.file, offset=offset, data=data)
        return await self._writer.call(work, size=len(data))

    async def read_file(self, file: str, offset: int) -> bytes:
        return await self._reader.call(partial(files.read, file=file, offset=offset))

    async def finish_file(self, file: str, sha256: str) -> None:
        await self._writer.call(partial(files.finish, file=file, sha256=sha256))

    async def add_reader(self, file: str, user: str) -> None:
        await self._writer.call(partial(files.add_reader, file=file, user=user))

    async def remove_reader(self, file: str, user: str) -> None:
        await self._writer.call(partial(files.remove_reader, file=file, user=user))

    async def remove_file(self, file: str) -> None:
        while await self._writer.call(partial(files.remove, file=file, limit=PIECES_AT_ONCE)):
            pass

    async def append(self, rows: Sequence[NewRow]) -> None:
        if not rows:
            return
        expires = self._now_ms() + self._settings.inbox_ttl_ms
        size = sum([len(row.body) for row in rows])
        await self._writer.call(partial(writing.append, rows=rows, expires_ms=expires), len(rows), size)

    async def page(self, queries: Sequence[PageQuery]) -> Sequence[Page]:
        if not queries:
            return []
        return await self._reader.call(partial(reading.page, queries=queries, now_ms=self._now_ms()), rows=len(queries))

    async def remove(self, removals: Sequence[Removal]) -> None:
        keys = sum([len(removal.keys) for removal in removals])
        if keys:
            await self._writer.call(partial(writing.remove, removals=removals), rows=keys)

    async def waiting(self, users: Collection[str]) -> Mapping[str, Mapping[str, tuple[int, int]]]:
        if not users:
            return {}
        return await self._reader.call(partial(reading.waiting, users=users, now_ms=self._now_ms()), rows=len(users))

    async def drop_waiting(self, user: str, author: str) -> int:
        positions = await self._reader.call(partial(reading.positions_from, user=user, author=author))
        limit = self._settings.chunk_rows
        total = 0
        for start in range(0, len(positions), limit):
            some = positions[start : start + limit]
            total += await self._writer.call(partial(writing.drop, user=user, positions=some), rows=len(some))
        return total

    async def purge(self) -> int:
        total = 0
        limit = self._settings.chunk_rows
        now = self._now_ms()
        while True:
            gone = await self._writer.call(partial(writing.purge, now_ms=now, limit=limit), rows=limit)
            total += gone
            if gone < limit:
                break
        for file in await self._reader.call(partial(files.expired, now_ms=now)):
            await self.remove_file(file)
            total += 1
        return total + await self._timelines.purge() + await self._groups.purge()

    async def _purge_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.purge_interval_s)
            try:
                await self.purge()
            except StoreError as error:
                _log.warning("dropping expired rows: %s", error)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def _begin(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")
