"""A friend request, who is online, a file there and files back: the third program of README.md."""

import asyncio

from sparrow.client import FILE, Client, Hint


def happened(event: object) -> None:
    if isinstance(event, Hint):
        print(event.kind.name, event.user)  # somebody asks to be a friend, for example


async def main() -> None:
    async with Client("alice", password="correct horse", state="alice.db", on_event=happened) as alice:
        await alice.contacts.ask("bob")
        for friend in await alice.contacts.friends():
            print(friend.user, friend.online, friend.last_seen_ms)
        await alice.send_file("bob", "holiday.jpg", progress=lambda done, total: print(done, "of", total))
        async for message in alice:
            if message.kind == FILE:
                print("saved as", await alice.files.download(message.file, "."))


asyncio.run(main())
