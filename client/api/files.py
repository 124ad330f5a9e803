"""Files: uploads that go on after a broken connection (tus 1.0), and downloads that do (ranges).

Owns the transfers. No file is ever whole in memory; the disk is `local`'s, and touched in threads.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import mimetypes
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeAlias, TypeVar

from client.api.local import Part, Source, safe_name, target_of
from client.api.signed import SignedApi, conversation_in_path
from client.connection import Timing
from protocol.errors import ChecksumError, MisuseError, NotFoundError, SparrowError, UnavailableError
from protocol.files import FileReference
from protocol.ids import check_dest_id

P = ParamSpec("P")
R = TypeVar("R")

Told: TypeAlias = Callable[[int, int], object]
"""Called in the event loop with the bytes that are done and those of the whole file; it must not block."""

TRIES = 10
"""So many in a row that bring nothing further, and a transfer is given up."""
GIVE_UP_S = 2.0
"""How long removing what was uploaded in vain may take."""
ANY_TYPE = "application/octet-stream"
_TUS = {"Tus-Resumable": "1.0.0"}
_LOCATION = re.compile(r"/v1/files/([0-9a-f]{32})$")
_START = re.compile(r"bytes (\d{1,16})-\d+/\d+")


@dataclass(frozen=True, slots=True)
class File:
    """A file at the user API."""

    file: str
    """The file's id."""
    owner: str
    """Who has uploaded it."""
    name: str
    """What its owner calls it: clean it before it is shown."""
    media_type: str
    """What its owner says that it is, such as `image/jpeg`."""
    size: int
    """How long it is, in bytes."""
    complete: bool
    """All of it is there."""
    sha256: str
    """The SHA-256 of its bytes, hexadecimal; until it is complete, what its owner says that it will be."""
    expires_ms: int
    """When it is gone, in milliseconds of Unix time."""

    @property
    def reference(self) -> FileReference:
        """What a `FILE` message tells of it.

        Raises:
            FileReferenceError: A field is none that such a message may have.
        """
        return FileReference(self.file, self.name, self.media_type, self.size, self.sha256)


