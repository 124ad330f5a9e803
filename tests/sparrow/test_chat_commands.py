"""The table of commands and what is made of it; who is news; files on their way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from client import Contact, Erased, Message
from protocol.errors import LocalFileError, MisuseError
from protocol.files import FileReference
from protocol.sparrow_pb2 import FILE, TEXT
from protocol.sparrow_pb2 import Message as Wire
from sparrow.chat.commands import COMMANDS, Takes, help_text, obey
from sparrow.chat.completion import LineCompleter
from sparrow.chat.conversation import Conversation, Line
from sparrow.chat.model import Model
from sparrow.chat.people import People
from sparrow.chat.text import bar, size
from sparrow.chat.transfers import Transfer, Transfers

REFERENCE = FileReference("0" * 32, "a\n\x1b.jpg", "image/jpeg", 1_234_567, "0" * 64)


# Commands.


def test_help_names_every_command_once() -> None:
    lines = help_text().splitlines()
    assert len(lines) <= 21, "it has to fit on a screen of 24"
    assert max(map(len, lines)) <= 90
    for each in COMMANDS.values():
        row = f" · {each.usage}: " if each.beside else f"{each.usage} "
        assert sum((row in line) if each.beside else line.startswith(row) for line in lines) == 1
        assert each.text


def completed(text: str) -> list[str]:
    completer = LineCompleter(lambda: ["alice", "albert", "bob"], lambda: ["1", "12"])
    return [each.text for each in completer.get_completions(Document(text), CompleteEvent())]


def test_completion(tmp_path: Path) -> None:
    assert completed("/") == [f"/{name}" for name in COMMANDS]
    assert completed("/fr") == ["/friends"]
    assert completed("@al") == ["@alice", "@albert"]
    assert completed("@al x") == []
    for name, each in COMMANDS.items():
        if each.takes == Takes.NAME:
            assert completed(f"/{name} al") == ["alice", "albert"]
            assert completed(f"/{name}  b") == ["bob"]
    assert completed("/save 1") == ["1", "12"]
    (tmp_path / "holiday.jpg").touch()
    assert completed(f"/file {tmp_path}/hol") == ["iday.jpg"]
    for text in ("", "hello", "/who al", "/nonsense al", "/search al", "//fr"):
        assert completed(text) == []


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("", "there is no command /;"),
        ("dance", "there is no command /dance; /help names all"),
        ("dan\x1bce", "there is no command /dan�ce"),
        ("to", "whom\\? /to NAME"),
        ("add  ", "whom\\? /add NAME"),
        ("file", "which file\\? /file PATH"),
        ("name", "what\\? /name TEXT"),
        ("save", "whose\\? /to NAME first"),
        ("edit", "what is it to say\\? /edit \\[-N\\] TEXT"),
        ("edit -2", "what is it to say\\? /edit"),
        ("edit x", "to whom\\? /to NAME first"),
        ("erase", "to whom\\? /to NAME first"),
        ("erase last", "which one\\? /erase \\[-N\\]"),
        ("history no", "how many\\? /history \\[N\\]"),
        ("history 0", "how many"),
        ("history 99999999999", "how many"),
        ("find", "what\\? /find WORDS"),
    ],
)
async def test_what_cannot_be_obeyed(typed: str, text: str) -> None:
    with pytest.raises(MisuseError, match=text):
        await obey(FakeChat(), typed)  # type: ignore[arg-type]


# What was said.


async def test_which_message_is_edited_and_erased() -> None:
    chat, asked = FakeChat(), list[tuple[object, ...]]()

    async def edit(*what: object) -> None:
        asked.append(what)

    chat.client.edit = chat.client.erase = edit  # type: ignore[attr-defined]
    chat.connected = False  # type: ignore[attr-defined]
    bobs = chat.current = chat.model.conversation("bob")
    for number, kind in ((1, TEXT), (2, FILE), (3, TEXT)):
        wire = Wire(stream=9, id=number, kind=kind, body=b"x", from_id="alice", from_device="a2", dest_id="bob")
        wire.stamp = number << 20
        chat.model.own(Message(Nobody(), wire, False))
    await obey(chat, "edit better")  # type: ignore[arg-type]
    await obey(chat, "edit -2 -5 degrees")  # type: ignore[arg-type]
    await obey(chat, "erase -2")  # type: ignore[arg-type]
    assert asked == [("bob", "a2", 9, 3, "better"), ("bob", "a2", 9, 1, "-5 degrees"), ("bob", "a2", 9, 2)]
    assert chat.said == ["that is done when there is a connection"] * 3
    chat.model.erased(Erased("bob", "alice", "a2", 9, 3, "alice"))
    with pytest.raises(MisuseError, match="no such message"):
        await obey(chat, "edit -2 x")  # type: ignore[arg-type]
    bobs.add(Line("bob", True, "", 0, 0, "draft", 1))
    with pytest.raises(MisuseError, match="not been sent yet"):
        await obey(chat, "erase")  # type: ignore[arg-type]


async def test_what_is_muted_is_no_news() -> None:
    chat, asked = FakeChat(), list[tuple[object, ...]]()

    class Talk:
        def __init__(self, user: str) -> None:
            self.user = user

        async def mute(self, seconds: int | None) -> None:
            asked.append((self.user, seconds))

        async def unmute(self) -> None:
            asked.append((self.user, 0))

    async def of(peer: str) -> Talk:
        return Talk(peer)

    async def place(name: str) -> str:
        return name

    chat.place, chat.client.conversations = place, SimpleNamespace(of=of)  # type: ignore[attr-defined]
    for number, sender in enumerate(("bob", "carol"), 1):
        wire = Wire(stream=9, id=number, kind=TEXT, body=b"x", from_id=sender, from_device="b1", dest_id="alice")
        chat.model.received(Message(Nobody(), wire, False))
    for typed in ("mute bob 8", "mute carol", "mute dave  1", "unmute carol", "who"):
        await obey(chat, typed)  # type: ignore[arg-type]
    assert asked == [("bob", 8 * 3600), ("carol", None), ("dave", 3600), ("carol", 0)]
    assert chat.said[0] == "bob is muted for 8 h, on all your devices"
    assert chat.said[1] == "carol is muted, on all your devices"
    assert chat.said[-2:] == ["carol is not muted", "carol: 1 new\nbob (muted): 1 new"]
    with pytest.raises(MisuseError, match="how many"):
        await obey(chat, "mute bob 0")  # type: ignore[arg-type]
    # Another device, meanwhile; and whom one has not seen yet.
    chat.model.mute({"carol", "eve"})
    muted = [chat.model.conversation(user).muted for user in ("bob", "carol", "dave", "eve", "frank")]
    assert muted == [False, True, False, True, False]


# Files.


class FakeClient:
    def __init__(self) -> None:
        self.asked: list[tuple[FileReference, Path]] = []
        self.files = self

    async def download(self, reference: FileReference, to: Path, *, progress: object) -> Path:
        self.asked.append((reference, to))
        return to


class FakeChat:
    def __init__(self) -> None:
        self.model = Model("alice")
        self.current: Conversation | None = None
        self.said: list[str] = []
        self.notice = self.said.append
        self.client = FakeClient()
        self.transfers = Transfers(lambda transfer: None, self.notice)


class Nobody:
    async def read(self, message: Message) -> None: ...

    def take(self, message: Message) -> None: ...


def file_message(number: int, body: bytes, sender: str = "bob") -> Message:
    wire = Wire(stream=9, id=number, kind=FILE, body=body, from_id=sender, from_device="b1", dest_id="alice")
    return Message(Nobody(), wire, False)


async def test_which_file_is_saved_and_where() -> None:
    chat = FakeChat()
    mallorys = FileReference("f" * 32, "1", "image/jpeg", 1, "0" * 64)
    chat.model.received(file_message(1, mallorys.encode(), "mallory"))
    names = ["a.jpg", "two words", "1", "a.jpg"]
    for number, name in enumerate(names, 1):
        reference = FileReference(f"{number:032x}", name, "image/jpeg", 1, "0" * 64)
        chat.model.received(file_message(number, reference.encode()))
    line = chat.model.received(file_message(9, REFERENCE.encode(), "carol"))
    assert line is not None
    assert (line.number, line.text) == (1, "[a\n\x1b.jpg, 1.2 MB: /save 1]")
    broken = chat.model.received(file_message(10, b"{}"))
    assert broken is not None
    assert broken.text.startswith("[a message of a file that cannot be read")
    bobs = chat.model.conversation("bob")
    chat.current = bobs
    for typed, number, to in (
        ("save", 4, "."),
        ("save 1", 1, "."),
        ("save 2", 2, "."),
        ("save 3 /x/y z", 3, "/x/y z"),
        ("save two words", 2, "."),
        ("save a.jpg in", 4, "in"),
        ("save /some/where", 4, "/some/where"),
        ("save ~", 4, str(Path.home())),
    ):
        await obey(chat, typed)  # type: ignore[arg-type]
        await chat.transfers.finish()
        reference, path = chat.client.asked[-1]
        assert (reference, path) == (bobs.files[number].file, Path(to)), typed
    chat.current = chat.model.conversation("carol")
    await obey(chat, "save")  # type: ignore[arg-type]
    await chat.transfers.finish()
    assert chat.client.asked[-1][0] is line.file
    chat.current = chat.model.conversation("dave")
    with pytest.raises(MisuseError, match="no file in this conversation"):
        await obey(chat, "save 1")  # type: ignore[arg-type]
    chat.current = bobs
    for typed, text in (("save 77", "there is no file 77"), ("save 1 ~nobody.at.all", "no such user on this machine")):
        with pytest.raises(MisuseError, match=text):
            await obey(chat, typed)  # type: ignore[arg-type]
    assert len(chat.said) == 9
    assert "a\\n�.jpg is saved as" in chat.said[-1]


async def test_transfers() -> None:
    shown: list[tuple[str, int]] = []
    said: list[str] = []
    transfers = Transfers(lambda transfer: shown.append((transfer.name, transfer.percent)), said.append)
    go_on = asyncio.Event()

    async def work(progress: Callable[[int, int], object]) -> None:
        for done in range(0, 1001):
            progress(done, 1000)
        await go_on.wait()

    async def fail(progress: Callable[[int, int], object]) -> None:
        progress(0, 0)
        raise LocalFileError("the disk is full")

    async def break_down(progress: Callable[[int, int], object]) -> None:
        raise ZeroDivisionError

    transfers.start("a", up=True, work=work)
    assert [(each.name, each.up, each.done) for each in transfers.running] == [("a", True, 0)]
    await asyncio.sleep(0)
    assert shown == [("a", percent) for percent in range(1, 101)]
    go_on.set()
    await transfers.finish()
    assert transfers.running == []
    transfers.start("b\x1b", up=False, work=fail)
    transfers.start("c", up=False, work=break_down)
    await transfers.finish()
    assert said == ["b�: the disk is full", "c has failed, which is a bug: ZeroDivisionError()"]
    go_on.clear()
    transfers.start("d", up=False, work=work)
    chat = FakeChat()
    chat.transfers = transfers
    with pytest.raises(MisuseError, match="files are on their way"):
        await obey(chat, "quit")  # type: ignore[arg-type]
    assert transfers.cancel() == 1
    await transfers.finish()
    assert len(said) == 2


def test_how_far_and_how_much() -> None:
    assert Transfer("a", True, 1, 3).percent == 33
    assert bar(0) == "[░░░░░░░░░░░░░░░░░░░░]   0 %"
    assert bar(55) == "[███████████░░░░░░░░░]  55 %"
    assert bar(100) == "[████████████████████] 100 %"
    for count, text in (
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (1_250_000, "1.2 MB"),
        (10**13, "10000.0 GB"),
    ):
        assert size(count) == text


# People.


def contact(user: str, *, friend: bool = False, asked: bool = False, asks: bool = False) -> Contact:
    return Contact(user, friend, asked, asks, False, 0)


def test_what_is_news_of_people() -> None:
    people = People()
    people.changed(contact("dave", friend=True))  # before we know anybody
    assert people.names() == []
    first = [contact("bob", friend=True), contact("carol", asks=True), contact("erin", asked=True)]
    assert people.news(first) == ["carol asks to be your friend: /accept carol or /decline carol"]
    assert people.news(first) == []
    assert people.names() == ["bob", "carol", "erin"]
    assert people.news([contact("erin", friend=True), contact("frank", asks=True)]) == [
        "bob is your friend no more",
        "erin is your friend now",
        "frank asks to be your friend: /accept frank or /decline frank",
    ]
    people.news([contact("erin", friend=True), contact("grace", asked=True)])
    assert people.news([contact("erin", friend=True)]) == [
        "grace is not asked any more to be your friend: it was declined, or taken back"
    ]
    # What we do ourselves is none.
    people.changed(contact("heidi", friend=True))
    people.changed(contact("erin"))
    assert people.news([contact("heidi", friend=True)]) == []
    assert people.changes == 3
