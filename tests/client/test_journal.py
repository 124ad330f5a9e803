"""Both journals against one contract; the file against crashes, and everything that can be wrong with it."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client import schema
from client.core import ClientCore
from client.history import History, HistoryEntry
from client.journal import ClientJournal, MemoryJournal, SqliteJournal, message_name
from client.messages import State
from client.state import Delivered, Kept, Refused, Settled
from protocol.errors import ConfigError, StateError
from protocol.inbound import InboundStream, Shown
from protocol.outbound import OutboundStream, Outgoing
from protocol.sparrow_pb2 import READ, TEXT, About, Message

Reopen = Callable[[ClientJournal], ClientJournal]
BIG = 2**64 - 1


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ClientJournal]:
    made: ClientJournal = MemoryJournal() if request.param == "memory" else SqliteJournal(tmp_path / "state.db", 10)
    yield made
    made.close()


def reopened(journal: ClientJournal, tmp_path: Path) -> ClientJournal:
    """The same after a restart; memory has none."""
    if isinstance(journal, SqliteJournal):
        journal.close()
        return SqliteJournal(tmp_path / "state.db", 10)
    return journal


def text(number: int, stream: int = BIG, from_id: str = "bob", body: bytes = b"hi") -> Message:
    return Message(
        stream=stream, id=number, settled=1, from_id=from_id, from_device="b1", dest_id="alice", kind=TEXT, body=body
    )


def sent(stream: OutboundStream, number: int, body: bytes = b"hi", draft: int = 0) -> Outgoing:
    return Outgoing(stream.dest, int(TEXT), body, None, stream, number, draft)


def content(message: Outgoing) -> object:
    return message.id, message.kind, message.body, message.about, message.dest


def contents(kept: Kept) -> object:
    """A `Kept` as something to compare."""
    return (
        kept.session,
        kept.session_open,
        [
            (
                s.number,
                s.dest,
                s.next_id,
                s.retired,
                [(m.id, m.kind, m.body, m.about, m.dest) for m in s.messages.values()],
            )
            for s in kept.outbound
        ],
        [(d.draft, d.dest, d.kind, d.body, d.about) for d in kept.drafts],
        {key: (state.next, state.settled, state.gaps) for key, state in kept.inbound.items()},
        sorted((message_name(m), m.SerializeToString(deterministic=True)) for m in kept.parked),
    )


# The contract.


def test_a_new_journal_is_empty(journal: ClientJournal) -> None:
    assert contents(journal.load()) == contents(Kept())
    assert journal.untaken() == []
    assert journal.value("token") is None


def test_nothing_counts_before_commit(journal: ClientJournal, tmp_path: Path) -> None:
    stream = OutboundStream(7, "bob", 2)
    journal.put_session(5, True)
    journal.put_outbound(stream)
    journal.put_outgoing(sent(stream, 1))
    journal.put_inbound(("bob", "b1", 9), InboundStream(3, 2, frozenset({1})))
    journal.park(text(5))
    journal.show(text(1), False)
    journal.put_value("token", "x")
    assert journal.value("token") is None
    journal = reopened(journal, tmp_path)
    assert contents(journal.load()) == contents(Kept())
    assert journal.untaken() == []
    journal.close()


def test_everything_is_there_after_commit(journal: ClientJournal, tmp_path: Path) -> None:
    stream, other = OutboundStream(BIG, "bob", 3), OutboundStream(1, "carol", 1, retired=True)
    about = About(from_device="b1", stream=BIG, ids=[1, BIG])
    read = Outgoing("bob", int(READ), b"", about, stream, 2)
    draft = Outgoing("dave", int(TEXT), b"\x00\xff", None, draft=4)
    inbound: InboundStream[Message] = InboundStream(BIG, BIG - 1, frozenset({1, BIG - 2}))
    journal.put_session(BIG, True)
    for each in (stream, other):
        journal.put_outbound(each)
    journal.put_outgoing(sent(stream, 1))
    journal.put_outgoing(read)
    journal.put_outgoing(draft)
    journal.put_inbound(("bob", "b1", BIG), inbound)
    journal.park(text(BIG))
    journal.show(text(1), True)
    journal.put_value("token", "x")
    journal.commit()
    journal = reopened(journal, tmp_path)
    kept = journal.load()
    stream.messages = {1: sent(stream, 1), 2: read}
    expected = Kept(BIG, True, [stream, other], [draft], parked=[text(BIG)])
    expected.inbound = {("bob", "b1", BIG): inbound}  # type: ignore[dict-item]
    assert contents(kept) == contents(expected)
    assert all(m.stream is kept.outbound[0] for m in kept.outbound[0].messages.values())
    assert [(each.message, each.late) for each in journal.untaken()] == [(text(1), True)]
    assert journal.value("token") == "x"
    journal.close()


def test_a_number_replaces_the_draft_and_settling_removes_it(journal: ClientJournal) -> None:
    draft = Outgoing("bob", int(TEXT), b"one", None, draft=1)
    journal.put_outgoing(draft)
    journal.commit()
    stream = OutboundStream(7, "bob", 2)
    draft.stream, draft.id = stream, 1
    journal.put_outbound(stream)
    journal.put_outgoing(draft)
    journal.commit()
    kept = journal.load()
    assert kept.drafts == []
    assert [message.body for message in kept.outbound[0].messages.values()] == [b"one"]
    journal.drop_outgoing(draft)
    journal.commit()
    assert journal.load().outbound[0].messages == {}
    journal.drop_outbound(stream)
    journal.commit()
    assert journal.load().outbound == []


def test_streams_and_messages_come_back_in_their_order(journal: ClientJournal) -> None:
    numbers = [9, 2, BIG, 5]
    for number in numbers:
        stream = OutboundStream(number, "bob", 4)
        journal.put_outbound(stream)
        for message_id in (1, 2, 3):
            journal.put_outgoing(sent(stream, message_id))
    journal.put_outbound(OutboundStream(2, "bob", 9, True))  # again, changed: keeps its place
    journal.commit()
    kept = journal.load()
    assert [stream.number for stream in kept.outbound] == numbers
    assert [list(stream.messages) for stream in kept.outbound] == [[1, 2, 3]] * 4
    assert (kept.outbound[1].next_id, kept.outbound[1].retired) == (9, True)


def test_showing_what_was_parked(journal: ClientJournal) -> None:
    journal.park(text(2))
    journal.park(text(3))
    journal.commit()
    journal.show(text(1), False)
    journal.show(text(2), False)
    journal.commit()
    assert journal.load().parked == [text(3)]
    assert [each.message.id for each in journal.untaken()] == [1, 2]
    journal.taken(text(1))
    assert [each.message.id for each in journal.untaken()] == [1, 2]
    journal.commit()
    assert [each.message.id for each in journal.untaken()] == [2]


# Against a model: what is committed is what `MemoryJournal` says.

_streams = st.sampled_from([1, 2, BIG])
_ids = st.integers(1, 4)
_steps = st.one_of(
    st.tuples(st.just("session"), st.integers(0, BIG), st.booleans()),
    st.tuples(st.just("outbound"), _streams, st.integers(1, 9), st.booleans()),
    st.tuples(st.just("drop_outbound"), _streams),
    st.tuples(st.just("draft"), _ids, st.binary(max_size=3)),
    st.tuples(st.just("outgoing"), _streams, _ids, _ids, st.binary(max_size=3)),
    st.tuples(st.just("drop_outgoing"), _streams, _ids),
    st.tuples(st.just("inbound"), _streams, st.integers(1, BIG), st.frozensets(st.integers(1, BIG), max_size=3)),
    st.tuples(st.just("park"), _ids),
    st.tuples(st.just("show"), _ids, st.booleans()),
    st.tuples(st.just("taken"), _ids),
    st.tuples(st.just("value"), st.text(max_size=3)),
    st.tuples(st.just("commit")),
    st.tuples(st.just("restart")),
)


def apply(journal: ClientJournal, step: tuple[object, ...], made: set[int]) -> None:
    name, *arguments = step
    a: list[object] = arguments
    if name == "session":
        journal.put_session(a[0], a[1])  # type: ignore[arg-type]
    elif name == "outbound":
        journal.put_outbound(OutboundStream(a[0], "bob", a[1], a[2]))  # type: ignore[arg-type]
    elif name == "drop_outbound":
        journal.drop_outbound(OutboundStream(a[0], "bob"))  # type: ignore[arg-type]
    elif name == "draft":
        journal.put_outgoing(Outgoing("bob", 1, a[1], draft=a[0]))  # type: ignore[arg-type]
    elif name == "outgoing" and a[0] in made:
        stream = OutboundStream(a[0], "bob")
        journal.put_outgoing(Outgoing("bob", 1, a[3], None, stream, a[1], a[2]))  # type: ignore[arg-type]
    elif name == "drop_outgoing":
        journal.drop_outgoing(sent(OutboundStream(a[0], "bob"), a[1]))  # type: ignore[arg-type]
    elif name == "inbound":
        journal.put_inbound(("bob", "b1", a[0]), InboundStream(a[1], 1, a[2]))  # type: ignore[arg-type]
    elif name == "park":
        journal.park(text(a[0]))  # type: ignore[arg-type]
    elif name == "show":
        journal.show(text(a[0]), a[1])  # type: ignore[arg-type]
    elif name == "taken":
        journal.taken(text(a[0]))  # type: ignore[arg-type]
    elif name == "value":
        journal.put_value("key", a[0])  # type: ignore[arg-type]
    elif name == "commit":
        journal.commit()


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(_steps, max_size=40))
def test_the_file_agrees_with_memory(steps: list[tuple[object, ...]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("model") / "state.db"
    model, journal = MemoryJournal(), SqliteJournal(path)
    pending: set[int] = set()
    made: set[int] = set()
    for step in steps:
        if step[0] == "restart":
            journal.close()
            journal = SqliteJournal(path)
            pending = set(made)
            model.load()  # forgets what was not committed
        if step[0] == "outbound":
            pending.add(step[1])  # type: ignore[arg-type]
        if step[0] == "drop_outbound":
            pending.discard(step[1])
        if step[0] == "commit":
            made = set(pending)
        for each in (model, journal):
            apply(each, step, pending)
    model.load()
    journal.close()
    journal = SqliteJournal(path)
    assert contents(journal.load()) == contents(model.load())
    assert {(message_name(u.message), u.late) for u in journal.untaken()} == {
        (message_name(u.message), u.late) for u in model.untaken()
    }
    assert journal.value("key") == model.value("key")
    journal.close()


def test_a_core_goes_on_from_it(journal: ClientJournal, tmp_path: Path) -> None:
    core = ClientCore(journal, lambda: 7)
    core.send("bob", int(TEXT), b"one")
    core.send("bob", int(TEXT), b"two")
    core.flush()
    journal = reopened(journal, tmp_path)
    again = ClientCore(journal, lambda: 7)
    assert again.unsettled == 2
    assert [draft.body for draft in journal.load().drafts] == [b"one", b"two"]
    journal.close()


# Crashes.

_WRITER = """
import sys
from protocol.inbound import InboundStream
from protocol.sparrow_pb2 import Message
from client.journal import SqliteJournal

