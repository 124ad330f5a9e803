"""Pages among the lines of a state file: one set, whatever comes first; what is here as a whole, and what is torn."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.history import History
from client.journal import ClientJournal, MemoryJournal, SqliteJournal
from client.messages import State
from client.pages import OPEN, PagedLine, Stretch
from client.schema import _FIRST, APPLICATION_ID
from client.state import Settled, Skipped
from protocol.inbound import Shown
from protocol.outbound import OutboundStream, Outgoing
from protocol.sparrow_pb2 import EDIT, ERASE, FILE, READ, TEXT, About, Hint, Message

BIG = 2**64 - 1


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteJournal]:
    made = SqliteJournal(tmp_path / "state.db", 100)
    made.is_device("alice", "a1")
    yield made
    made.close()


@pytest.fixture(params=["memory", "sqlite", "lines"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ClientJournal]:
    lines = {"sqlite": 0, "lines": 100}
    made: ClientJournal = MemoryJournal()
    if request.param != "memory":
        made = SqliteJournal(tmp_path / "state.db", lines[request.param])
    made.is_device("alice", "a1")
    yield made
    made.close()


def history(journal: ClientJournal) -> History:
    assert journal.history is not None
    return journal.history


def came(number: int, *, stamp: int = 0, kind: int = TEXT, body: bytes = b"", **more: object) -> Message:
    values = {"from_id": "bob", "from_device": "b1", "dest_id": "alice", "stream": BIG} | more
    body = body or (f"live {number}".encode() if kind == TEXT else b"")
    return Message(id=number, settled=1, kind=kind, body=body, stamp=(stamp or number) << 20, **values)  # type: ignore[arg-type]


def paged(number: int, *, author: str = "bob", device: str = "b1", stamp: int = 0, **more: object) -> PagedLine:
    values = {"body": f"page {number}".encode()} | more
    return PagedLine((author, device, BIG, number), (stamp or number) << 20, int(TEXT), **values)  # type: ignore[arg-type]


def change(kind: int, target: int, number: int = 90, revision: int = 0, body: bytes = b"") -> Message:
    about = About(from_device="b1", stream=BIG, ids=[target])
    return came(number, kind=kind, body=body, revision=revision, about=about, stream=5)


def put(file: SqliteJournal, *page: PagedLine, mark: int = 0, read_by_other: int = 0) -> list[object]:
    found = history(file).pages.put("bob", page, mark << 20, read_by_other << 20)
    file.commit()
    return list(found)


def note(journal: ClientJournal, *messages: Message) -> None:
    journal.note([Shown(message, False) for message in messages])
    journal.commit()


def bodies(file: SqliteJournal) -> list[bytes]:
    return [entry.body for entry in reversed(history(file).between("bob", 1, OPEN, 1000))]


# Both journals.


def test_what_was_paged_is_known_by_its_name(journal: ClientJournal) -> None:
    name = ("bob", "b1", BIG, 1)
    assert not journal.paged(name)
    journal.put_paged(name)
    assert journal.paged(name)
    journal.park(came(1))
    journal.commit()
    journal.again(came(1))
    journal.commit()
    assert journal.load().parked == []
    assert journal.untaken() == []


def test_changes_are_remembered_before_their_target_comes(journal: ClientJournal) -> None:
    note(journal, change(EDIT, 1, revision=2, body=b"two"), change(EDIT, 1, number=91, revision=1, body=b"one"))
    (known,) = journal.changes._by_peer["bob"].values()
    assert (known.revision, known.body) == (2, b"two")
    if isinstance(journal, SqliteJournal):
        journal.changes = type(journal.changes)()
        journal._restore_changes()
        assert list(journal.changes._by_peer["bob"].values()) == [known]


def test_an_erased_one_is_taken_by_nobody(journal: ClientJournal) -> None:
    journal.show(came(1), False)
    journal.commit()
    assert len(journal.untaken()) == 1
    journal.untake(("bob", "b1", BIG, 1))
    journal.commit()
    assert journal.untaken() == []


def test_a_change_of_ours_counts_when_it_is_sent(journal: ClientJournal) -> None:
    stream = OutboundStream(4, "bob", 3)
    about = About(from_device="a1", stream=4, ids=[1])
    edit = Outgoing("bob", int(EDIT), b"better", about, stream, 2, revision=7, mark=BIG, numbered_ms=5)
    journal.put_outbound(stream)
    journal.put_outgoing(edit)
    journal.commit()
    (kept,) = journal.load().outbound[0].messages.values()
    assert (kept.revision, kept.mark, kept.numbered_ms) == (7, BIG, 5)
    assert len(journal.changes) == 0
    journal.note([Settled(edit, 9 << 20, False)])
    (known,) = journal.changes._by_peer["bob"].values()
    assert (known.target.author, known.target.device, known.edit, known.stamp) == ("alice", "a1", ("a1", 4, 2), 9 << 20)


# One set of lines.


def test_live_and_paged_are_one_set(file: SqliteJournal) -> None:
    note(file, came(1), came(3))
    put(file, paged(3), paged(2), paged(1))
    # A page's body counts where they differ.
    assert bodies(file) == [b"page 1", b"page 2", b"page 3"]
    assert file.paged(("bob", "b1", BIG, 2))
    assert not file.paged(("carol", "b1", BIG, 2))
    file.again(came(2, stamp=1))
    file.commit()
    assert [entry.stamp >> 20 for entry in history(file).between("bob", 1, OPEN, 9)] == [3, 1, 1]
    note(file, came(2))
    assert len(bodies(file)) == 3


def test_an_own_message_on_a_page_was_sent_whatever_was_said(file: SqliteJournal) -> None:
    stream = OutboundStream(BIG, "bob", 2)
    outgoing = Outgoing("bob", int(TEXT), b"page 1", None, stream, 1, 1)
    file.put_outgoing(outgoing)
    file.commit()
    put(file, paged(1, author="alice", device="a1"), paged(1, author="alice", device="a2"), read_by_other=0)
    mine, other = sorted(history(file).entries(), key=lambda entry: entry.device)
    assert (mine.state, mine.device, mine.stamp >> 20, mine.note) == (State.SENT, "", 1, "")
    assert (other.state, other.device) == (State.SENT, "a2")
    put(file, paged(1, author="alice", device="a1"), read_by_other=1)
    assert history(file).entries()[0].state == State.READ


def test_marks_say_what_is_read(file: SqliteJournal) -> None:
    put(file, paged(3), paged(2), paged(1), mark=1)
    assert [entry.state for entry in history(file).entries()] == [State.QUEUED, State.QUEUED, State.READ]
    file.note([Hint(kind=Hint.MARK_RAISED, user_id="bob", stamp=2 << 20)])
    file.commit()
    assert [entry.id for entry in history(file).unread("bob")] == [3]
    assert history(file).peers() == {"bob": 1}
    assert history(file).stamps("bob", "b1", BIG, [1, 2, 7]) == 2 << 20
    assert history(file).newest_stamp("bob") == 3 << 20


@pytest.mark.parametrize("first", ["page", "erasure", "message"])
def test_erased_comes_back_from_nowhere(file: SqliteJournal, first: str) -> None:
    steps = {
        "page": lambda: put(file, paged(1)),
        "erasure": lambda: note(file, change(ERASE, 1)),
        "message": lambda: note(file, came(1)),
    }
    steps.pop(first)()
    for step in steps.values():
        step()
    if first == "erasure":
        note(file, change(ERASE, 1))
    put(file, paged(1), paged(1, revision=9, body=b"edited"))
    note(file, came(1))
    (entry,) = history(file).entries()
    assert (entry.body, entry.erased_by) == (b"", "bob")


def test_a_page_tells_what_was_changed(file: SqliteJournal) -> None:
    note(file, came(1), came(2), came(3))
    edited = paged(2, revision=3, body=b"edited", edited_stamp=8, edit=("b1", 6, 1))
    (erasure, edit) = put(file, paged(1, body=b"", erased_by="operator"), edited, paged(3))
    assert (erasure.erased_by, edit.body) == ("operator", b"edited")  # type: ignore[attr-defined]
    assert bodies(file) == [b"", b"edited", b"page 3"]
    assert put(file, edited) == []
    # A lower one that comes as a message, and a higher one.
    note(file, change(EDIT, 2, revision=2, body=b"old"))
    assert bodies(file)[1] == b"edited"
    note(file, change(EDIT, 2, number=91, revision=4, body=b"newest"))
    assert bodies(file)[1] == b"newest"
    put(file, edited)
    assert bodies(file)[1] == b"newest"


@pytest.mark.parametrize("first", ["file", "edit", "page"])
def test_only_a_text_is_edited(file: SqliteJournal, first: str) -> None:
    the_file = came(1, kind=FILE, body=b"{}")
    edit = change(EDIT, 1, revision=1, body=b"not a file")
    if first == "page":
        note(file, edit)
        put(file, PagedLine(("bob", "b1", BIG, 1), 1 << 20, int(FILE), b"{}"))
    else:
        note(file, *((the_file, edit) if first == "file" else (edit, the_file)))
    (entry,) = history(file).entries()
    assert (entry.body, entry.revision) == (b"{}", 0)
    note(file, change(ERASE, 1, number=91))
    assert bodies(file) == [b""]


def test_a_change_of_somebody_elses_message_does_nothing(file: SqliteJournal) -> None:
    note(file, came(1))
    about = About(from_device="b1", stream=BIG, ids=[1])
    mallory = came(2, from_id="mallory", from_device="m1", kind=ERASE, about=about)
    ours = Message(from_id="alice", from_device="a2", dest_id="bob", stream=3, id=1, kind=ERASE, about=about)
    note(file, mallory, ours)
    assert bodies(file) == [b"live 1"]


# What is here as a whole.


def test_stretches(file: SqliteJournal) -> None:
    pages = history(file).pages
    pages.cover("bob", Stretch(OPEN, 50, "c1", 7))
    pages.cover("bob", Stretch(50, 20, "c2", 0))
    file.commit()
    assert pages.at("bob", OPEN) == Stretch(OPEN, 50, "c1", 7)
    assert pages.at("bob", 50) == Stretch(50, 20, "c2", 0)
    assert pages.at("bob", 20) is None
    assert pages.at("carol", 50) is None
    assert pages.again() == {"bob": 7}
    pages.close("", 90)
    file.commit()
    assert pages.at("bob", OPEN) is None
    assert pages.at("bob", 90) == Stretch(90, 50, "c1", 0)
    # Fetched anew, down into what is here.
    pages.cover("bob", Stretch(OPEN, 70, "c3", 8))
    file.commit()
    assert pages.at("bob", 70) == Stretch(90, 50, "c1", 0)
    pages.forget("bob", 30, 30)
    file.commit()
    assert pages.at("bob", 50) is None
    pages.close("bob", 60)
    file.commit()
    assert pages.at("bob", OPEN) is None


def test_what_is_too_much_tears_its_page(tmp_path: Path) -> None:
    file = SqliteJournal(tmp_path / "small.db", 20)
    file.is_device("alice", "a1")
    pages = history(file).pages
    put(file, *(paged(number) for number in range(40, 20, -1)), mark=99)
    pages.cover("bob", Stretch(OPEN, 21 << 20, "c1", 0))
    put(file, *(paged(number) for number in range(20, 0, -1)), mark=99)
    pages.cover("bob", Stretch(21 << 20, 0, None, 0))
    put(file, paged(41), paged(42), mark=99)
    assert [entry.id for entry in history(file).between("bob", 1, OPEN, 99)][-1] > 20
    assert pages.at("bob", 21 << 20) is None
    file.close()


def test_around_what_was_skipped(file: SqliteJournal) -> None:
    note(file, came(1), came(5))
    assert history(file).around(Skipped("bob", "b1", BIG, 2, 4)) == ("bob", 1 << 20, 5 << 20)
    assert history(file).around(Skipped("bob", "b1", 77, 2, 4)) is None
    own = came(8, from_id="alice", from_device="a2", dest_id="bob", stream=3)
    note(file, own)
    assert history(file).around(Skipped("alice", "a2", 3, 1, 7)) == ("bob", 0, 8 << 20)


def test_the_newest_of_each_conversation(file: SqliteJournal) -> None:
    for number in range(1, 9):
        note(file, came(number), came(number, from_id="carol", from_device="c1"))
    about = About(from_device="b1", stream=BIG, ids=range(1, 9))
    file.put_outgoing(Outgoing("bob", int(READ), b"", about, OutboundStream(1, "bob", 2), 1))
    file.commit()
    found = history(file).entries(newest=3)
    assert [entry.id for entry in found if entry.peer == "bob"] == [6, 7, 8]
    assert len([entry for entry in found if entry.peer == "carol"]) == 8  # unread
    assert [entry.id for entry in history(file).texts("carol")] == list(range(8, 0, -1))


def test_a_state_file_of_the_first_release_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(_FIRST)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute(
            "INSERT INTO history (mine, peer, device, stream, id, draft, kind, body, stamp, at_ms, late, state, note) "
            "VALUES (0, 'bob', 'b1', -1, 1, 0, 1, x'6869', 1048576, 1, 0, 3, '')"
        )
        connection.execute("INSERT INTO outbound VALUES (1, 7, 'bob', 2, 0)")
        connection.execute("INSERT INTO outgoing VALUES (7, 1, 1, x'6869', NULL)")
        connection.execute("INSERT INTO drafts VALUES (1, 'bob', 1, x'6869', NULL)")
    connection.close()
    file = SqliteJournal(path, 100)
    file.is_device("alice", "a1")
    (entry,) = history(file).entries()
    assert (entry.body, entry.state, entry.revision, entry.erased_by) == (b"hi", State.READ, 0, "")
    kept = file.load()
    assert [each.numbered_ms for each in kept.outbound[0].messages.values()] == [0]
    assert [each.body for each in kept.drafts] == [b"hi"]
    # It was a line before, and is one still when a page has it.
    put(file, paged(1, body=b"hi"))
    assert len(history(file).entries()) == 1
    file.close()
