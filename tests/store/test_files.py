"""Files in pieces, in both engines."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from protocol.errors import NotFoundError
from store.interface import File, Store
from tests.store.conftest import OpenEngine

NOW_MS = int(time.time() * 1000)
FILE = File("f1", "alice", "cat.jpg", "image/jpeg", 10, NOW_MS, NOW_MS + 3_600_000, frozenset({"bob"}))


async def content(store: Store, file: str, offset: int = 0) -> bytes:
    found = b""
    while piece := await store.read_file(file, offset + len(found)):
        found += piece
    return found


async def test_a_file_from_begin_to_end(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        assert await store.file("f1") is None
        assert await store.file("") is None
        claimed = replace(FILE, sha256="c1a1")
        await store.create_file(claimed)
        await store.create_file(claimed)
        assert await store.file("f1") == claimed
        assert await store.file_length("f1") == 0
        assert await store.append_file(FILE, 0, b"abcd")
        assert await store.append_file(FILE, 4, b"ef")
        assert await store.file_length("f1") == 6
        assert await store.append_file(FILE, 6, b"ghij")
        await store.finish_file("f1", "00ff")
    async with open_engine() as store:
        assert await store.file("f1") == replace(FILE, sha256="00ff", complete=True)
        assert await content(store, "f1") == b"abcdefghij"
        for offset in range(12):
            assert await content(store, "f1", offset) == b"abcdefghij"[offset:]
        await store.add_reader("f1", "carol")
        await store.add_reader("f1", "carol")
        found = await store.file("f1")
        assert found is not None
        assert found.readers == {"bob", "carol"}
        for reader in ("bob", "bob", "nobody"):
            await store.remove_reader("f1", reader)
        found = await store.file("f1")
        assert found is not None
        assert found.readers == {"carol"}
        await store.add_reader("f1", "bob")
        await store.remove_file("f1")
        await store.remove_file("f1")
        assert await store.file("f1") is None
        assert await store.file_length("f1") == 0
        assert await content(store, "f1") == b""
        with pytest.raises(NotFoundError, match="f1"):
            await store.add_reader("f1", "dave")
        with pytest.raises(NotFoundError, match="f1"):
            await store.remove_reader("f1", "carol")
        await store.finish_file("f1", "11")
        assert await store.file("f1") is None


async def test_of_two_pieces_for_one_place_the_first_stays(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await store.create_file(FILE)
        kept = await asyncio.gather(*(store.append_file(FILE, 0, bytes([number]) * 4) for number in range(8)))
        assert sum(kept) == 1
        assert await content(store, "f1") == bytes([kept.index(True)]) * 4
        assert not await store.append_file(FILE, 0, b"zz")
        assert await store.file_length("f1") == 4


async def test_many_pieces(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await store.create_file(FILE)
        await store.create_file(replace(FILE, file="f2"))
        for number in range(40):
            assert await store.append_file(FILE, number * 3, b"%03d" % number)
        assert await store.append_file(FILE, 120, b"x" * 300_000)
        assert await content(store, "f1", 30) == b"".join(b"%03d" % number for number in range(10, 40)) + b"x" * 300_000
        assert await store.file_length("f2") == 0
        await store.remove_file("f1")
        assert await store.file_length("f1") == 0
        assert await store.file("f2") is not None


async def test_an_expired_file_is_gone(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await store.create_file(replace(FILE, expires_ms=int(time.time() * 1000) + 1200))
        assert await store.append_file(FILE, 0, b"abcd")
        assert await store.file("f1") is not None
        await asyncio.sleep(1.4)
        assert await store.file("f1") is None
        assert await store.files_of("alice") == []
        await store.purge()
        await store.create_file(FILE)
        assert await store.file("f1") == FILE


async def test_an_upload_that_is_not_complete_is_gone_sooner(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        upload = replace(FILE, upload_expires_ms=NOW_MS + 1_800_000)
        late = replace(FILE, file="f2", upload_expires_ms=NOW_MS - 1)
        for file in (upload, late):
            await store.create_file(file)
            assert await store.append_file(file, 0, b"abcd")
        assert (upload.gone_ms, late.gone_ms) == (upload.upload_expires_ms, late.upload_expires_ms)
        assert await store.file("f2") is None
        assert await store.files_of("alice") == [upload]
        await store.purge()
        await store.finish_file("f1", "00ff")
        complete = replace(upload, sha256="00ff", complete=True)
        assert complete.gone_ms == FILE.expires_ms
        assert await store.file("f1") == complete
        assert await store.files_of("alice") == [complete]
        assert await content(store, "f1") == b"abcd"


async def test_the_files_of_one_owner(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        assert await store.files_of("alice") == []
        # More than one read takes.
        names = [f"f{number:04}" for number in range(600)]
        for at in range(0, len(names), 50):
            await asyncio.gather(*(store.create_file(replace(FILE, file=name)) for name in names[at : at + 50]))
        await store.create_file(replace(FILE, file="b1", owner="bob"))
        await store.remove_file("f0007")
        assert [file.file for file in await store.files_of("alice")] == [name for name in names if name != "f0007"]
        assert await store.files_of("bob") == [replace(FILE, file="b1", owner="bob")]
