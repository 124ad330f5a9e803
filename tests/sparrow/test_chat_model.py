"""Where lines stand in a conversation, how far they have come; and what is taken out of texts."""

from argparse import Namespace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client import Edited, Erased, HistoryEntry, Message, NoSuchUserError, Progress, ReadElsewhere, Sending, State
from protocol.errors import ConfigError
from protocol.sparrow_pb2 import TEXT
from protocol.sparrow_pb2 import Message as Wire
from sparrow.chat.account import account_of, default_state
from sparrow.chat.conversation import MAX_LINES, MAX_UNREAD_LINES, SPARE_LINES
from sparrow.chat.marks import MAX_MARKS
from sparrow.chat.model import Model
from sparrow.chat.text import bare, clean, one_line, short, who


class Nobody:
    async def read(self, message: Message) -> None: ...

    def take(self, message: Message) -> None: ...


def message(number: int, stamp: int, *, stream: int = 9, late: bool = False, mine: bool = False) -> Message:
    wire = Wire(stream=stream, id=number, kind=TEXT, body=f"{stream}/{number}".encode(), stamp=stamp << 20)
    wire.from_id, wire.from_device, wire.dest_id = ("alice", "a2", "bob") if mine else ("bob", "b1", "alice")
    return Message(Nobody(), wire, late)


def sending(number: int, stamp: int = 0, stream: int = 5) -> Sending:
    made = Sending("bob", int(TEXT), f"me {number}".encode())
    made.stream, made.id, made.stamp = stream, number, stamp << 20
    return made


def shown(model: Model) -> list[str]:
    return [line.text for line in model.conversation("bob").lines]


def test_streams_are_merged_by_stamp() -> None:
    model = Model("alice")
    for number, stamp in ((1, 10), (2, 30), (3, 50)):
        model.received(message(number, stamp))
    for number, stamp in ((1, 20), (2, 40)):
        model.received(message(number, stamp, stream=8))
    model.own(message(1, 35, stream=7, mine=True))
    assert shown(model) == ["9/1", "8/1", "9/2", "7/1", "8/2", "9/3"]


def test_no_line_above_its_predecessor() -> None:
    model = Model("alice")
    model.received(message(1, 50))
    model.received(message(2, 10))  # by a clock that is behind
    model.received(message(1, 30, stream=8))
    assert shown(model) == ["8/1", "9/1", "9/2"]


def test_ours_stand_at_the_end_until_they_have_a_stamp() -> None:
    model = Model("alice")
    first, second = sending(1), sending(2)
    model.sent(first, 1)
    model.sent(second, 1)
    model.received(message(1, 10))
    assert shown(model) == ["9/1", "me 1", "me 2"]
    second.stamp, second.state = 5 << 20, State.SENT  # not above the first, which has none yet
    line = model.sending_changed(second)
    assert line is not None
    assert (line.state, line.at_ms) == (State.SENT, 5)
    assert shown(model) == ["9/1", "me 1", "me 2"]
    first.stamp, first.state = 4 << 20, State.SENT
    model.sending_changed(first)
    assert shown(model) == ["me 1", "me 2", "9/1"]
    assert model.sending_changed(sending(3)) is None


def test_a_late_one_stands_where_it_belongs() -> None:
    model = Model("alice")
    model.received(message(1, 10))
    model.received(message(3, 30))
    model.received(message(2, 20, late=True))
    assert shown(model) == ["9/1", "9/2", "9/3"]
    assert [line.late for line in model.conversation("bob").lines] == [False, True, False]


def test_a_failure_says_why() -> None:
    model = Model("alice")
    failing = sending(1)
    line = model.sent(failing, 7)
    failing.note = "the store is away"
    model.sending_changed(failing)
    assert line.note == "the store is away"
    failing.fail(NoSuchUserError("there is no such user"))
    model.sending_changed(failing)
    assert (line.note, line.state, line.is_unread) == ("there is no such user", State.FAILED, False)


