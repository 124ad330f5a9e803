"""Lines of groups in a state file: who wrote them, pages among them, and names that others have, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from client.history import History
from client.journal import ClientJournal, MemoryJournal, SqliteJournal
from client.messages import State
from client.pages import PagedLine
from client.state import Skipped
from protocol.ids import new_group_id
from protocol.inbound import Shown
from protocol.sparrow_pb2 import EDIT, ERASE, READ, TEXT, About, Hint, Message

GROUP, OTHER = (new_group_id(bytes((number,)) * 15) for number in (1, 2))
BIG = 2**64 - 1


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteJournal]:
    made = SqliteJournal(tmp_path / "state.db", 100)
    made.is_device("alice", "a1")
    yield made
    made.close()


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ClientJournal]:
    made: ClientJournal = MemoryJournal() if request.param == "memory" else SqliteJournal(tmp_path / "state.db")
    made.is_device("alice", "a1")
    yield made
    made.close()


def history(journal: ClientJournal) -> History:
    assert journal.history is not None
    return journal.history


def came(number: int, author: str = "bob", dest: str = GROUP, **more: object) -> Message:
    values = {"from_device": "d1", "stream": BIG, "kind": TEXT, "body": f"{author} {number}".encode()}
    values |= {"stamp": number << 20, **more}
    return Message(from_id=author, dest_id=dest, id=number, settled=1, **values)  # type: ignore[arg-type]


def note(journal: ClientJournal, *messages: Message) -> None:
    journal.note([Shown(message, False) for message in messages])
    journal.commit()


def lines(file: SqliteJournal) -> list[tuple[str, str, bool, bytes]]:
    return [(line.peer, line.author, line.mine, line.body) for line in history(file).entries()]


# Both journals.


def test_one_name_in_several_conversations_is_several_messages(journal: ClientJournal) -> None:
    ours = [came(1, dest="alice"), came(1), came(1, dest=OTHER)]
    for message in ours:
        journal.show(message, False)
    journal.commit()
    assert [each.message.dest_id for each in journal.untaken()] == ["alice", GROUP, OTHER]
    journal.taken(ours[1])
    journal.commit()
    assert [each.message.dest_id for each in journal.untaken()] == ["alice", OTHER]


def test_what_is_held_is_nobody_s_to_take(journal: ClientJournal) -> None:
    for number in (1, 2):
        journal.hold(came(number), number == 2)
    journal.put_group(GROUP, BIG)
    journal.commit()
    assert journal.untaken() == []
    kept = journal.load()
    assert [(each.item.id, each.late) for each in kept.held] == [(1, False), (2, True)]
    assert kept.groups == {GROUP: BIG}
    journal.release(came(2), show=True)
    journal.release(came(1), show=False)
    journal.release(came(3), show=True)  # never held
    journal.commit()
    assert [(each.message.id, each.late) for each in journal.untaken()] == [(2, True)]
    assert journal.load().held == []


def test_marks_wait_for_the_server(journal: ClientJournal) -> None:
    journal.put_mark(GROUP, BIG)
    journal.put_mark(OTHER, 7)
    journal.put_group(GROUP, 3)
    journal.commit()
    assert journal.marks() == {GROUP: BIG, OTHER: 7}
    journal.put_mark(GROUP, 0)
    journal.commit()
    assert journal.marks() == {OTHER: 7}
    assert journal.load().groups[GROUP] == 3


# Lines.


def test_a_line_says_who_wrote_it(file: SqliteJournal) -> None:
    note(file, came(1), came(1, "carol"), came(2, "alice", from_device="a2"), came(3, dest="alice"))
    assert lines(file) == [
        (GROUP, "bob", False, b"bob 1"),
        (GROUP, "carol", False, b"carol 1"),
        (GROUP, "", True, b"alice 2"),
        ("bob", "", False, b"bob 3"),
    ]
    assert history(file).peers() == {GROUP: 2, "bob": 1}


def test_changes_are_their_author_s_alone(file: SqliteJournal) -> None:
    """Streams are random, but a member sees those of the others, and may take the same."""
    note(file, came(1), came(1, "carol"))
    about = About(from_device="d1", stream=BIG, ids=[1])
    note(file, came(2, "carol", kind=EDIT, about=about, revision=1, body=b"better"))
    assert [body for *_, body in lines(file)] == [b"bob 1", b"better"]
    note(file, came(3, "carol", kind=ERASE, about=about, body=b""), came(9, "bob", OTHER, kind=ERASE, about=about))
    assert [body for *_, body in lines(file)] == [b"bob 1", b""]
    assert [line.erased_by for line in history(file).entries()] == ["", "carol"]


def test_nobody_reads_by_message_in_a_group(file: SqliteJournal) -> None:
    note(file, came(1), came(5, "alice", kind=READ, body=b"", about=About(from_device="d1", stream=BIG, ids=[1])))
    assert [line.state for line in history(file).entries()] == [State.QUEUED]
    file.note([Hint(kind=Hint.MARK_RAISED, group=GROUP, stamp=1 << 20)])
    file.commit()
    assert [line.state for line in history(file).entries()] == [State.READ]


def test_a_page_of_a_group_and_what_comes_live_are_one_set(file: SqliteJournal) -> None:
    note(file, came(2))
    page = [PagedLine((author, "d1", BIG, number), number << 20, int(TEXT), b"page") for author, number in PAGE]
    history(file).pages.put(GROUP, page, 0, 0)
    file.commit()
    note(file, came(1, "carol"), came(3))
    assert [(author, body) for _, author, _, body in lines(file)] == [
        ("bob", b"page"),
        ("bob", b"page"),
        ("carol", b"page"),
        ("", b"page"),
        ("bob", b"bob 3"),
    ]
    assert file.paged(("bob", f"d1{GROUP}", BIG, 1))
    assert file.paged(("carol", f"d1{GROUP}", BIG, 1))
    assert file.paged(("alice", f"a2{GROUP}", BIG, 1)) is False
    for name in (("carol", f"d1{GROUP}", BIG, 2), ("bob", f"d1{OTHER}", BIG, 1), ("bob", "d1", BIG, 1)):
        assert not file.paged(name)
    file.again(came(1, stamp=7))
    file.commit()
    assert min(line.stamp for line in history(file).entries()) == 7


PAGE = [("bob", 2), ("bob", 1), ("carol", 1), ("alice", 4)]


def test_where_something_was_skipped(file: SqliteJournal) -> None:
    note(file, came(1), came(9), came(4, "carol"), came(2, dest="alice"), came(8, dest="alice"))
    around = history(file).around
    assert around(Skipped("bob", f"d1{GROUP}", BIG, 2, 8)) == (GROUP, 1 << 20, 9 << 20)
    assert around(Skipped("carol", f"d1{GROUP}", BIG, 1, 3)) == (GROUP, 0, 4 << 20)
    assert around(Skipped("bob", "d1", BIG, 3, 7)) == ("bob", 2 << 20, 8 << 20)
    assert around(Skipped("bob", f"d1{OTHER}", BIG, 3, 7)) is None
