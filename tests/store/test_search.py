"""Search in the node: what is found, by whom, in step with edits and erasures; and what is in no file any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MisuseError, SearchNotOfferedError
from protocol.ids import new_group_id
from store import HistorySettings, StoreSettings
from store.membership import made
from store.ownership import Ownership
from store.sqlite import SqliteStore, search_index
from store.sqlite import search as search_module
from store.sqlite.backup import copy
from store.sqlite.search_index import index_path
from store.timelines import Audience, Erasure, conversation_of
from store.words import has_phrase, words
from tests.store.timeline_helpers import AB, edit, entry, name, stamp

HISTORY = HistorySettings(ledger="")


def opened(folder: Path, ownership: Ownership = Ownership.ALONE, history: HistorySettings = HISTORY) -> SqliteStore:
    return SqliteStore(StoreSettings(path=str(folder / "sparrow.db")), ownership=ownership, history=history)


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteStore]:
    monkeypatch.setattr(search_module, "FOLLOW_S", 0.01)
    monkeypatch.setattr(search_module, "MERGE_S", 0.05)
    async with opened(tmp_path) as made:
        yield made


async def found(store: SqliteStore, user: str, text: str, conversation: str = "") -> list[str]:
    page = await store.timelines.search(user, text, conversation)
    return [each.message.body.decode() for each in page.found]


async def until_found(store: SqliteStore, user: str, text: str, wanted: list[str]) -> None:
    async with asyncio.timeout(20):
        while await found(store, user, text) != wanted:
            await asyncio.sleep(0.02)


# Words.


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", []),
        ("  ,;!  ", []),
        ("Größe, Straße!", ["grosse", "strasse"]),
        ("don't_stop", ["don", "t", "stop"]),
        ("ÀÉÎ", ["aei"]),
        ("日本語 text", ["日", "本", "語", "text"]),
        ("x" * 100, ["x" * 64]),
        ("😀 smile", ["smile"]),
        ('a"b OR c*', ["a", "b", "or", "c"]),
    ],
)
def test_words(text: str, wanted: list[str]) -> None:
    assert words(text) == wanted


def test_a_phrase() -> None:
    text = "The quick brown fox"
    for phrase in (["quick", "brown"], ["the"], ["brown", "fo"], ["q"]):
        assert has_phrase(text, phrase)
    for phrase in (["quick", "fox"], ["uick"], ["fox", "the"], ["brow", "fox"]):
        assert not has_phrase(text, phrase)


# What is found.


async def test_both_find_what_was_written_and_nobody_else_does(store: SqliteStore) -> None:
    await store.timelines.archive([entry(1, b"a red house"), entry(2, b"a house of red bricks"), entry(3, b"blue")])
    await until_found(store, "alice", "house", ["a house of red bricks", "a red house"])
    assert await found(store, "bob", "red house") == ["a red house"]
    assert await found(store, "bob", "hou", AB) == ["a house of red bricks", "a red house"]
    assert await found(store, "carol", "house") == []
    assert await found(store, "carol", "house", AB) == []
    assert await found(store, "bob", "house", conversation_of("bob", "carol")) == []
    assert await found(store, "bob", 'house" OR who : c1') == []


async def test_what_a_block_swallowed_is_found_by_its_author_alone(store: SqliteStore) -> None:
    await store.timelines.archive([entry(1, b"swallowed words", audience=Audience.AUTHOR)])
    await until_found(store, "alice", "swallowed", ["swallowed words"])
    assert await found(store, "bob", "swallowed") == []
    assert await found(store, "bob", "swallowed", AB) == []


async def test_an_edit_that_a_block_swallowed_tells_the_other_nothing(store: SqliteStore) -> None:
    await store.timelines.archive([entry(1, b"the first text")])
    await store.timelines.archive([edit(1, 1, b"a hidden secret", audience=Audience.AUTHOR)])
    await until_found(store, "alice", "secret", ["a hidden secret"])
    assert await found(store, "bob", "secret") == []


async def test_an_edit_is_found_by_its_words_and_no_others(store: SqliteStore) -> None:
    await store.timelines.archive([entry(1, b"old words")])
    await until_found(store, "bob", "words", ["old words"])
    await store.timelines.archive([edit(1, 1, b"new words")])
    await until_found(store, "bob", "new", ["new words"])
    assert await found(store, "bob", "old") == []
    await store.timelines.archive([edit(1, 2, b"newest")])
    await until_found(store, "bob", "newest", ["newest"])
    assert await found(store, "bob", "words") == []


async def test_files_and_own_kinds_are_not_looked_into(store: SqliteStore) -> None:
    await store.timelines.archive([entry(1, b"word", kind=1000), entry(2, b"word", kind=2), entry(3, b"word")])
    await until_found(store, "bob", "word", ["word"])


async def test_what_is_no_text_spoils_nothing(store: SqliteStore) -> None:
    await store.timelines.archive([entry(1, b"\xff\xfe"), entry(2, b""), entry(3, b"word")])
    await until_found(store, "bob", "word", ["word"])


async def test_pages_go_back_to_the_first(store: SqliteStore) -> None:
    await store.timelines.archive([entry(number, b"word %d" % number) for number in range(1, 1201)])
    async with asyncio.timeout(20):
        while (await store.timelines.search("bob", "1200")).found == ():
            await asyncio.sleep(0.02)
    bodies: list[bytes] = []
    before, pages = b"", 0
    while True:
        page = await store.timelines.search("bob", "word", AB, before, 100)
        bodies += [each.message.body for each in page.found]
        pages += 1
        before = page.next
        if not before:
            break
    assert bodies == [b"word %d" % number for number in range(1200, 0, -1)]
    assert pages >= 12


@pytest.mark.parametrize("text", ["", "  ", "!?", "\0"])
async def test_without_a_word_nothing_is_looked_for(store: SqliteStore, text: str) -> None:
    with pytest.raises(MisuseError, match="no word"):
        await store.timelines.search("bob", text)


@pytest.mark.parametrize("before", [b"x", b"s" + bytes(8), bytes(64)])
async def test_what_is_no_position(store: SqliteStore, before: bytes) -> None:
    with pytest.raises(MisuseError, match="no position"):
        await store.timelines.search("bob", "word", before=before)


async def test_a_question_that_takes_too_long(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.timelines.archive([entry(number, b"word %d" % number) for number in range(1, 501)])
    await until_found(store, "bob", "500", ["word 500"])
    monkeypatch.setattr(search_index, "SLOW_S", -1.0)
    monkeypatch.setattr(search_index, "_STEPS", 1)
    with pytest.raises(MisuseError, match="too long"):
        await store.timelines.search("bob", "word")


# What is gone.


async def test_what_was_erased_is_in_no_file_and_in_no_backup(store: SqliteStore, tmp_path: Path) -> None:
    secret = b"abracadabra"
    await store.timelines.archive([entry(number, b"filler %d" % number) for number in range(1, 300)])
    await store.timelines.archive([entry(300, b"the word is " + secret), entry(301, b"old " + secret)])
    await until_found(store, "bob", secret.decode(), ["old abracadabra", "the word is abracadabra"])
    assert secret in b"".join(path.read_bytes() for path in tmp_path.glob("sparrow.db-search*"))
    await store.timelines.archive([Erasure(AB, name(300), stamp(400), "alice"), edit(301, 1, b"better")])
    assert await found(store, "bob", secret.decode()) == []
    async with asyncio.timeout(30):
        while any(secret in path.read_bytes() for path in tmp_path.glob("sparrow.db-search*")):
            await asyncio.sleep(0.05)
    assert await found(store, "bob", "filler") != []
    copy(tmp_path / "sparrow.db", tmp_path / "backup.db")
    backup = (tmp_path / "backup.db").read_bytes()
    assert b"fts5" not in backup
    assert b"the word is" not in backup


# The index itself.


async def test_another_process_asks_the_index_that_the_owner_keeps(store: SqliteStore, tmp_path: Path) -> None:
    await store.timelines.archive([entry(1, b"a word")])
    await until_found(store, "bob", "word", ["a word"])
    async with opened(tmp_path, Ownership.NONE) as other:
        assert await found(other, "bob", "word") == ["a word"]
        await other.timelines.archive([Erasure(AB, name(1), stamp(400), "operator"), entry(2, b"another word")])
        await until_found(other, "bob", "word", ["another word"])


async def test_it_is_made_anew(store: SqliteStore) -> None:
    await store.timelines.archive([entry(1, b"a word")])
    await until_found(store, "bob", "word", ["a word"])
    await store.timelines.rebuild_search()
    await until_found(store, "bob", "word", ["a word"])


async def test_one_that_is_damaged_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "FOLLOW_S", 0.01)
    async with opened(tmp_path) as store:
        await store.timelines.archive([entry(1, b"a word")])
        await until_found(store, "bob", "word", ["a word"])
    index_path(str(tmp_path / "sparrow.db")).write_bytes(b"no database at all" * 500)
    async with opened(tmp_path) as store:
        await until_found(store, "bob", "word", ["a word"])


async def test_switched_off_it_goes_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "FOLLOW_S", 0.01)
    async with opened(tmp_path) as store:
        await store.timelines.archive([entry(1, b"a word")])
        await until_found(store, "bob", "word", ["a word"])
    async with opened(tmp_path, history=HistorySettings(ledger="", search=False)) as store:
        assert not index_path(str(tmp_path / "sparrow.db")).exists()
        for call in (store.timelines.search("bob", "word"), store.timelines.rebuild_search()):
            with pytest.raises(SearchNotOfferedError):
                await call


@given(st.text(st.characters(max_codepoint=0x250), max_size=30))
def test_plain_text_has_the_words_that_it_has_beside_other_text(text: str) -> None:
    assert words(text) == words(f"{text} \u00e9")[:-1]


async def test_where_conversations_are_not_kept_groups_stand_in_no_index_until_they_are(store: SqliteStore) -> None:
    await store.timelines.set_keep_days(0, 0)
    group, change = made(new_group_id(bytes(15)), "alice", "Lunch", 0)
    await store.groups.make(group, change)
    said = entry(1, b"noon", conversation=group.group, version=1, settled=1)
    assert not any(one.result for one in await store.timelines.archive([said]))
    for _ in range(3):
        assert not await store.timelines._search.step()
    assert await found(store, "alice", "noon") == []
    await store.timelines.set_keep_days(365, 0)
    await store.timelines._search.step()
    assert await found(store, "alice", "noon", group.group) == ["noon"]
