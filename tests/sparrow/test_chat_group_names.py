"""How groups are written in a chat, where their changes stand, and what is said when older messages were skipped."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from client import GroupChange, GroupChanged, GroupLeft, Hint, HintKind, Invitation, Message, MyGroup
from protocol.errors import GroupsNotOfferedError, MisuseError, UnreachableError
from protocol.sparrow_pb2 import TEXT
from protocol.sparrow_pb2 import Message as Wire
from sparrow.chat.chat import Chat
from sparrow.chat.commands import obey
from sparrow.chat.completion import LineCompleter
from sparrow.chat.conversation import OUT
from sparrow.chat.group_commands import GROUP_COMMANDS
from sparrow.chat.groups import Groups, change_text
from sparrow.chat.model import Model
from sparrow.chat.news import News
from sparrow.chat.past import Past
from tests.sparrow.test_chat_model import Nobody

ONE, TWO, THREE = ("~" + letter * 24 for letter in "abc")


def known(**names: str) -> Groups:
    groups = Groups()
    by_name = {"one": ONE, "two": TWO, "three": THREE}
    groups.listed([MyGroup(by_name[key], 1, name, "", "member", None) for key, name in names.items()])
    return groups


# Labels.


def test_a_label_is_one_groups() -> None:
    groups = known(one="Hiking", two="hiking", three="~aaaaaaaa")
    assert groups.label(ONE) == "~Hiking~aaaa"
    assert groups.label(TWO) == "~hiking~bbbb"
    assert groups.find("~HIKING~BBBB") == TWO
    with pytest.raises(MisuseError, match="which one\\? ~Hiking~aaaa, ~hiking~bbbb"):
        groups.find("~hik")
    groups.renamed(TWO, "Cooking")
    assert (groups.label(ONE), groups.find("~c")) == ("~Hiking", TWO)
    with pytest.raises(MisuseError, match="you know no group ~cooking ; /group lists yours"):
        groups.find("~cooking ")


def test_who_takes_the_name_of_another_groups_label_does_not_get_it() -> None:
    groups = known(one="", two="aaaaaaaa")
    labels = {groups.label(ONE), groups.label(TWO)}
    assert len(labels) == 2
    assert {groups.find(label) for label in labels} == {ONE, TWO}
    groups = known(one="A", two="a", three="A~aaaa")
    assert len({groups.label(each).casefold() for each in (ONE, TWO, THREE)}) == 3


def test_a_name_is_cleaned_and_short() -> None:
    groups = known(one="\n\x1b[2J‮x" + "y" * 100)
    assert groups.label(ONE).startswith("~�[2Jxy")
    assert groups.label(ONE).isprintable()
    assert len(groups.label(ONE)) <= 31


def test_a_user_is_never_a_group() -> None:
    groups = known(one="bob", two="The Choir")
    assert groups.find_any("bob") == "bob"
    assert groups.find_any("~bob") == ONE
    assert groups.find_any("the choir") == TWO  # can be no user's name
    with pytest.raises(MisuseError, match="use 1 to 64 of a-z"):
        groups.find_any("Nobody Here")


def test_a_name_with_spaces_and_what_is_said_there() -> None:
    groups = known(one="The", two="The Choir")
    assert groups.split("~the choir  sings well") == ("~the choir", "sings well")
    assert groups.split("~the choirs") == ("~the", "choirs")
    assert groups.split("bob hello there") == ("bob", "hello there")
    assert groups.split("~THE") == ("~THE", "")


def test_one_that_was_left_keeps_its_name() -> None:
    groups = known(one="Hiking")
    groups.left(ONE)
    groups.listed([MyGroup(ONE, 0, "", "", None, 5)])
    assert (groups.label(ONE), groups.role(ONE), groups.mine()) == ("~Hiking", None, {})


def test_an_invitation_is_told_once_and_named_by_its_group() -> None:
    groups = Groups()
    one, two = (Invitation(group, name, "bob", 2, 1) for group, name in ((ONE, "Hiking"), (TWO, "Hiking")))
    with pytest.raises(MisuseError, match="nobody asks"):
        groups.invitation("")
    assert groups.invited([one]) == [
        f"bob asks you to be in ~Hiking (2 members): /group accept {ONE} or /group decline {ONE}"
    ]
    assert groups.invited([one]) == []
    assert (groups.invitation(""), groups.invitation("hiking"), groups.invitation(ONE)) == (ONE, ONE, ONE)
    groups.invited([one, two])
    for text in ("", "~Hiking", "~nothing"):
        with pytest.raises(MisuseError, match=r"which one\? ~a+, ~b+"):
            groups.invitation(text)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("alice", "made", "alice", "Hi"), "you made the group Hi"),
        (("bob", "added", "alice", None), "bob added you"),
        (("bob", "joined", "bob", None), "bob joined"),
        (("bob", "left", "bob", None), "bob left"),
        (("bob", "removed", "carol", None), "bob removed carol"),
        (("bob", "role", "carol", "owner"), "bob made carol owner"),
        (("bob", "picture", None, "f1"), "bob changed the picture"),
        (("bob", "picture", None, None), "bob took away the picture"),
        (("bob", "settings", None, "who_may_write=admins"), "bob set who-may-write admins"),
        (("", "closed", None, None), "the service closed the group"),
        (("system", "renamed", None, "a\nb"), "@system called the group a\\nb"),
        (("bob", "something of later", None, None), "bob changed the group (something of later)"),
    ],
)
def test_a_change_in_words(change: tuple[Any, ...], text: str) -> None:
    actor, kind, user, value = change
    assert change_text(GroupChange(1, 1, actor, kind, user, value), "alice") == text


# Lines.


def in_group(number: int, stamp: int, version: int, sender: str = "bob") -> Message:
    wire = Wire(stream=9, id=number, kind=TEXT, body=f"{sender} {number}".encode(), stamp=stamp << 20, version=version)
    wire.from_id, wire.from_device, wire.dest_id = sender, "b1", ONE
    return Message(Nobody(), wire, False)


def shown(model: Model) -> list[str]:
    return [line.text for line in model.conversation(ONE).lines]


def test_a_change_stands_before_what_was_written_behind_it_whatever_the_clocks_say() -> None:
    model = Model("alice")
    model.changed(ONE, 1, "made", 10)
    model.received(in_group(1, 20, 1))
    model.changed(ONE, 2, "carol came", 90)  # by a clock that is ahead
    model.changed(ONE, 3, "dave came", 80)
    model.received(in_group(2, 30, 2))
    model.received(in_group(3, 40, 3))
    assert shown(model) == ["made", "bob 1", "carol came", "bob 2", "dave came", "bob 3"]
    assert model.changed(ONE, 2, "carol came", 90) is None
    assert model.conversation(ONE).unread_count == 3


def test_the_same_stream_number_of_two_authors_is_two_streams() -> None:
    model = Model("alice")
    model.received(in_group(1, 50, 1))
    model.received(in_group(1, 20, 1, "carol"))
    model.received(in_group(2, 30, 1, "carol"))
    model.received(in_group(2, 60, 1, "carol"))  # a repeat
    assert shown(model) == ["carol 1", "carol 2", "bob 1"]


def test_who_is_out_and_back_in_again() -> None:
    model = Model("alice")
    model.received(in_group(1, 50, 1))
    model.changed(ONE, OUT, "out", 20)  # our clock is behind
    assert shown(model) == ["bob 1", "out"]
    assert model.changed(ONE, OUT, "out", 20) is None
    model.changed(ONE, 5, "you joined", 60)
    model.changed(ONE, OUT, "out again", 70)
    assert shown(model) == ["bob 1", "out", "you joined", "out again"]


# The chat.


class View:
    """Remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.lines: list[str] = []

    def notice(self, text: str) -> None:
        self.said.append(text)

    def added(self, line: Any) -> None:
        self.lines.append(line.text)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class NoGroups:
    """A service of 0.1."""

    async def list(self) -> None:
        raise GroupsNotOfferedError("this service knows no groups: it is an older release")


