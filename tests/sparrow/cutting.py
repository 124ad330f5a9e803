"""A TCP proxy that cuts connections in the middle.

Owns its sockets. Runs in the test's own event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket


class CuttingProxy:
    """Passes everything on to a port of this machine; a context manager.

    After `up` bytes from the client of one connection, or `down` bytes to it, that is cut, `cuts` times in all.
    """

    def __init__(self, port: int, *, up: int = 1 << 40, down: int = 1 << 40, cuts: int = 1) -> None:
        self._port = port
        self._limits = (up, down)
        self.cuts = cuts
        """How many are still to come."""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._links: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> CuttingProxy:
        self._server = await asyncio.start_server(self._accept, sock=self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        link.add_done_callback(self._links.discard)
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        ways = [
            asyncio.create_task(self._pass(reader, back, self._limits[0])),
            asyncio.create_task(self._pass(there, writer, self._limits[1])),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            return  # asyncio's streams take this for a failure
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, back):
                end.close()
                with contextlib.suppress(OSError, asyncio.CancelledError):
                    await end.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(16_384):
                passed += len(data)
                if passed > limit and self.cuts:
                    self.cuts -= 1
                    return
                writer.write(data)
                await writer.drain()
