"""Small steps that tests of groups share."""

from __future__ import annotations

from dataclasses import replace

from protocol.ids import new_group_id
from protocol.sparrow_pb2 import About
from store import Store
from store.groups import Group, GroupChange, GroupPage, GroupQuery, GroupRow
from store.membership import after, made
from store.timelines import Edit, Entry, HistoryQuery, KeptMessage, Name
from tests.store.timeline_helpers import NOW_MS, STREAM, stamp

G = new_group_id(bytes(15))
H = new_group_id(bytes([16] * 15))
TEXT, FILE, EDIT, ERASE = 1, 2, 4, 5


class Circle:
    """A group as the tests change it, version by version."""

    def __init__(self, store: Store, group: Group) -> None:
        self.store = store
        self.now = group

    @property
    def id(self) -> str:
        return self.now.group

    @property
    def version(self) -> int:
        return self.now.version

    async def change(self, kind: str, user: str = "", value: str = "", actor: str = "", ms: int = 0) -> GroupChange:
        """The next version, which must be taken."""
        change = GroupChange(self.now.version + 1, ms or NOW_MS, actor, kind, user, value)
        group = after(self.now, change)
        assert await self.store.groups.change(group, change)
        self.now = group
        return change

    async def add(self, *users: str) -> None:
        for user in users:
            await self.change("added", user)

    async def remove(self, user: str, ms: int = 0) -> None:
        await self.change("removed", user, ms=ms)

    async def see(self, what: str) -> None:
        """newcomers_see: nothing or history."""
        await self.change("settings", value=f"newcomers_see={what}")

    def text(self, number: int, body: bytes | None = None, **changes: object) -> Entry:
        """A text of alice's in the group as it is, unless told otherwise."""
        author = str(changes.pop("author", "alice"))
        values: dict[str, object] = {
            "conversation": self.id,
            "name": gname(number, author),
            "stamp": stamp(number),
            "kind": TEXT,
            "body": b"%d" % number if body is None else body,
            "version": self.version,
            "open": self.now.open,
            "settled": number,
            **changes,
        }
        return Entry(**values)  # type: ignore[arg-type]


async def circle(store: Store, *members: str, group: str = G, owner: str = "alice", ms: int = NOW_MS) -> Circle:
    """A new group with these members."""
    first, change = made(group, owner, "friends", ms)
    await store.groups.make(first, change)
    there = Circle(store, first)
    await there.add(*members)
    return there


def gname(number: int, author: str = "alice", device: str = "phone", stream: int = STREAM) -> Name:
    return Name(author, device, stream, number)


def about(target: Name) -> bytes:
    return About(from_device=target.device, stream=target.stream, ids=[target.id]).SerializeToString()


def edit_row(group: Circle, number: int, target: Name, **changes: object) -> Entry:
    """The row of an EDIT, whose text stands with its target."""
    return group.text(number, b"", kind=EDIT, about=about(target), **changes)


def edit_of(row: Entry, target: Name, revision: int, body: bytes) -> Edit:
    """What goes with such a row."""
    return Edit(row.conversation, target, row.name, row.stamp, revision, body)


async def scan(store: Store, user: str, device: str = "d", limit: int = 50, **query: object) -> list[GroupRow]:
    """A whole scan, from the first stamp on unless told otherwise."""
    rows: list[GroupRow] = []
    for page in await pages(store, user, device, limit, **query):
        rows += page.rows
    return rows


async def pages(store: Store, user: str, device: str = "d", limit: int = 50, **query: object) -> list[GroupPage]:
    asked = GroupQuery(user, device, limit=limit, **{"since": 1, "began_ms": NOW_MS, **query})  # type: ignore[arg-type]
    found = []
    while True:
        (page,) = await store.groups.scan([asked])
        assert len(page.rows) <= limit
        assert len(page.next) <= 128
        found.append(page)
        if page.end:
            return found
        assert page.next != asked.after
        asked = replace(asked, after=page.next)


async def scanned(store: Store, user: str, device: str = "d", **query: object) -> list[int]:
    """Ids of a whole scan."""
    return [row.message.name.id for row in await scan(store, user, device, **query)]  # type: ignore[arg-type]


async def paged(store: Store, reader: str, group: str = G, limit: int = 50, own: bool = False) -> list[KeptMessage]:
    """All pages of a group, newest first."""
    messages: list[KeptMessage] = []
    before = b""
    while True:
        page = await store.timelines.page(HistoryQuery(group, reader, before, limit, own))
        assert len(page.messages) <= limit
        assert len(page.next) <= 64
        messages += page.messages
        if not page.next:
            assert [one.stamp for one in messages] == sorted([one.stamp for one in messages], reverse=True)
            return messages
        assert page.next != before
        before = page.next


async def ids(store: Store, reader: str, **query: object) -> list[int]:
    return [one.name.id for one in await paged(store, reader, **query)]  # type: ignore[arg-type]