def test_progress_of_another_device() -> None:
    model = Model("alice")
    # It overtakes the copy.
    assert model.progress(Progress("", "a2", 7, (1, 2), State.DELIVERED)) == []
    assert model.progress(Progress("bob", "a2", 7, (1,), State.READ)) == []
    assert model.progress(Progress("mallory", "a2", 7, (2,), State.READ)) == []
    first = model.own(message(1, 1, stream=7, mine=True))
    second = model.own(message(2, 2, stream=7, mine=True))
    third = model.own(message(3, 3, stream=7, mine=True))
    assert model.own(message(3, 3, stream=7, mine=True)) is third
    assert (first.state, third.state) == (State.READ, State.QUEUED)
    assert model.progress(Progress("mallory", "a2", 7, (2, 3), State.READ)) == []
    assert model.progress(Progress("bob", "a2", 7, (3, 1), State.READ)) == [third]
    assert model.progress(Progress("", "a2", 7, (3,), State.DELIVERED)) == []
    assert second.state != State.READ
    for number in range(2 * MAX_MARKS):
        model.progress(Progress("", "a2", 6, (number,), State.DELIVERED))
    assert len(model._marks) == MAX_MARKS


def test_reading() -> None:
    model = Model("alice")
    first, second = model.received(message(1, 1)), model.received(message(2, 2))
    assert first is not None
    assert second is not None
    assert model.received(message(2, 2)) is None
    assert model.conversation("bob").unread == [first, second]
    model.read_elsewhere(ReadElsewhere("bob", "b1", 9, (1, 7)))
    assert model.conversation("bob").unread == [second]
    assert second.mark_read()
    assert not second.mark_read()
    assert not first.mark_read()


def test_loading_what_was_kept() -> None:
    entries = [
        HistoryEntry(False, "bob", "b1", 9, 1, 0, 1, b"hi", 5 << 20, 5, True, State.READ, ""),
        HistoryEntry(True, "bob", "", 5, 1, 0, 1, b"settled", 6 << 20, 6, False, State.DELIVERED, ""),
        HistoryEntry(True, "bob", "", 5, 2, 0, 1, b"kept", 0, 7, False, State.QUEUED, ""),
        HistoryEntry(True, "bob", "", 0, 0, 3, 1, b"draft", 0, 8, False, State.QUEUED, ""),
        HistoryEntry(True, "bob", "", 5, 3, 0, 1, b"failed", 0, 2, False, State.FAILED, "why"),
        HistoryEntry(True, "carol", "a2", 4, 1, 0, 99, b"\x00", 9 << 20, 9, False, State.QUEUED, ""),
    ]
    kept, draft = sending(2), sending(0, stream=0)
    draft.draft = 3
    model = Model("alice")
    model.load(entries, [kept, draft, sending(77)])
    assert [conversation.peer for conversation in model.latest()] == ["carol", "bob"]
    lines = {line.text: line for line in model.conversation("bob").lines}
    assert lines["kept"].sending is kept
    assert lines["draft"].sending is draft
    assert (lines["failed"].state, lines["failed"].note) == (State.FAILED, "why")
    assert (lines["hi"].late, lines["hi"].is_unread) == (True, False)
    assert "cannot show" in model.conversation("carol").lines[0].text
    draft.stream, draft.id = 5, 4
    model.sending_changed(draft)
    assert model.progress(Progress("bob", "a1", 5, (4, 1), State.READ)) == [lines["draft"], lines["settled"]]


def test_a_conversation_is_bounded() -> None:
    model = Model("alice")
    count = MAX_LINES + SPARE_LINES + 1
    for number in range(1, count + 1):
        line = model.received(message(number, number))
        assert line is not None
        line.mark_read()
    assert len(model.conversation("bob").lines) == MAX_LINES
    assert shown(model)[-1] == f"9/{count}"
    assert len(model._others) == MAX_LINES