journal = SqliteJournal(sys.argv[1])
for number in range(1, 100_000):
    journal.show(Message(stream=1, id=number, settled=1, from_id="bob", from_device="b1"), False)
    journal.put_inbound(("bob", "b1", 1), InboundStream(number + 1))
    journal.commit()
    journal.show(Message(stream=2, id=number, from_id="bob", from_device="b1"), False)  # never committed alone
    print(number, flush=True)
"""


@pytest.mark.parametrize("after", [1, 7, 40])
def test_what_was_committed_survives_kill(tmp_path: Path, after: int) -> None:
    path = tmp_path / "state.db"
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= after:
                break
        os.kill(writer.pid, signal.SIGKILL)
        last = max([int(line) for line in writer.stdout.read().split()], default=after)
    journal = SqliteJournal(path)
    shown = [each.message for each in journal.untaken()]
    numbers = [message.id for message in shown if message.stream == 1]
    assert numbers[: last + 1] == list(range(1, len(numbers) + 1))
    assert len(numbers) in (last, last + 1)
    assert journal.load().inbound["bob", "b1", 1].next == numbers[-1] + 1
    assert len([message for message in shown if message.stream == 2]) == len(numbers) - 1
    journal.close()


# Files that cannot be used.


def test_two_at_once(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    first = SqliteJournal(path)
    with pytest.raises(ConfigError, match="in use by another client"):
        SqliteJournal(path)
    script = f"from client.journal import SqliteJournal; SqliteJournal({str(path)!r})"
    second = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "in use by another client" in second.stderr
    first.close()
    SqliteJournal(path).close()


def test_a_file_of_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    SqliteJournal(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    with pytest.raises(ConfigError, match="newer Sparrow"):
        SqliteJournal(path)


def test_a_file_of_an_older_version_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.db"
    journal = SqliteJournal(path)
    journal.put_session(7, False)
    journal.commit()
    journal.close()
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, "CREATE TABLE later (name TEXT);\n"))
    monkeypatch.setattr(schema, "VERSION", len(schema.STEPS))
    for _ in range(2):
        journal = SqliteJournal(path)
        assert journal.load().session == 7
        assert journal._query("SELECT count(*) FROM later") == [(0,)]
        journal.put_session(8, True)
        journal.commit()
        assert journal.load().session == 8
        journal.put_session(7, False)
        journal.commit()
        journal.close()
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="newer Sparrow"):
        SqliteJournal(path)


def test_another_programs_file(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    with pytest.raises(ConfigError, match="another program's"):
        SqliteJournal(path)


def test_no_database_at_all(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(ConfigError, match="is damaged"):
        SqliteJournal(path)
    with pytest.raises(ConfigError, match="cannot be opened"):
        SqliteJournal(tmp_path)
    with pytest.raises(ConfigError, match="cannot be opened"):
        SqliteJournal(path / "below")


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    journal = SqliteJournal(path)
    for number in range(1, 200):
        journal.show(text(number, body=os.urandom(500)), False)
    journal.commit()
    journal.close()
    content = bytearray(path.read_bytes())
    content[8192:40000] = os.urandom(40000 - 8192)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is damaged"):
        SqliteJournal(path).load()


def test_contents_that_make_no_sense(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    for statement in (
        "INSERT INTO parked VALUES ('bob', 'b1', 1, 1, x'ffff')",
        "INSERT INTO outgoing (stream, id, kind, body) VALUES (99, 1, 1, x'')",
        "INSERT INTO inbound VALUES ('bob', 'b1', 1, 1, 1, 'some')",
    ):
        SqliteJournal(path).close()
        with sqlite3.connect(path) as connection:
            connection.execute(statement)
        connection.close()
        journal = SqliteJournal(path)
        with pytest.raises(ConfigError, match="is damaged"):
            journal.load()
        journal.close()
        path.unlink()
    journal = SqliteJournal(path)
    journal.close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO untaken (from_id, from_device, stream, id, late, message) VALUES ('b', 'b', 1, 1, 0, x'ff')"
        )
    connection.close()
    journal = SqliteJournal(path)
    with pytest.raises(ConfigError, match="is damaged"):
        journal.untaken()
    journal.close()


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    journal = SqliteJournal(path)
    journal.show(text(1), False)
    journal.commit()
    journal._connection.execute("PRAGMA max_page_count = 1")
    for number in range(2, 200):
        journal.show(text(number, body=bytes(10_000)), False)
    with pytest.raises(StateError, match="the disk is full"):
        journal.commit()
    journal.close()
    journal = SqliteJournal(path)
    assert [each.message.id for each in journal.untaken()] == [1]
    journal.close()


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "sparrow" / "state.db"
    journal = SqliteJournal(path)
    journal.put_value("token", "secret")
    journal.commit()
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0
    journal.close()


# History.


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteJournal]:
    made = SqliteJournal(tmp_path / "state.db", history=10)
    assert made.history is not None
    made.history.user = "alice"
    yield made
    made.close()


def history(journal: SqliteJournal) -> History:
    assert journal.history is not None
    return journal.history


def entries(journal: SqliteJournal) -> list[HistoryEntry]:
    journal.commit()
    return history(journal).entries()


def test_history_of_a_message_of_ours(file: SqliteJournal) -> None:
    outgoing = Outgoing("bob", int(TEXT), b"hello", None, draft=1)
    file.put_outgoing(outgoing)
    (entry,) = entries(file)
    assert (entry.mine, entry.peer, entry.id, entry.draft, entry.state) == (True, "bob", 0, 1, State.QUEUED)
    outgoing.stream, outgoing.id = OutboundStream(BIG, "bob", 2), 1
    file.put_outgoing(outgoing)
    file.put_outgoing(outgoing)
    (entry,) = entries(file)
    assert (entry.stream, entry.id, entry.draft) == (BIG, 1, 0)
    assert history(file).note([Settled(outgoing, 5 << 20, False)])
    (entry,) = entries(file)
    assert (entry.state, entry.stamp, entry.at_ms) == (State.SENT, 5 << 20, 5)
    history(file).note([Delivered("a1", BIG, (1, 7))])
    assert entries(file)[0].state == State.DELIVERED
    read = Message(from_id="carol", dest_id="alice", kind=READ, about=About(from_device="a1", stream=BIG, ids=[1]))
    history(file).note([Shown(read, False)])
    assert entries(file)[0].state == State.DELIVERED  # not carol's to say
    read.from_id = "bob"
    history(file).note([Shown(read, False), Delivered("a1", BIG, (1,))])
    assert entries(file)[0].state == State.READ


def test_history_of_a_failure(file: SqliteJournal) -> None:
    stream = OutboundStream(7, "bob", 2)
    file.put_outgoing(sent(stream, 1))
    history(file).note([Refused(sent(stream, 1), 1, "later", False)])
    assert entries(file)[0].state == State.QUEUED
    history(file).note([Refused(sent(stream, 1), 1, "there is no such user", True)])
    assert (entries(file)[0].state, entries(file)[0].note) == (State.FAILED, "there is no such user")


def test_history_of_others(file: SqliteJournal) -> None:
    history(file).note([Shown(text(1), False), Shown(text(2), True)])
    first, second = entries(file)
    assert (first.mine, first.peer, first.device, first.stream, first.id) == (False, "bob", "b1", BIG, 1)
    assert (first.late, second.late, first.state) == (False, True, State.QUEUED)
    about = About(from_device="b1", stream=BIG, ids=[1])
    file.put_outgoing(Outgoing("bob", int(READ), b"", about, OutboundStream(1, "bob", 2), 1))
    assert [entry.state for entry in entries(file)] == [State.READ, State.QUEUED]
    elsewhere = Message(from_id="alice", from_device="a2", dest_id="bob", kind=READ, about=about)
    elsewhere.about.ids[:] = [2]
    history(file).note([Shown(elsewhere, False)])
    assert [entry.state for entry in entries(file)] == [State.READ, State.READ]


def test_history_of_another_device_of_ours(file: SqliteJournal) -> None:
    # Its DELIVERED and READ overtake the copy.
    read = Message(from_id="bob", dest_id="alice", kind=READ, about=About(from_device="a2", stream=3, ids=[1]))
    history(file).note([Delivered("a2", 3, (1, 2)), Shown(read, False)])
    for number in (1, 2, 3):
        copy = Message(stream=3, id=number, from_id="alice", from_device="a2", dest_id="bob", kind=TEXT, body=b"x")
        history(file).note([Shown(copy, False)])
    assert [(entry.mine, entry.peer, entry.device) for entry in entries(file)] == [(True, "bob", "a2")] * 3
    assert [entry.state for entry in entries(file)] == [State.READ, State.DELIVERED, State.QUEUED]


def test_history_is_bounded(file: SqliteJournal) -> None:
    for number in range(1, 100):
        history(file).note([Shown(text(number), False), Delivered("a1", number, tuple(range(20)))])
        read_by_us(file, number)
    assert [entry.id for entry in entries(file)] == list(range(90, 100))
    assert file._query("SELECT count(*) FROM marks") == [(40,)]
    assert not history(file).note([])


def read_by_us(file: SqliteJournal, number: int, author: str = "bob") -> None:
    about = About(from_device="b1", stream=BIG, ids=[number])
    file.put_outgoing(Outgoing(author, int(READ), b"", about, OutboundStream(1, author, 2), number))


def test_who_writes_much_erases_nobody_elses_history(file: SqliteJournal) -> None:
    stream = OutboundStream(5, "carol", 3)
    first, second = (Outgoing("carol", int(TEXT), b"x", None, stream, number, number) for number in (1, 2))
    file.put_outgoing(first)
    history(file).note([Settled(first, 1 << 20, True)])
    file.put_outgoing(second)
    for number in range(1, 4):
        history(file).note([Shown(text(number), False)])  # unread
    for number in range(4, 40):
        history(file).note([Shown(text(number), False)])
        read_by_us(file, number)
    found = entries(file)
    assert [entry.id for entry in found if entry.mine] == [1, 2]
    theirs = [entry.id for entry in found if not entry.mine]
    assert theirs == [1, 2, 3, *range(32, 40)]
    # Not even of the unread there is no end.
    for number in range(40, 300):
        history(file).note([Shown(text(number), False)])
    found = entries(file)
    assert [entry.id for entry in found if entry.mine] == [1, 2]
    assert [entry.id for entry in found if not entry.mine] == list(range(200, 300))


def test_who_tells_of_much_erases_nobody_elses_marks(file: SqliteJournal) -> None:
    history(file).note([Delivered("a2", 3, (1,))])
    for number in range(100):
        about = About(from_device="a2", stream=3, ids=range(number * 10 + 1, number * 10 + 11))
        history(file).note([Shown(Message(from_id="mallory", dest_id="alice", kind=READ, about=about), False)])
    copy = Message(stream=3, id=1, from_id="alice", from_device="a2", dest_id="bob", kind=TEXT, body=b"x")
    history(file).note([Shown(copy, False)])
    assert entries(file)[-1].state == State.DELIVERED
    assert file._query("SELECT count(*) FROM marks")[0][0] <= 50
