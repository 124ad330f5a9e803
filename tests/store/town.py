"""A town: people who do all that a store keeps, by chance from a seed, and all that a store tells of them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from protocol.errors import SparrowError
from protocol.ids import new_group_id
from protocol.sparrow_pb2 import About
from store import Store
from store.codes import Invitation as RegisterInvitation
from store.codes import ResetCode
from store.contacts import Change
from store.groups import Group, GroupChange, GroupQuery, Invitation, Link
from store.interface import COMMON, File, NewRow, PageQuery, Removal
from store.membership import after, made
from store.sessions import SessionStart
from store.subjects import Subject
from store.timelines import (
    MAX_PAGE,
    Audience,
    Edit,
    Entry,
    Erasure,
    HistoryQuery,
    Mark,
    Name,
    Report,
    conversation_of,
)
from tests.store.helpers import read_all

USERS = [f"u{number}" for number in range(6)]
DEVICES = ["phone", "tablet"]
_HOUR_MS = 3_600_000
_TEXT, _FILE, _EDIT = 1, 2, 4


class Town:
    """Does something to a store at each `step`."""

    def __init__(self, seed: int, widens: bool = True) -> None:
        """`widens`: what one alone has seen is sent again for both. In Cassandra both then see it at stamps of their
        own, in SQLite at the first one (H3)."""
        self.widens = widens
        self.chance = random.Random(seed)
        self.groups: dict[str, Group] = {}
        self.files: list[File] = []
        self.written: list[Entry] = []
        self.invitations: list[RegisterInvitation] = []
        self.links: list[Link] = []
        self.reports: list[str] = []
        self.ended: set[str] = set()
        self._ids = 0
        self._steps: list[tuple[int, Callable[[Store], Awaitable[None]]]] = [
            (6, self.account),
            (8, self.login),
            (6, self.session),
            (3, self.profile),
            (2, self.known_elsewhere),
            (3, self.contact),
            (2, self.seen),
            (4, self.upload),
            (10, self.append),
            (6, self.take),
            (25, self.write),
            (8, self.edit),
            (4, self.erase),
            (4, self.read),
            (2, self.report),
            (6, self.group),
            (12, self.write_in_group),
            (3, self.enter),
            (1, self.leave),
        ]

    async def live(self, store: Store, steps: int) -> None:
        """So many steps. What cannot be done now is passed over."""
        weights = [weight for weight, _ in self._steps]
        for _ in range(steps):
            _, step = self.chance.choices(self._steps, weights)[0]
            with contextlib.suppress(SparrowError):
                await step(store)

    # Parts of a step.

    def _user(self) -> str:
        return self.chance.choice([user for user in USERS if user not in self.ended])

    def _two(self) -> tuple[str, str]:
        one, other = self.chance.sample([user for user in USERS if user not in self.ended], 2)
        return one, other

    def _device(self) -> str:
        return self.chance.choice(DEVICES)

    def _now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def _stamp(self) -> int:
        """Of the last days."""
        self._ids += 1
        return (self._now_ms() - self.chance.choice([1, 30, 200]) * _HOUR_MS) << 20 | self._ids

    def _id(self) -> int:
        self._ids += 1
        return self._ids + self.chance.choice([0, 0, 0, 700])

    def _hex(self) -> str:
        return self.chance.randbytes(16).hex()

    # People.

    async def account(self, store: Store) -> None:
        user = self._user()
        invitation = self.chance.choice(self.invitations).invitation if self.invitations else ""
        await store.create_account(user, f"hash {user}", invitation)
        for device in DEVICES:
            await store.add_device(user, device, f"{user}'s {device}")

    async def login(self, store: Store) -> None:
        user, device = self._user(), self._device()
        what = self.chance.randrange(9)
        if what < 3:
            await store.begin_login(user, device, self._hex())
        elif what < 6:
            login = await store.login(user, device)
            if login is not None and login.id:
                await store.refresh_login(user, device, login.id, login.generation, 1000, _HOUR_MS, self._hex())
        elif what == 6:
            await store.end_login(user, device)
        elif what == 7:
            await store.end_logins(user)
        else:
            await store.add_device(user, f"more{self._id()}", "another")

    async def session(self, store: Store) -> None:
        user, device = self._user(), self._device()
        start = self.chance.choice([0, 2**63 + 5, 7])
        await store.begin_sessions(
            [SessionStart(user, device, self.chance.getrandbits(64) | 1, "", start, self.chance.randrange(9))]
        )

    async def profile(self, store: Store) -> None:
        user, what = self._user(), self.chance.randrange(7)
        if what == 0:
            await store.change_profile(
                user, display_name=f"Ünï {self._id()}", hides_presence=self.chance.random() < 0.5
            )
        elif what == 1:
            await store.change_profile(user, friends_may_add_me=self.chance.random() < 0.5)
        elif what == 2:
            await store.set_disabled(user, self.chance.random() < 0.4)
        elif what == 3:
            await store.codes.put_reset_code(user, ResetCode(self._hex(), self._now_ms() + _HOUR_MS))
        elif what == 4:
            code = await store.codes.reset_code(user)
            if code is not None:
                await store.codes.reset_password(user, code.digest, f"hash {self._id()}")
        elif what == 5:
            account = await store.account(user)
            if account is not None:
                await store.change_password(user, account.password_hash, f"hash {self._id()}")
        else:
            devices = await store.list_devices(user)
            if devices:
                device = self.chance.choice(devices).device
                if device in DEVICES:
                    await store.rename_device(user, device, f"renamed {self._id()}")
                else:
                    await store.remove_device(user, device)

    async def known_elsewhere(self, store: Store) -> None:
        """To an OpenID provider."""
        subject = Subject("https://id.example.com", str(self.chance.randrange(8)))
        if self.chance.random() < 0.7:
            await store.subjects.link(subject, self._user())
        else:
            await store.subjects.unlink(subject, await store.subjects.user_of(subject) or "")

    async def contact(self, store: Store) -> None:
        one, other = self._two()
        await store.change_contact(one, other, self.chance.choice([*Change][:-1]))

    async def seen(self, store: Store) -> None:
        await store.saw({self._user(): self._now_ms() - self.chance.randrange(_HOUR_MS)})

    async def leave(self, store: Store) -> None:
        """An account ends, rarely."""
        user = USERS[-1]
        if self.chance.random() < 0.3:
            self.ended.add(user)
            await store.delete_account(user)
            await store.timelines.forget_author(user, self.chance.random() < 0.5)
            await store.groups.forget_user(user)

    async def enter(self, store: Store) -> None:
        """Invitations to register."""
        if not self.invitations or self.chance.random() < 0.4:
            now = self._now_ms()
            made_now = RegisterInvitation(self._hex()[:8], self._hex(), now, now + 24 * _HOUR_MS, 3, "für wen")
            await store.codes.add_invitation(made_now)
            self.invitations.append(made_now)
            return
        one = self.chance.choice(self.invitations)
        if self.chance.random() < 0.2:
            await store.codes.withdraw_invitation(one.invitation)
        elif self.chance.random() < 0.7:
            await store.codes.use_invitation(one.digest, self._user())
        else:
            await store.codes.return_use(one.digest, self._user())

    # Files and inboxes.

    async def upload(self, store: Store) -> None:
        if not self.files or self.chance.random() < 0.4:
            now = self._now_ms()
            ends = now + 200 * _HOUR_MS
            file = File(self._hex(), self._user(), "name.bin", "a/b", 30, now, ends, frozenset(["u1"]), "", False, ends)
            await store.create_file(file)
            self.files.append(file)
            return
        file = self.chance.choice(self.files)
        what = self.chance.randrange(6)
        if what < 3:
            offset = await store.file_length(file.file)
            if offset < file.size:
                await store.append_file(file, offset, self.chance.randbytes(10))
        elif what == 3:
            await store.finish_file(file.file, hashlib.sha256(file.file.encode()).hexdigest())
        elif what == 4:
            await self.chance.choice([store.add_reader, store.remove_reader])(file.file, self._user())
        elif self.chance.random() < 0.3:
            await store.remove_file(file.file)

    async def append(self, store: Store) -> None:
        rows = []
        for _ in range(self.chance.randrange(1, 5)):
            author, user = self._two()
            device = self.chance.choice([*DEVICES, COMMON])
            kind = self.chance.choice([1, 1, 2])
            rows.append(NewRow(user, device, kind, self.chance.randbytes(5), author if kind == 1 else ""))
        await store.append(rows)

    async def take(self, store: Store) -> None:
        user, device = self._user(), self._device()
        (page,) = await store.page([PageQuery(user, device, b"", fresh=True, limit=4)])
        if page.rows:
            await store.remove([Removal(user, device, (self.chance.choice(page.rows).key,))])
        if self.chance.random() < 0.1:
            await store.drop_waiting(user, self._user())

    # Conversations.

    def _entry(self, conversation: str, author: str, **more: Any) -> Entry:
        name = Name(author, self._device(), self.chance.choice([3, 2**64 - 9]), self._id())
        kind = self.chance.choice([_TEXT, _TEXT, _TEXT, _FILE, 1007])
        mine = [file.file for file in self.files if file.owner == author]
        file = self.chance.choice(mine) if mine and kind == _FILE else ""
        return Entry(conversation, name, self._stamp(), kind, self.chance.randbytes(9), file=file, **more)

    async def write(self, store: Store) -> None:
        one, other = self._two()
        if self.written and self.chance.random() < 0.2:
            # Again, a moment earlier or later, perhaps for both now.
            before = self.chance.choice(self.written)
            stamp = before.stamp + (self.chance.choice([-40_000, 40_000]) << 20)
            audience = Audience.BOTH if self.widens else before.audience
            await store.timelines.archive([before._replace(stamp=stamp, audience=audience)])
            return
        audience = self.chance.choice([Audience.BOTH, Audience.BOTH, Audience.AUTHOR])
        entry = self._entry(conversation_of(one, other), one, audience=audience)
        await store.timelines.archive([entry])
        self.written.append(entry)

    async def edit(self, store: Store) -> None:
        if not self.written:
            return
        target = self.chance.choice(self.written)
        author = target.name.author
        name = Name(author, self._device(), 5, self._id())
        if self.chance.random() < 0.15:
            target = target._replace(name=target.name._replace(id=self._id() + 5000))  # not there yet
        stamp = max(target.stamp, self._stamp())
        audience = self.chance.choice([Audience.BOTH, Audience.BOTH, Audience.AUTHOR])
        edit = Edit(
            target.conversation,
            target.name,
            name,
            stamp,
            self.chance.randrange(1, 4),
            self.chance.randbytes(7),
            audience,
        )
        batch: list[Entry | Edit] = [edit]
        if target.version:
            about = About(from_device=target.name.device, stream=target.name.stream, ids=[target.name.id])
            batch = [
                target._replace(name=name, stamp=stamp, kind=_EDIT, body=b"", about=about.SerializeToString()),
                edit,
            ]
        await store.timelines.archive(batch)

    async def erase(self, store: Store) -> None:
        if not self.written:
            return
        target = self.chance.choice(self.written)
        name = target.name
        if self.chance.random() < 0.2:
            name = name._replace(id=self._id() + 9000)
        by = self.chance.choice([name.author, "operator"])
        await store.timelines.archive([Erasure(target.conversation, name, self._stamp(), by)])

    async def read(self, store: Store) -> None:
        one, other = self._two()
        what = self.chance.randrange(4)
        if what == 0 and self.groups:
            group = self.chance.choice(list(self.groups))
            await store.timelines.raise_marks([Mark(one, group, self._stamp(), public=True)])
        elif what < 2:
            public = self.chance.random() < 0.5
            await store.timelines.raise_marks([Mark(one, conversation_of(one, other), self._stamp(), public)])
        elif what == 2:
            await store.timelines.hide(one, conversation_of(one, other), self._stamp())
        else:
            until = self._now_ms() + self.chance.choice([-1, _HOUR_MS * 30])
            await store.timelines.mute(one, other, until, 50)

    async def report(self, store: Store) -> None:
        if self.reports and self.chance.random() < 0.3:
            await store.timelines.drop_report(self.chance.choice(self.reports))
            return
        one, other = self._two()
        page = await store.timelines.page(HistoryQuery(conversation_of(one, other), one))
        if page.messages:
            message, told = page.messages[0], "wörds"
            found = Report(self._hex(), one, self._now_ms(), conversation_of(one, other), message, told)
            await store.timelines.report(found)
            self.reports.append(found.report)

    # Groups.

    async def group(self, store: Store) -> None:
        if len(self.groups) < 3 and self.chance.random() < 0.5:
            group, change = made(new_group_id(self.chance.randbytes(15)), self._user(), "freunde", self._now_ms())
            await store.groups.make(group, change)
            self.groups[group.group] = group
            return
        if not self.groups:
            return
        group = self.chance.choice(list(self.groups.values()))
        user, what = self._user(), self.chance.randrange(12)
        if what < 8:
            kind, value = self.chance.choice(
                [
                    *[("added", ""), ("added", ""), ("removed", ""), ("left", ""), ("renamed", f"n {self._id()}")],
                    *[("settings", "newcomers_see=history"), ("role", "admin"), ("picture", self._hex())],
                ]
            )
            who = user if kind in ("added", "removed", "left", "role") else ""
            await self._change(store, group, kind, who, value)
        elif what == 8 and self.chance.random() < 0.2:
            await self._change(store, group, "closed", "", "")
        elif what == 9:
            await store.groups.invite(Invitation(group.group, user, self._user(), self._now_ms()))
        elif what == 10:
            await store.groups.drop_invitation(user, group.group)
        elif self.links and self.chance.random() < 0.6:
            link = self.chance.choice(self.links)
            if self.chance.random() < 0.7:
                await store.groups.use_link(link.group, link.link, self._now_ms())
            else:
                await store.groups.drop_link(link.group, link.link)
        else:
            ends = self._now_ms() + 40 * _HOUR_MS
            link = Link(group.group, self._hex()[:6], self._hex(), ends, 5, user)
            await store.groups.add_link(link)
            self.links.append(link)

    async def _change(self, store: Store, group: Group, kind: str, user: str, value: str) -> None:
        actor = user if kind == "left" else ""
        change = GroupChange(group.version + 1, self._now_ms(), actor, kind, user, value)
        changed = after(group, change)
        if await store.groups.change(changed, change):
            self.groups[group.group] = changed

    async def write_in_group(self, store: Store) -> None:
        open_ones = [group for group in self.groups.values() if group.members and not group.closed]
        if not open_ones:
            return
        group = self.chance.choice(open_ones)
        mine = [one for one in self.written if one.conversation == group.group]
        if mine and self.chance.random() < 0.3:
            # Another attempt: in the version of now, or long after the first one.
            before = self.chance.choice(mine)
            later = before.stamp + (self.chance.choice([1_000, 200_000, -200_000]) << 20) + self._id()
            again = before._replace(stamp=later, version=self.chance.choice([before.version, group.version]))
            await store.timelines.archive([again])
            return
        author = self.chance.choice(list(group.members))
        entry = self._entry(group.group, author, version=group.version, open=group.open, settled=self._ids)
        await store.timelines.archive([entry])
        self.written.append(entry)
        await store.groups.raise_checkpoints({(author, self._device()): self._now_ms() - _HOUR_MS})

    # What a store tells.

    async def told(self, store: Store) -> dict[str, Any]:
        """Everything that anybody may ask of it."""
        told: dict[str, Any] = {"terms": await store.timelines.terms(), "users": {}, "groups": {}, "files": {}}
        for user in USERS:
            told["users"][user] = await self._of_user(store, user)
        for group in self.groups:
            told["groups"][group] = await self._of_group(store, group)
        for file in self.files:
            told["files"][file.file] = await self._of_file(store, file)
        told["reports"] = await store.timelines.reports("", 100)
        told["invitations"] = await store.codes.invitations("", 100)
        told["all groups"] = sorted(await store.groups.all_groups("", 100))
        told["links"] = [await store.groups.find_link(link.digest) for link in self.links]
        told["verdicts"] = await store.verdicts([(one, other) for one in USERS for other in USERS if one != other])
        told["found"] = await store.search("u0", "", 10)
        return told

    async def _of_user(self, store: Store, user: str) -> dict[str, Any]:
        account = await store.account(user)
        devices = await store.list_devices(user)
        queues = [*[one.device for one in devices], COMMON]
        standing = (await store.standing([user]))[user]
        since_ms = self._now_ms() - 24 * _HOUR_MS
        told: dict[str, Any] = {
            "account": account and (dataclasses.replace(account, epoch=0), bool(account.epoch)),
            "profile": await store.profiles([user]),
            "devices": [(one, one.logged_in, await store.login(user, one.device)) for one in devices],
            "standing": standing,
            "contacts": await store.contacts(user, "", 100),
            "seen": await store.last_seen([user]),
            "inbox": {one: [(row.kind, row.body) for row in await read_all(store, user, one)] for one in queues},
            "waiting": account and await store.waiting([user]),
            # Nobody asks for the lists of an account that has ended.
            "lists": [
                await store.timelines.conversations(user, "", 100, hidden) for hidden in (False, True) if account
            ],
            "listed": [
                await store.timelines.listed(user, conversation_of(user, one))
                for one in USERS
                if account and one != user
            ],
            "mutes": await store.timelines.mutes(user),
            "groups": await store.groups.of_user(user),
            "group invitations": await store.groups.invitations(user),
            "reset": await store.codes.reset_code(user),
            "invitation": await store.codes.invitation_of(user),
            "subjects": account and sorted(await store.subjects.of(user)),
            "uploads": await store.uploads_of(user, since_ms),
            "files": await store.files_of(user),
        }
        conversations = [*[conversation_of(user, one) for one in USERS if one != user], *self.groups]
        told["pages"] = {one: await self._pages(store, user, one) for one in conversations if account}
        told["unread"] = await store.timelines.unread(user, conversations if account else [])
        told["scans"] = {one.device: await self._scan(store, user, one.device) for one in devices}
        return told

    async def _pages(self, store: Store, user: str, conversation: str) -> list[Any]:
        found: list[Any] = []
        before = b""
        while True:
            page = await store.timelines.page(HistoryQuery(conversation, user, before, MAX_PAGE))
            found += page.messages
            if not page.next:
                # Those of one stamp have no order that both engines know.
                return sorted(found, key=lambda one: (-one.stamp, one.name))
            before = page.next

    async def _scan(self, store: Store, user: str, device: str) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        query = GroupQuery(user, device, since=1, began_ms=self._now_ms(), limit=MAX_PAGE)
        while True:
            (page,) = await store.groups.scan([query])
            for row in page.rows:
                found.setdefault(row.group, []).append(row)
            if page.end:
                key = lambda row: (row.message.stamp, row.message.name)  # noqa: E731
                return {group: sorted(rows, key=key) for group, rows in found.items()}
            query = dataclasses.replace(query, after=page.next)

    async def _of_group(self, store: Store, group: str) -> dict[str, Any]:
        found = (await store.groups.groups([group]))[group]
        return {
            "group": found and (dataclasses.replace(found, members={}), sorted(found.members.values())),
            "changes": await store.groups.changes(group, 0, 1000),
            "links": sorted(await store.groups.links(group)),
            "marks": await store.groups.marks(group),
            # Of a closed one nobody asks.
            "was": [await store.groups.was_member(group, user) for user in USERS if found and not found.closed],
        }

    async def _of_file(self, store: Store, file: File) -> dict[str, Any]:
        length = await store.file_length(file.file)
        content, found = b"", await store.file(file.file)
        while found is not None and (piece := await store.read_file(file.file, len(content))):
            content += piece
        # Nobody asks for a file that is not there, nor for the owner, who may read it anyway.
        others = [user for user in USERS if found is not None and user != file.owner]
        readers = [await store.timelines.may_read_file(file.file, user) for user in others]
        return {"file": found, "length": length if found else 0, "content": content, "readers": readers}
