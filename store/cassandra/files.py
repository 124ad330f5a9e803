"""Files: what they are, and their content in pieces.

Owns their statements. The place of a piece is given once, by a conditional insert, after its data is there; so a piece
that is seen is whole, and two uploads of one file at once cannot mix.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from protocol.errors import NotFoundError
from store.cassandra.connecting import Connection
from store.cassandra.requests import Requests
from store.interface import File, Uploads

_CREATE = (
    "INSERT INTO files (file, owner, name, media_type, size, created_ms, expires_ms, readers, sha256, "
    "upload_expires_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TTL ?"
)
_FILE_COLUMNS = (
    "file, owner, name, media_type, size, created_ms, expires_ms, readers, sha256, complete, upload_expires_ms"
)
_FILE = f"SELECT {_FILE_COLUMNS} FROM files WHERE file = ?"
# An index by owner would cost every upload a write; this is asked for once in a long while.
_FIRST, _REST = (
    f"SELECT {_FILE_COLUMNS} FROM files LIMIT ?",
    f"SELECT {_FILE_COLUMNS} FROM files WHERE token(file) > token(?) LIMIT ?",
)
_LIST = (
    "INSERT INTO uploads (owner, file, created_ms, size, upload_expires_ms, complete) VALUES (?, ?, ?, ?, ?, false) "
    "USING TTL ?"
)
_LISTED = "SELECT created_ms, size, upload_expires_ms, complete FROM uploads WHERE owner = ?"
_LIST_FINISHED = "UPDATE uploads USING TTL ? SET complete = true WHERE owner = ? AND file = ?"
_UNLIST = "DELETE FROM uploads WHERE owner = ? AND file = ?"
_LAST = "SELECT position, length, piece FROM pieces WHERE file = ? AND position <= ? LIMIT 1"
_DATA = "SELECT data FROM piece_data WHERE piece = ?"
_PUT_DATA = "INSERT INTO piece_data (piece, data) VALUES (?, ?) USING TTL ?"
_PUT_PIECE = "INSERT INTO pieces (file, position, length, piece) VALUES (?, ?, ?, ?) IF NOT EXISTS USING TTL ?"
_FINISH = "UPDATE files USING TTL ? SET sha256 = ?, complete = true WHERE file = ?"
_EXTEND = "UPDATE files USING TTL ? SET expires_ms = ? WHERE file = ?"
_ADD_READER = "UPDATE files USING TTL ? SET readers = readers + ? WHERE file = ?"
_REMOVE_READER = "UPDATE files USING TTL ? SET readers = readers - ? WHERE file = ?"
_PIECES = "SELECT piece FROM pieces WHERE file = ?"
_REMOVE = ("DELETE FROM files WHERE file = ?", "DELETE FROM pieces WHERE file = ?")
_REMOVE_DATA = "DELETE FROM piece_data WHERE piece = ?"

_ANYWHERE = 2**62
_READ_AT_ONCE = 500


class Files:
    """The operations on the tables `files`, `pieces` and `piece_data`."""

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        clock: Callable[[], float],
        keep_days: Callable[[], Awaitable[int]],
    ) -> None:
        self._requests = requests
        self._clock = clock
        self._keep_days = keep_days
        self._extend = connection.prepare(_EXTEND)
        self._create = connection.prepare(_CREATE)
        self._file = connection.prepare(_FILE)
        self._first = connection.prepare(_FIRST)
        self._rest = connection.prepare(_REST)
        self._list = connection.prepare(_LIST)
        self._listed = connection.prepare(_LISTED)
        self._list_finished = connection.prepare(_LIST_FINISHED)
        self._unlist = connection.prepare(_UNLIST)
        self._last = connection.prepare(_LAST)
        self._data = connection.prepare(_DATA)
        self._put_data = connection.prepare(_PUT_DATA)
        self._put_piece = connection.prepare(_PUT_PIECE)
        self._finish = connection.prepare(_FINISH)
        self._add_reader = connection.prepare(_ADD_READER)
        self._remove_reader = connection.prepare(_REMOVE_READER)
        self._pieces = connection.prepare(_PIECES)
        self._remove = [connection.prepare(statement) for statement in _REMOVE]
        self._remove_data = connection.prepare(_REMOVE_DATA)

    async def _ttl_s(self, file: File) -> int:
        """Long enough for a message that may yet name it: a cell's time cannot be made longer without its data. What
        is shown ends with `expires_ms`."""
        return await self._keep_days() * 86_400 + max(1, file.expires_ms // 1000 - int(self._clock()))

    async def extend(self, file: File, expires_ms: int) -> None:
        """It lives until then, unless it does so anyway."""
        if expires_ms > file.expires_ms:
            await self._requests.run([self._extend.bind((await self._ttl_s(file), expires_ms, file.file))])

    async def create(self, file: File) -> None:
        """Begin a file."""
        values = (
            file.file,
            file.owner,
            file.name,
            file.media_type,
            file.size,
            file.created_ms,
            file.expires_ms,
            set(file.readers),
            file.sha256,
            file.upload_expires_ms,
            await self._ttl_s(file),
        )
        # The list first: what is not on it would count for nothing.
        listed = (file.owner, file.file, file.created_ms, file.size, file.upload_expires_ms, await self._ttl_s(file))
        await self._requests.run([self._list.bind(listed)])
        await self._requests.run([self._create.bind(values)])

    async def one(self, file: str) -> File | None:
        """The file, unless it has expired."""
        (rows,) = await self._requests.run([self._file.bind((file or " ",))])
        return self._there(rows[0]) if rows else None

    async def of_owner(self, owner: str) -> list[File]:
        """All of one owner that have not expired, by id."""
        found: list[File] = []
        (rows,) = await self._requests.run([self._first.bind((_READ_AT_ONCE,))])
        while rows:
            found += [file for row in rows if row[1] == owner and (file := self._there(row)) is not None]
            (rows,) = await self._requests.run([self._rest.bind((rows[-1][0], _READ_AT_ONCE))])
        return sorted(found, key=lambda file: file.file)

    async def uploads_of(self, owner: str, since_ms: int) -> Uploads:
        """What an owner has begun."""
        now_ms = self._clock() * 1000
        (rows,) = await self._requests.run([self._listed.bind((owner,))])
        # A mark that was written behind a removal leaves a row without a size.
        there = [row for row in rows if row[1] is not None and (row[3] or not row[2] or row[2] > now_ms)]
        begun = [row[1] for row in there if not row[3]]
        return Uploads(sum([row[1] for row in there if row[0] >= since_ms]), len(begun), sum(begun))

    def _there(self, row: Any) -> File | None:
        """A row as a file, unless it has expired."""
        name, owner, title, media_type, size, created_ms, expires_ms, readers, sha256, complete, upload_ms = row
        # A checksum or a reader that was written behind a removal leaves a row without an owner.
        if owner is None:
            return None
        told = (frozenset(readers or ()), sha256 or "", bool(complete), upload_ms or 0)
        file = File(name, owner, title, media_type, size, created_ms, expires_ms, *told)
        return file if file.gone_ms > self._clock() * 1000 else None

    async def _piece(self, file: str, offset: int) -> tuple[int, int, str] | None:
        """(position, length, piece) of the last one that begins at `offset` or before."""
        (rows,) = await self._requests.run([self._last.bind((file or " ", offset))])
        return tuple(rows[0]) if rows else None

    async def length(self, file: str) -> int:
        """Where the last piece ends."""
        piece = await self._piece(file, _ANYWHERE)
        return 0 if piece is None else piece[0] + piece[1]

    async def append(self, file: File, offset: int, data: bytes) -> bool:
        """Keep a piece, if none stands there."""
        piece, ttl_s = secrets.token_hex(16), await self._ttl_s(file)
        await self._requests.run([self._put_data.bind((piece, data, ttl_s))])
        answer = await self._requests.conditional(self._put_piece.bind((file.file, offset, len(data), piece, ttl_s)))
        if not answer["[applied]"] and answer["piece"] != piece:
            await self._requests.run([self._remove_data.bind((piece,))])
            return False
        return True

    async def read(self, file: str, offset: int) -> bytes:
        """The rest of the piece that holds this offset."""
        piece = await self._piece(file, offset)
        if piece is None or offset >= piece[0] + piece[1]:
            return b""
        (rows,) = await self._requests.run([self._data.bind((piece[2],))])
        return rows[0][0][offset - piece[0] :] if rows else b""

    async def finish(self, file: str, sha256: str) -> None:
        """It is complete."""
        found = await self.one(file)
        if found is not None:
            ttl_s = await self._ttl_s(found)
            await self._requests.run([self._finish.bind((ttl_s, sha256, file))])
            await self._requests.run([self._list_finished.bind((ttl_s, found.owner, file))])

    async def add_reader(self, file: str, user: str) -> None:
        """One more. Raises `NotFoundError`."""
        await self._change_readers(self._add_reader, file, user)

    async def remove_reader(self, file: str, user: str) -> None:
        """One less. Raises `NotFoundError`."""
        await self._change_readers(self._remove_reader, file, user)

    async def _change_readers(self, statement: Any, file: str, user: str) -> None:
        found = await self.one(file)
        if found is None:
            raise NotFoundError(f'there is no file "{file}" (any more)')
        await self._requests.run([statement.bind((await self._ttl_s(found), {user}, file))])

    async def remove(self, file: str) -> None:
        """Forget the file and its pieces."""
        found = await self.one(file)
        (rows,) = await self._requests.run([self._pieces.bind((file or " ",))])
        await self._requests.run([self._remove_data.bind((row[0],)) for row in rows])
        await self._requests.run([statement.bind((file or " ",)) for statement in self._remove])
        # Last: until it has gone, it counts. What has expired is listed no longer either.
        if found is not None:
            await self._requests.run([self._unlist.bind((found.owner, file))])