class Unreachable:
    """A user API that answers the third time: a server that was killed takes connections before."""

    def __init__(self) -> None:
        self.asked = 0

    async def list(self) -> list[object]:
        self.asked += 1
        if self.asked < 3:
            raise UnreachableError("nothing answers there")
        return []

    friends = requests = invitations = list


class OldClient:
    """At one."""

    device = "a1"
    groups = NoGroups()
    contacts = Unreachable()


class DownClient:
    """Just connected."""

    device = "a1"

    def __init__(self) -> None:
        self.groups, self.contacts, self.conversations = Unreachable(), Unreachable(), Unreachable()


async def test_an_older_service_knows_no_groups() -> None:
    view = View()
    chat = Chat("alice", view, obey)  # type: ignore[arg-type]
    chat._client = OldClient()  # type: ignore[assignment]
    chat.news.opened(chat.model.conversation(ONE))
    looking = asyncio.create_task(chat.news.run(chat.client))
    await asyncio.sleep(0.01)
    assert not looking.done()
    assert view.said == []  # nobody has asked
    looking.cancel()
    chat.submit("/group")
    obeying = asyncio.create_task(chat._obey())
    await chat._typed.join()
    obeying.cancel()
    assert view.said == ["this service knows no groups: it is an older release"]


async def test_what_has_come_before_the_name_is_written_by_it_from_then_on() -> None:
    """Who joins by a link may be shown the first messages before the answer is there."""
    chat = Chat("alice", View(), obey)  # type: ignore[arg-type]
    conversation = chat.model.conversation(ONE)
    assert conversation.label == "~" + "a" * 8
    chat.group_seen(SimpleNamespace(group=ONE, name="Hike", role="member"))  # type: ignore[arg-type]
    assert conversation.label == "~Hike"