def test_what_is_unread_or_unsettled_stays() -> None:
    model = Model("alice")
    waiting = model.sent(sending(1), 1)
    unread = [model.received(message(number, number)) for number in range(1, 11)]
    assert waiting in model.conversation("bob").lines
    for number in range(11, MAX_LINES + 2 * SPARE_LINES):
        line = model.received(message(number, number))
        assert line is not None
        line.mark_read()
    lines = model.conversation("bob").lines
    assert waiting in lines
    assert all(line in lines for line in unread)
    assert len(lines) <= MAX_LINES + SPARE_LINES + 11
    # Whoever is not read writes no end of it.
    for number in range(1, MAX_UNREAD_LINES + 3 * MAX_LINES):
        model.received(message(number, number, stream=8))
    assert len(model.conversation("bob").lines) <= MAX_UNREAD_LINES + SPARE_LINES + 1
    assert waiting in model.conversation("bob").lines


def test_marks_of_one_are_not_lost_by_those_of_another() -> None:
    model = Model("alice")
    model.progress(Progress("", "a2", 7, (1,), State.DELIVERED))
    model.progress(Progress("bob", "a2", 7, (2,), State.READ))
    for number in range(3 * MAX_MARKS):
        model.progress(Progress("mallory", "a2", 7, (number,), State.READ))
    assert len(model._marks) == MAX_MARKS
    assert model.own(message(1, 1, stream=7, mine=True)).state == State.DELIVERED
    assert model.own(message(2, 2, stream=7, mine=True)).state == State.READ
    assert model.own(message(3, 3, stream=7, mine=True)).state == State.QUEUED


# Texts.


@settings(deadline=None)
@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    for char in clean(text):
        assert char >= " " or char == "\n"
        assert not 0x7F <= ord(char) < 0xA0
        assert char not in "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    assert all(char == "\n" or char >= " " for char in bare(text))
    assert "\n" not in one_line(text)
    assert len(short(text)) <= 60


def test_texts() -> None:
    assert clean("a\tb\r\nc\x1b[2J\u202e✓") == "a    b\nc�[2J✓"
    family, word = "👩\u200d👩\u200d👧", "می\u200cخواهم"
    assert clean(f"{family} {word}") == f"{family} {word}"
    assert (who("bob"), who("me"), who("--"), who("..")) == ("bob", "@me", "@--", "@..")
    assert clean("x" * 5000).endswith("… (1000 more characters)")
    assert one_line("a\\\nb") == "a\\\\\\nb"


# Accounts.


def options(**more: object) -> Namespace:
    values = {"user": "alice", "api": "http://127.0.0.1:7480", "state": None, "password_file": None, "register": False}
    return Namespace(**({"ca": None, "reset": False, "oidc": False} | values | more))


def test_where_state_is_kept(tmp_path: Path) -> None:
    home = {"HOME": "/home/alice"}
    for api, name in (
        ("http://127.0.0.1:7480", "alice@127.0.0.1.db"),
        ("https://chat.example.net", "alice@chat.example.net.db"),
        ("http://chat.example.net:7481", "alice@chat.example.net-7481.db"),
        ("http://[::1]:7480", "alice@--1.db"),
    ):
        assert default_state("alice", api, home) == Path("/home/alice/.local/state/sparrow") / name
    assert default_state("alice", "http://h", {"XDG_STATE_HOME": "/x"}) == Path("/x/sparrow/alice@h.db")
    assert default_state("alice", "http://h", {**home, "XDG_STATE_HOME": "x"}).parts[1] == "home"
    assert account_of(options(state=tmp_path / "s"), {}).state == tmp_path / "s"


