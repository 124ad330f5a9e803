"""A group: made, somebody asked to be in it, written to and read: the second program of README.md."""

import asyncio

from sparrow.client import Client


async def main() -> None:
    async with Client("alice", password="correct horse", state="alice.db") as alice:
        group = await alice.groups.make("Hiking")
        await alice.groups.add(group.group, "bob")  # who is asked, unless friends may add him
        await (await alice.send(group.group, "where to?")).sent  # every member has it, or finds it
        async for message in alice:
            print(message.group, message.sender, message.text)


asyncio.run(main())
