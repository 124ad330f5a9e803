"""Files from disk to disk over a real node: whole, cut in the middle, and not what they seem."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client import (
    FILE,
    ApiError,
    ChecksumError,
    FileReference,
    FileReferenceError,
    FileTooLargeError,
    InvalidIdError,
    LocalFileError,
    MisuseError,
    NotFoundError,
    UnreachableError,
)
from tests.ports import free_port
from tests.sparrow.cutting import CuttingProxy
from tests.sparrow.people import People
from tests.sparrow.serving import Node

BIG = 3_000_000


@pytest.fixture
def people(node: Node, request: pytest.FixtureRequest) -> People:
    return People(node, request.node.name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file to send."""
    made = tmp_path / "holiday.jpg"
    made.write_bytes(os.urandom(BIG))
    return made


class Told(list[tuple[int, int]]):
    """What a progress callback was told."""

    def __call__(self, done: int, total: int) -> None:
        self.append((done, total))


async def test_a_file_for_a_friend(people: People, path: Path, tmp_path: Path) -> None:
    a, b = people.name("alice"), people.name("bob")
    up, down = Told(), Told()
    async with people.client(a) as alice, people.client(b) as bob:
        sending = await alice.send_file(b, path, progress=up)
        async with asyncio.timeout(20):
            await sending.sent
            message = await anext(aiter(bob))
        assert message.kind == FILE
        reference = message.file
        assert (reference.name, reference.media_type, reference.size) == ("holiday.jpg", "image/jpeg", BIG)
        assert reference.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        made = await bob.files.download(reference, tmp_path, progress=down)
        assert made == tmp_path / "holiday (2).jpg"
        assert made.read_bytes() == path.read_bytes()
        for told in (up, down):
            assert told == sorted(told)
            assert told[0] == (0, BIG)
            assert told[-1] == (BIG, BIG)
        again = await bob.files.download(reference, tmp_path / "mine")
        assert again == tmp_path / "mine"
        assert sorted(each.name for each in tmp_path.iterdir()) == ["holiday (2).jpg", "holiday.jpg", "mine"]
        info = await bob.files.info(reference.file)
        assert (info.owner, info.complete, info.reference) == (a, True, reference)


async def test_who_may_read(people: People, path: Path, tmp_path: Path) -> None:
    a, b = people.name("alice"), people.name("bob")
    async with people.client(a) as alice, people.client(b) as bob:
        file = await alice.files.upload(path, name="other name", media_type="text/x-odd")
        assert (file.name, file.media_type, file.owner) == ("other name", "text/x-odd", a)
        with pytest.raises(NotFoundError):
            await bob.files.download(file.reference, tmp_path)
        assert [each.name for each in tmp_path.iterdir()] == ["holiday.jpg"]
        await alice.send_file(b, file)
        async with asyncio.timeout(20):
            message = await anext(aiter(bob))
        await bob.files.download(message.file, tmp_path)
        with pytest.raises(NotFoundError):  # a reader is no owner
            await bob.files.allow(file.file, b)
        with pytest.raises(NotFoundError):
            await bob.files.remove(file.file)
        await alice.files.remove(file.file)
        for gone in (file.file, "../me"):
            with pytest.raises(NotFoundError):
                await alice.files.info(gone)
        with pytest.raises(NotFoundError):
            await bob.files.download(message.file, tmp_path)


async def test_what_cannot_be_uploaded(people: People, path: Path, tmp_path: Path) -> None:
    a = people.name("alice")
    huge = tmp_path / "huge"
    huge.touch()
    os.truncate(huge, 100 * 1024 * 1024 + 1)
    async with people.client(a) as alice:
        with pytest.raises(FileTooLargeError):
            await alice.files.upload(huge)
        for wrong in (tmp_path, tmp_path / "nothing"):
            with pytest.raises(LocalFileError):
                await alice.send_file(a, wrong)
        with pytest.raises(InvalidIdError):
            await alice.send_file("Bob", path)
        with pytest.raises(InvalidIdError):
            await alice.files.upload(path, readers=["Bob"])
        with pytest.raises(MisuseError, match="readers"):
            await alice.files.upload(path, readers=[f"bob{number}" for number in range(101)])
        with pytest.raises(MisuseError, match="media type"):
            await alice.files.upload(path, media_type="what")
        for name in ("x" * 300, "two\nlines"):
            with pytest.raises(MisuseError, match="on one line"):
                await alice.files.upload(path, name=name)
        with pytest.raises(MisuseError, match="no text"):
            await alice.files.upload(path, name="\ud800")