def test_given_passwords(tmp_path: Path) -> None:
    assert account_of(options(), {}).password is None
    assert account_of(options(), {"SPARROW_PASSWORD": "x"}).password == "x"
    file = tmp_path / "password"
    file.write_text("first\nsecond\n")
    assert account_of(options(password_file=file), {"SPARROW_PASSWORD": "x"}).password == "first"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="it is not text"):
        account_of(options(password_file=file), {})


# What was said before, and what becomes of it.


def from_history(number: int, stamp: int, **more: object) -> Message:
    made = message(number, stamp, **more)  # type: ignore[arg-type]
    made.read = made.wire.from_id != "alice"
    return made


def test_older_lines_stand_where_they_belong_and_once() -> None:
    model = Model("alice")
    model.device = "a1"
    model.received(message(3, 30))
    assert model.older("bob", from_history(3, 30)) is None
    for number in (2, 1):
        line = model.older("bob", from_history(number, 10 * number))
        assert line is not None
        assert line.state == State.READ
    own = from_history(9, 15, mine=True)
    own.wire.from_device, own.state = "a1", State.DELIVERED
    line = model.older("bob", own)
    assert line is not None
    assert (line.device, line.state) == ("", State.DELIVERED)
    assert shown(model) == ["9/1", "9/9", "9/2", "9/3"]
    assert model.received(message(2, 20)) is None


def test_older_lines_are_not_cut_off() -> None:
    model = Model("alice")
    count = MAX_LINES + 2 * SPARE_LINES
    for number in range(count, 0, -1):
        model.older("bob", from_history(number, number))
    assert len(shown(model)) == count
    for number in range(count + 1, 2 * count):
        line = model.received(message(number, number))
        assert line is not None
        line.mark_read()
    assert len(shown(model)) <= MAX_LINES + count + SPARE_LINES


def test_lines_are_edited_and_erased() -> None:
    model = Model("alice")
    model.received(message(1, 10))
    model.own(message(2, 20, mine=True))
    edited = model.edited(Edited("bob", "bob", "b1", 9, 1, "better", 30 << 20))
    assert edited is not None
    assert (edited.text, edited.edited) == ("better", True)
    erased = model.erased(Erased("bob", "alice", "a2", 9, 2, "alice"))
    assert erased is not None
    assert shown(model) == ["better", "[erased]"]
    # Not here, in another conversation, and once more.
    assert model.edited(Edited("bob", "bob", "b1", 9, 7, "x", 0)) is None
    assert model.erased(Erased("carol", "alice", "a2", 9, 2, "alice")) is None
    assert model.edited(Edited("bob", "alice", "a2", 9, 2, "back?", 0)) is None
    assert model.erased(Erased("bob", "alice", "a2", 9, 2, "operator")) is None
    down = from_history(3, 30)
    down.erased_by = "operator"
    line = model.older("bob", down)
    assert line is not None
    assert line.text.startswith("[taken down")
    conversation = model.conversation("bob")
    assert conversation.ours(1) is None  # it is erased


def test_what_is_unread_as_the_server_counts_it() -> None:
    model = Model("alice")
    conversation = model.conversation("bob")
    conversation.told_unread = 5
    model.received(message(1, 10))
    assert (len(conversation.unread), conversation.unread_count) == (1, 6)
    model.read_up_to("bob", 10 << 20)
    assert conversation.unread_count == 0
    conversation.told_unread = 3
    model.read_elsewhere(ReadElsewhere("bob", "b1", 9, (1,)))
    assert conversation.unread_count == 0


def test_equal_stamps_stand_alike_on_both_sides() -> None:
    alice, bob = Model("alice"), Model("bob")
    alice.device, bob.device = "a1", "b1"
    theirs = message(1, 10)
    own = message(1, 10, stream=4, mine=True)
    alice.received(theirs)
    alice.own(own)
    bob.own(theirs)
    bob.conversation("alice")
    bob.received(own)
    assert [line.text for line in bob.conversation("alice").lines] == ["4/1", "9/1"]
    assert shown(alice) == ["4/1", "9/1"]