async def test_what_could_not_be_had_is_asked_for_again() -> None:
    view, client = View(), DownClient()
    listed = asyncio.Event()
    model = Model("alice")
    news = News("alice", model, Groups(), view, lambda: 0, again_s=(0.0, 0.0, 0.0))
    past = Past(model, lambda: None, listed.set, print, again_s=(0.0, 0.0, 0.0))
    news.connected()
    looking = asyncio.create_task(news.run(client))  # type: ignore[arg-type]
    past.begin(client)  # type: ignore[arg-type]
    past.connected()
    async with asyncio.timeout(10):
        await listed.wait()
        while client.groups.asked < 4 or client.contacts.asked < 4:  # the list, and then invitations or requests
            await asyncio.sleep(0)
    looking.cancel()
    assert client.conversations.asked == 3


async def test_what_can_never_be_had_is_asked_for_at_the_next_connection() -> None:
    client = DownClient()
    client.groups.asked = client.contacts.asked = client.conversations.asked = -100
    listed: list[bool] = []
    model = Model("alice")
    news = News("alice", model, Groups(), View(), lambda: 0, again_s=(0.0,))
    past = Past(model, lambda: None, lambda: listed.append(True), print, again_s=(0.0,))
    past.begin(client)  # type: ignore[arg-type]
    looking = asyncio.create_task(news.run(client))  # type: ignore[arg-type]
    for connection in (1, 2):
        news.connected()
        past.connected()
        await asyncio.sleep(0.05)
        assert client.groups.asked == client.contacts.asked == -100 + 2 * connection
        assert client.conversations.asked == -100 + connection
    looking.cancel()
    assert not listed


async def test_what_the_client_tells_of_groups() -> None:
    view = View()
    chat = Chat("alice", view, obey)  # type: ignore[arg-type]
    chat._client = OldClient()  # type: ignore[assignment]
    chat.happened(GroupChanged(ONE, GroupChange(1, 5, "bob", "made", "bob", "Hiking")))
    assert chat.model.conversation(ONE).label == "~Hiking"
    chat.past._whole.add(ONE)
    chat.happened(Hint(HintKind.SKIPPED, "", ONE))
    assert ONE not in chat.past._whole  # leafing asks once more
    chat.happened(GroupLeft(ONE))
    assert view.said == ["you have been away for long: what was said in ~Hiking before is on its way"]
    assert view.lines == ["bob made the group Hiking", "you are not in this group any more"]


# What is typed.


def test_help_fits_on_a_screen() -> None:
    rows = GROUP_COMMANDS.help()
    assert len(rows) <= 21
    assert max(map(len, rows)) <= 90


def completed(text: str) -> list[str]:
    completer = LineCompleter(lambda: ["alice", "bob"], lambda: ["1"], lambda: ["~The Choir"])
    return [each.text for each in completer.get_completions(Document(text), CompleteEvent())]


def test_completion() -> None:
    assert completed("/group ") == list(GROUP_COMMANDS)
    assert completed("/group acc") == ["accept"]
    assert completed("/group add al") == ["alice"]
    assert completed("/group rename al") == []
    assert completed("/to ~") == ["~The Choir"]
    assert completed("@~The C") == ["@~The Choir"]
    assert completed("/add ~") == []