async def test_an_empty_file(people: People, tmp_path: Path) -> None:
    a = people.name("alice")
    (tmp_path / "empty").touch()
    async with people.client(a) as alice:
        file = await alice.files.upload(tmp_path / "empty")
        made = await alice.files.download(file.reference, tmp_path)
        assert made.name == "empty (2)"
        assert made.read_bytes() == b""


async def test_a_name_from_a_stranger(people: People, path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "side"
    folder.mkdir(parents=True)
    async with people.client(people.name("mallory")) as mallory:
        file = await mallory.files.upload(path, name="../../.ssh/authorized_keys")
        made = await mallory.files.download(file.reference, folder)
        assert made == folder / "_.._.ssh_authorized_keys"


# Connections that break.


async def test_an_upload_that_is_cut(people: People, path: Path) -> None:
    a = people.name("alice")
    proxy = CuttingProxy(people.node.api_port, up=1_000_000, cuts=2)
    async with proxy, people.client(a, api=proxy.url) as alice:
        told = Told()
        file = await alice.files.upload(path, progress=told)
        assert proxy.cuts == 0
        assert (file.complete, file.sha256) == (True, hashlib.sha256(path.read_bytes()).hexdigest())
        # What had arrived was not sent again.
        begun = [done for (done, _), (before, _) in zip(told[1:], told, strict=False) if done <= before]
        assert begun
        assert max(begun) > 500_000


async def test_an_upload_whose_last_answer_is_lost(people: People, path: Path) -> None:
    a = people.name("alice")
    async with people.client(a) as alice:
        send, lost = alice._signed._web.request, 0

        async def lossy(method: str, path: str, **more: Any) -> Any:
            nonlocal lost
            answer = await send(method, path, **more)
            if method == "PATCH":
                lost += 1
                raise UnreachableError("the answer was lost")
            return answer

        alice._signed._web.request = lossy  # type: ignore[method-assign]
        assert (await alice.files.upload(path)).complete
        assert lost == 1


async def test_a_download_that_is_cut(people: People, path: Path, tmp_path: Path) -> None:
    a = people.name("alice")
    proxy = CuttingProxy(people.node.api_port, down=1_000_000, cuts=2)
    async with proxy, people.client(a, api=proxy.url) as alice:
        file = await alice.files.upload(path)
        told = Told()
        made = await alice.files.download(file.reference, tmp_path / "made", progress=told)
        assert proxy.cuts == 0
        assert made.read_bytes() == path.read_bytes()
        assert told == sorted(told)


async def test_a_download_that_is_left_goes_on_later(people: People, path: Path, tmp_path: Path) -> None:
    a = people.name("alice")
    async with people.client(a) as alice:
        file = await alice.files.upload(path)
        reached = asyncio.Event()

        def leave(done: int, total: int) -> None:
            if done > 1_000_000:
                reached.set()

        going = asyncio.create_task(alice.files.download(file.reference, tmp_path / "made", progress=leave))
        await asyncio.wait_for(reached.wait(), 20)
        with pytest.raises(MisuseError, match="already"):
            await alice.files.download(file.reference, tmp_path / "made")
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        told = Told()
        made = await alice.files.download(file.reference, tmp_path / "made", progress=told)
        assert told[0][0] > 1_000_000
        assert made.read_bytes() == path.read_bytes()
        assert not list(tmp_path.glob("*.part"))


async def test_a_server_that_does_not_come_back(people: People, path: Path, tmp_path: Path) -> None:
    a = people.name("alice")
    async with people.client(a) as alice:
        file = await alice.files.upload(path)
        alice._api.web.url = f"http://127.0.0.1:{free_port()}"
        with pytest.raises(UnreachableError):
            await alice.files.download(file.reference, tmp_path / "made")
        with pytest.raises(UnreachableError):
            await alice.files.upload(path)


async def test_an_upload_that_is_given_up(people: People, path: Path) -> None:
    """Nothing of it stays at the server."""
    async with people.client(people.name("alice")) as alice:
        request, asked = alice._signed._web.request, []

        async def watched(method: str, path: str, **more: Any) -> Any:
            asked.append((method, path.rpartition("/")[2]))
            return await request(method, path, **more)

        alice._signed._web.request = watched  # type: ignore[method-assign]
        begun = asyncio.Event()

        def begin(done: int, total: int) -> None:
            if done:
                begun.set()

        going = asyncio.create_task(alice.files.upload(path, progress=begin))
        await asyncio.wait_for(begun.wait(), 20)
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        method, file = asked[-1]
        assert method == "DELETE"
        with pytest.raises(NotFoundError):
            await alice.files.info(file)


# Files that are not what they seem.


async def test_a_file_that_was_tampered_with(people: People, path: Path, tmp_path: Path) -> None:
    a, folder = people.name("alice"), tmp_path / "in"
    folder.mkdir()
    async with people.client(a) as alice:
        good = (await alice.files.upload(path)).reference
        for wrong, text in (
            (replace(good, sha256="0" * 64), "SHA-256"),
            (replace(good, size=BIG - 1), "longer"),
            (replace(good, size=BIG + 1), "shorter"),
        ):
            with pytest.raises(ChecksumError, match=text):
                await alice.files.download(wrong, folder)
            assert not list(folder.iterdir())
        # A part that somebody else has written, and one that is longer than the server's file.
        (folder / f"holiday.jpg.{good.file}.part").write_bytes(bytes(1000))
        with pytest.raises(ChecksumError, match="SHA-256"):
            await alice.files.download(good, folder)
        (folder / f"holiday.jpg.{good.file}.part").write_bytes(bytes(BIG))
        with pytest.raises(ChecksumError, match="shorter"):
            await alice.files.download(replace(good, size=BIG + 1), folder)
        assert not list(folder.iterdir())
        assert (await alice.files.download(good, folder)).read_bytes() == path.read_bytes()


async def test_a_file_that_changes_while_it_is_uploaded(people: People, path: Path) -> None:
    a = people.name("alice")
    async with people.client(a) as alice:

        def change(done: int, total: int) -> None:
            if not done:
                with path.open("r+b") as file:
                    file.seek(BIG - 1000)
                    file.write(bytes(1000))

        with pytest.raises(ChecksumError):
            await alice.files.upload(path, progress=change)

        def cut(done: int, total: int) -> None:
            os.truncate(path, 1000)

        with pytest.raises(LocalFileError, match="changed while"):
            await alice.files.upload(path, progress=cut)


async def test_a_message_that_tells_of_no_file(people: People) -> None:
    a, b = people.name("alice"), people.name("bob")
    async with people.client(a) as alice, people.client(b) as bob:
        await alice.send(b, b'{"file": "../../etc/passwd"}', kind=FILE)
        async with asyncio.timeout(20):
            message = await anext(aiter(bob))
        with pytest.raises(FileReferenceError):
            _ = message.file


async def test_a_server_without_ranges(people: People, path: Path, tmp_path: Path) -> None:
    """It sends the whole file again, which takes the place of the part."""
    data = path.read_bytes()[:1000]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n" + data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        arguments = {"password": None, "token": "x", "connectors": ["127.0.0.1:1"], "background": True, "api": url}
        async with people.client("alice", **arguments) as alice:
            reference = FileReference("0" * 32, "a", "text/plain", 1000, hashlib.sha256(data).hexdigest())
            (tmp_path / f"a.{reference.file}.part").write_bytes(data[:400])
            assert (await alice.files.download(reference, tmp_path / "a")).read_bytes() == data
            with pytest.raises(ApiError):
                await alice.files.upload(path)