class Files:
    """Files, as one user sees them.

    Beside its own errors, each method raises those of every call: `ClosedError`, `SessionEndedError`,
    `UnavailableError` and `PeerError` (`docs/library/userapi.md`, "Errors of every call").
    """

    def __init__(self, api: SignedApi, timing: Timing) -> None:
        self._api = api
        self._timing = timing

    async def upload(
        self,
        path: str | os.PathLike[str],
        *,
        readers: Iterable[str] = (),
        name: str | None = None,
        media_type: str | None = None,
        progress: Told | None = None,
    ) -> File:
        """Upload a file. It goes on by itself after a broken connection.

        Args:
            path: The file. It is never whole in memory.
            readers: Users and groups that may download it beside us; 100 at most, unless the service is set otherwise.
            name: What readers are to call it, up to 255 characters on one line; without one, the path's last part.
            media_type: Such as `image/jpeg`; without one, what the path's ending suggests.
            progress: Called in the event loop with the bytes that are done and those of the whole file; it must not
                block.

        Raises:
            LocalFileError: The file cannot be read.
            FileTooLargeError: It is larger than the user API takes.
            ChecksumError: It was changed meanwhile.
            InvalidIdError: One of `readers` is no id.
            MisuseError: There are too many readers, or no such name or media type is taken.
        """
        source = Source(Path(path))
        try:
            await _in_thread(source.open)
            told = {
                "filename": safe_name(source.path.name) if name is None else name,
                "filetype": media_type or mimetypes.guess_type(source.path.name)[0] or ANY_TYPE,
                "sha256": source.sha256,
                "readers": ",".join(map(check_dest_id, readers)),
            }
            return await self._upload(source, told, _nobody if progress is None else progress)
        finally:
            source.close()

    async def _upload(self, source: Source, told: dict[str, str], progress: Told) -> File:
        headers = _TUS | {"Upload-Length": str(source.size), "Upload-Metadata": _metadata(told)}
        begun = await self._api.send("POST", "/v1/files", headers=headers)
        location = _LOCATION.search(begun.headers.get("Location", ""))
        if location is None:
            raise self._api.strange()
        try:
            return await self._insist(_path(location[1]), source, progress)
        except BaseException:
            # What has arrived is of no use to anybody.
            giving_up = asyncio.create_task(self._give_up(_path(location[1])))
            await asyncio.wait([giving_up], timeout=GIVE_UP_S)
            giving_up.cancel()
            raise

    async def _give_up(self, path: str) -> None:
        with contextlib.suppress(SparrowError):
            await self._api.send("DELETE", path, headers=_TUS, accept=(404,))

    async def _insist(self, path: str, source: Source, progress: Told) -> File:
        """Send what is missing, until all is there."""
        offset, broken, patience = 0, False, _Patience(self._timing)
        while True:
            last = offset
            try:
                if broken:
                    offset = await self._offset(path)
                if offset < source.size:
                    await self._send_from(path, source, offset, progress)
                file = await self._api.one(File, "GET", path)
                if file.complete:
                    return file
                raise UnavailableError("the upload is not complete yet")
            except UnavailableError as error:
                broken = True
                await patience.wait(error, offset > last)

    async def _offset(self, path: str) -> int:
        """How far an upload has come."""
        answer = await self._api.send("HEAD", path, headers=_TUS, accept=(404,))
        if answer.status_code == 404:
            raise NotFoundError("the upload is no more: begin it anew")
        offset: str = answer.headers.get("Upload-Offset", "")
        if not offset.isascii() or not offset.isdecimal() or len(offset) > 16:
            raise self._api.strange()
        return int(offset)

    async def _send_from(self, path: str, source: Source, offset: int, progress: Told) -> None:
        headers = _TUS | {
            "Upload-Offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(source.size - offset),
        }
        await self._api.send("PATCH", path, headers=headers, content=lambda: _bytes_from(source, offset, progress))

    async def download(
        self, reference: FileReference, to: str | os.PathLike[str], *, progress: Told | None = None
    ) -> Path:
        """Download the file that a `FILE` message is about, and return where it is.

        Nothing that is there already is overwritten: it becomes "name (2).ext". The download goes on by itself after a
        broken connection, and where an earlier try has stopped: until it is whole, it is in a file that ends with
        `.part`.

        Args:
            reference: What the message says: `Message.file`.
            to: A folder, which gets it under a name that is made safe, or the file's own path.
            progress: Called in the event loop with the bytes that are done and those of the whole file; it must not
                block.

        Raises:
            NotFoundError: It is no more, or we may not read it.
            ChecksumError: It is not what its sender has described; it is not kept.
            LocalFileError: It cannot be written.
            MisuseError: It is being downloaded to the same place.
        """
        target = await _in_thread(target_of, Path(to), reference.name)
        part = Part(target, reference.file, reference.size)
        try:
            await _in_thread(part.open)
            await self._fill(part, reference, _nobody if progress is None else progress)
            return await _in_thread(part.finish, reference.sha256)
        except (ChecksumError, NotFoundError):
            part.discard()
            raise
        finally:
            part.close()

    async def _fill(self, part: Part, reference: FileReference, progress: Told) -> None:
        patience = _Patience(self._timing)
        progress(part.length, part.size)
        while part.length < part.size:
            before = part.length
            try:
                await self._fetch(part, reference, progress)
                return
            except UnavailableError as error:
                await patience.wait(error, part.length > before)

    async def _fetch(self, part: Part, reference: FileReference, progress: Told) -> None:
        headers = {"Accept-Encoding": "identity"}
        if part.length:
            headers |= {"Range": f"bytes={part.length}-", "If-Range": f'"{reference.sha256}"'}
        path = f"{_path(reference.file)}/content"
        async with self._api.stream(path, headers, accept=(416,)) as response:
            if response.status_code == 416:
                raise ChecksumError("the file is shorter than was announced: it is not kept")
            if part.length and _start(response.headers.get("Content-Range", "")) != part.length:
                await _in_thread(part.restart)
            async for data in response.aiter_raw():
                await _in_thread(part.add, data)
                progress(part.length, part.size)

    async def info(self, file: str) -> File:
        """Return what a file is.

        Args:
            file: Its id.

        Raises:
            NotFoundError: It is no more, or we may not read it.
        """
        return await self._api.one(File, "GET", _path(file))

    async def allow(self, file: str, user: str) -> None:
        """Let a user, or a group, read a file of ours.

        Args:
            file: Its id.
            user: Who may read it from now on. Of a group it is who may see our message of it there.

        Raises:
            InvalidIdError: `user` is no id.
            NotFoundError: We have no such file.
            MisuseError: It may have no more readers.
        """
        await self._api.send("PUT", f"{_path(file)}/readers/{conversation_in_path(user)}")

    async def remove(self, file: str) -> None:
        """Remove a file of ours.

        Args:
            file: Its id.

        Raises:
            NotFoundError: We have no such file.
        """
        await self._api.send("DELETE", _path(file))


class _Patience:
    """Waits between tries that bring nothing further, longer each time."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._failures = 0

    async def wait(self, error: UnavailableError, came_further: bool) -> None:
        """After a failed try. Raises its `error` if there were too many."""
        self._failures = 0 if came_further else self._failures + 1
        if self._failures >= TRIES:
            raise error
        await asyncio.sleep(self._timing.retry_s(self._failures))


async def _bytes_from(source: Source, offset: int, progress: Told) -> AsyncIterator[bytes]:
    progress(offset, source.size)
    while offset < source.size:
        piece = await _in_thread(source.read, offset)
        yield piece
        offset += len(piece)
        progress(offset, source.size)


async def _in_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Like `asyncio.to_thread`, but not left before the thread is: what it works on is closed next."""
    working = asyncio.create_task(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(working)
    finally:
        await asyncio.wait([working])


def _start(content_range: str) -> int:
    """Where the bytes of an answer begin; 0 if it has no range."""
    found = _START.match(content_range)
    return int(found[1]) if found else 0


def _metadata(values: dict[str, str]) -> str:
    """tus's Upload-Metadata. Raises `MisuseError` for what is no text."""
    try:
        pairs = [(key, base64.b64encode(value.encode()).decode()) for key, value in values.items() if value]
    except UnicodeEncodeError:
        raise MisuseError("the file's name is no text: give another") from None
    return ",".join(f"{key} {value}" for key, value in pairs)


def _path(file: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", file):
        raise NotFoundError("there is no such file")
    return f"/v1/files/{file}"


def _nobody(done: int, total: int) -> None:
    return None
