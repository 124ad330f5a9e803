"""Who is typing, at the chat: in words, told once a while, and on two screens."""

from __future__ import annotations

import pytest

from client import Message, Signal, SignalKind
from protocol.errors import ClosedError
from protocol.sparrow_pb2 import TEXT
from protocol.sparrow_pb2 import Message as Wire
from sparrow.chat.conversation import Conversation
from sparrow.chat.model import Model
from sparrow.chat.typing import Typing
from tests.sparrow.stage import Stage
from tests.sparrow.test_chat_model import Nobody

GROUP = "~" + "a" * 24


class Now:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


class Said:
    """Stands for a `Client`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.said: list[str] = []
        self.error = error

    def typing(self, dest: str) -> None:
        self._say(f"+{dest}")

    def stopped_typing(self, dest: str) -> None:
        self._say(f"-{dest}")

    def _say(self, what: str) -> None:
        if self.error is not None:
            raise self.error
        self.said.append(what)


def conversation(peer: str = "bob") -> Conversation:
    return Model("alice").conversation(peer)


def signal(user: str, peer: str = "", kind: int = SignalKind.TYPING) -> Signal:
    return Signal(peer or user, user, "b1", kind, b"")


def test_in_words() -> None:
    now = Now()
    typing = Typing(now)
    assert typing.shown(None) == typing.shown(conversation()) == ""
    typing.told(signal("bob"))
    assert typing.shown(conversation()) == "bob is typing…"
    now.s += 7.0
    assert typing.shown(conversation()) == ""
    for user, shown in (
        ("bob", "bob is typing…"),
        ("me", "bob and @me are typing…"),
        ("carol", "3 people are typing…"),
    ):
        typing.told(signal(user, GROUP))
        assert typing.shown(conversation(GROUP)) == shown
    assert typing.shown(conversation()) == ""


def test_a_message_ends_it() -> None:
    typing = Typing(Now())
    for peer in ("bob", GROUP):
        typing.told(signal("bob", peer))
        wire = Wire(stream=9, id=1, kind=TEXT, from_id="bob", from_device="b1")
        wire.dest_id = "alice" if peer == "bob" else GROUP
        typing.wrote(Message(Nobody(), wire, False))
        assert typing.shown(conversation(peer)) == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("h", "+bob"),
        ("//x", "+bob"),
        ("@@x", "+bob"),
        ("/help", "-bob"),
        ("@carol", "-bob"),
        ("", "-bob"),
        ("  ", "-bob"),
    ],
)
def test_what_is_typed_to_somebody_is_told(line: str, said: str) -> None:
    client = Said()
    Typing().typed(client, conversation(), line)  # type: ignore[arg-type]
    assert client.said == [said]
    Typing().typed(client, None, line)  # type: ignore[arg-type]
    assert len(client.said) == 1


def test_a_client_that_has_ended_says_so_elsewhere() -> None:
    Typing().typed(Said(ClosedError("over")), conversation(), "h")  # type: ignore[arg-type]


def test_two_screens(stage: Stage) -> None:
    stage.node.start()
    alice, bob = stage.newcomer("alice"), stage.newcomer("bob")
    alice.type("@bob hello")
    bob.type("/to alice")
    bob.shows("alice: hello")
    alice.press("how are")
    bob.shows("alice is typing…")
    alice.type(" you?")
    bob.shows("alice: how are you?")
    bob.until(lambda screen: "is typing" not in "".join(screen.lines))
    bob.press("/he")
    bob.press("\x15fine")
    alice.shows("bob is typing…")
    bob.press("\x15")
    alice.until(lambda screen: "is typing" not in "".join(screen.lines))
