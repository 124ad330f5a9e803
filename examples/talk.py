"""Says hello, and prints what comes: the first program of README.md."""

import asyncio

from sparrow.client import Client


async def main() -> None:
    async with Client("alice", password="correct horse", register=True, state="alice.db") as alice:
        sending = await alice.send("bob", "hello")
        await sending.sent  # it is safe
        await sending.delivered  # a device of Bob's has it
        async for message in alice:
            print(message.sender, message.text)
            await message.mark_read()


asyncio.run(main())
