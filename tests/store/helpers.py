"""Small steps that store tests share."""

from store import Store
from store.interface import NewRow, PageQuery, Removal, Row


def row(user: str, device: str, body: bytes, kind: int = 1) -> NewRow:
    return NewRow(user, device, kind, body)


async def read_all(store: Store, user: str, device: str, limit: int = 100) -> list[Row]:
    """One whole scan from the beginning."""
    rows: list[Row] = []
    after, fresh = b"", True
    while True:
        (page,) = await store.page([PageQuery(user, device, after, fresh, limit)])
        rows += page.rows
        if page.end:
            return rows
        after, fresh = page.next, False


async def bodies(store: Store, user: str, device: str, limit: int = 100) -> list[bytes]:
    return [found.body for found in await read_all(store, user, device, limit)]


async def remove(store: Store, user: str, device: str, *rows: Row) -> None:
    await store.remove([Removal(user, device, tuple(found.key for found in rows))])


async def make_user(store: Store, user: str, *devices: str) -> None:
    await store.create_account(user, f"hash of {user}")
    for device in devices:
        await store.add_device(user, device, f"{user}'s {device}")
