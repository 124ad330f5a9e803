"""Small steps that tests of timelines share."""

import time

from store import Store
from store.timelines import (
    Archived,
    Audience,
    Edit,
    Entry,
    Erasure,
    HistoryQuery,
    KeptMessage,
    Name,
    Result,
    conversation_of,
)

AB = conversation_of("alice", "bob")
NOW_MS = int(time.time() * 1000)
STREAM = 2**64 - 7
KEPT = Archived(Result.KEPT)
SECOND = 1000 << 20
HOUR = 3600 * SECOND


def stamp(number: int = 0) -> int:
    """About a minute ago, and some milliseconds."""
    return NOW_MS - 60_000 + number << 20


def name(number: int, author: str = "alice", device: str = "phone", stream: int = STREAM) -> Name:
    return Name(author, device, stream, number)


def entry(number: int, body: bytes | None = None, **changes: object) -> Entry:
    """A text of alice's to bob, unless told otherwise."""
    author = str(changes.pop("author", "alice"))
    values: dict[str, object] = {
        "conversation": AB,
        "name": name(number, author),
        "stamp": stamp(number),
        "kind": 1,
        "body": b"%d" % number if body is None else body,
        **changes,
    }
    return Entry(**values)  # type: ignore[arg-type]


def edit(number: int, revision: int, body: bytes, **changes: object) -> Edit:
    """Of the text that `entry(number)` makes."""
    values: dict[str, object] = {
        "conversation": AB,
        "target": name(number),
        "name": name(100_000 + 100 * number + revision),
        "stamp": stamp(number) + SECOND,
        "revision": revision,
        "body": body,
        **changes,
    }
    return Edit(**values)  # type: ignore[arg-type]


def erasure(number: int, **changes: object) -> Erasure:
    """Of the message that `entry(number)` makes, by its author."""
    values: dict[str, object] = {
        "conversation": AB,
        "target": name(number),
        "stamp": stamp(number) + SECOND,
        "by": "alice",
        **changes,
    }
    return Erasure(**values)  # type: ignore[arg-type]


async def keep(store: Store, *batch: Entry | Edit | Erasure) -> None:
    """All of them, which must be kept."""
    for answer in await store.timelines.archive(batch):
        assert answer.result is Result.KEPT


async def results(store: Store, *batch: Entry | Edit | Erasure) -> list[Result]:
    return [answer.result for answer in await store.timelines.archive(batch)]


async def read(
    store: Store, reader: str = "bob", conversation: str = AB, limit: int = 50, own: bool = False
) -> list[KeptMessage]:
    """The whole conversation, newest first."""
    messages: list[KeptMessage] = []
    before = b""
    while True:
        page = await store.timelines.page(HistoryQuery(conversation, reader, before, limit, own))
        assert len(page.messages) <= limit
        assert len(page.next) <= 64
        assert [one.stamp for one in page.messages] == sorted([one.stamp for one in page.messages], reverse=True)
        messages += page.messages
        if not page.next:
            return messages
        before = page.next


async def bodies_of(store: Store, reader: str = "bob", **query: object) -> list[bytes]:
    return [one.body for one in await read(store, reader, **query)]  # type: ignore[arg-type]


async def body_of(store: Store, number: int, reader: str = "bob") -> bytes | None:
    found = await store.timelines.message(AB, name(number), reader)
    return None if found is None else found.body


AUTHOR = Audience.AUTHOR
