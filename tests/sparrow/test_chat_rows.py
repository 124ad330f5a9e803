"""A conversation on the screen: wrapped, leafed through, and only what is seen is made; and nothing raw without one."""

from __future__ import annotations

import pytest
from prompt_toolkit.utils import get_cwidth

from client import Disconnected, Message, Sending
from protocol.sparrow_pb2 import TEXT
from protocol.sparrow_pb2 import Message as Wire
from sparrow.chat import rows as module
from sparrow.chat.chat import Chat
from sparrow.chat.commands import obey
from sparrow.chat.model import Model
from sparrow.chat.plain import PlainView
from sparrow.chat.rows import MARGIN, Rows
from tests.sparrow.test_chat_model import Nobody

WIDTH, HEIGHT = 40, 10


def conversation(*texts: str) -> Rows:
    model, rows = Model("alice"), Rows()
    for number, text in enumerate(texts, 1):
        wire = Wire(stream=9, id=number, kind=TEXT, body=text.encode(), stamp=number << 20)
        wire.from_id, wire.from_device, wire.dest_id = "bob", "b1", "alice"
        model.received(Message(Nobody(), wire, False))
    rows.conversation = model.conversation("bob")
    return rows


def shown(rows: Rows) -> list[str]:
    content = rows.create_content(WIDTH, HEIGHT)
    return ["".join(text for _, text, *_ in content.get_line(at)) for at in range(content.line_count)]


def numbers(rows: Rows) -> list[int]:
    return [int(row.rpartition(": ")[2]) for row in shown(rows) if ": " in row]


def test_only_what_is_seen_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = conversation(*(f"{number} " + "x" * 60_000 for number in range(300)))
    made = []
    monkeypatch.setattr(module, "clean", lambda text: made.append(text) or text[:4000])
    assert len(shown(rows)) == HEIGHT
    assert len(made) == 1  # the last one is longer than the screen
    for _ in range(3):
        shown(rows)
    assert len(made) == 1  # a key makes nothing anew
    rows.up()
    assert len(made) == 1


def test_leafing() -> None:
    rows = conversation(*map(str, range(50)))
    assert (numbers(rows), rows.leafing) == (list(range(40, 50)), False)
    rows.up()
    assert (numbers(rows), rows.leafing) == (list(range(32, 42)), True)
    for _ in range(10):
        rows.up()
    assert numbers(rows) == list(range(9))  # and the day above them
    rows.down()
    assert numbers(rows) == list(range(8, 18))
    for _ in range(10):
        rows.down()
    assert (numbers(rows), rows.leafing) == (list(range(40, 50)), False)
    # What is new does not move what somebody reads.
    rows.up()
    assert rows.conversation is not None
    rows.conversation.lines.append(rows.conversation.lines[0])
    assert numbers(rows) == list(range(32, 42))
    rows.to_end()
    assert not rows.leafing
    short = conversation("1")
    short.up()
    assert not short.leafing
    nothing = Rows()
    nothing.up()
    nothing.down()
    assert shown(nothing)[0].startswith("Nobody to talk to yet")


def test_every_row_of_a_long_message_can_be_seen() -> None:
    text = " ".join(f"w{number:03}" for number in range(200))
    rows, seen = conversation("first", text, "last"), set()
    for _ in range(20):
        seen |= set(shown(rows))
        rows.up()
    whole = conversation("first", text, "last").create_content(WIDTH, 1000)
    assert whole.line_count > 3 * HEIGHT
    assert seen == {"".join(text for _, text, *_ in whole.get_line(at)) for at in range(whole.line_count)}


@pytest.mark.parametrize(
    "text", ["x" * 500, "字" * 300, "a\nb\n\nc", "👩\u200d👩\u200d👧" * 50, "می\u200cخواهم " * 30, ""]
)
def test_rows_fit(text: str) -> None:
    rows = shown(conversation(text))
    assert all(sum(map(get_cwidth, row)) <= WIDTH for row in rows)
    whole = "".join(row.removeprefix(MARGIN) for row in rows)
    assert text.replace("\n", "")[-20:] in whole
    assert all(row.startswith(MARGIN) for row in rows[2:])


def test_nothing_is_printed_raw(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView()
    chat = view._chat = Chat("alice", view, obey)
    chat._client = object()  # type: ignore[assignment]
    evil = "a\x1b[2J\x9b\u202e\u2028b\x07"
    chat.happened(Disconnected(evil, 1.0))
    sending = Sending("--", int(TEXT), evil.encode())
    line = chat.model.sent(sending, 1)
    view.added(line)
    line.note = evil
    view.changed(line)
    view.notice(evil)
    said = capsys.readouterr().out
    assert not set(said) & set("\x1b\x9b\u202e\u2028\x07")
    assert "me to @--: a�[2J��b�" in said
    assert sum(row.startswith("-- ") for row in said.splitlines()) >= 3
