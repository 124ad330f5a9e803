"""Three people at terminals in a group: one who was away, one who is taken out, and kill -9 of the server."""

from __future__ import annotations

import time
from functools import partial

from tests.sparrow.serving import PASSWORD
from tests.sparrow.stage import Stage, texts
from tests.sparrow.terminal import Screen, Terminal


def said(screen: Screen, *authors: str) -> list[str]:
    """Rows of these authors and of changes, as far as they are on the screen, without their times and ticks."""
    rows = [line[9:] for line in screen.lines if line[2:3] == ":"]
    return [row for row in rows if row.startswith(("-- ", *(f"{author}: " for author in authors)))]


def joins(inviter: Terminal, member: Terminal, name: str, group: str) -> None:
    """`name` is asked to be in the group, and says yes."""
    inviter.type(f"/group add {name}")
    member.shows(f"asks you to be in ~{group}")
    inviter.shows(f"{name} is asked to be in ~{group}")
    member.type("/group accept")
    member.shows(f"~{group}>", "-- you joined")
    inviter.shows(f"-- {name} joined")


def asks(terminal: Terminal, command: str, answer: str) -> bool:
    """Type it once more; whether this is the answer by now."""
    terminal.type(command)
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        terminal.look()
        if any(answer in line for line in terminal.screen.lines):
            return True
    return False


def test_three_people_in_a_group(stage: Stage) -> None:
    stage.node.start()
    alice, bob, carol = (stage.newcomer(name) for name in ("alice", "bob", "carol"))
    alice.type("/group new Hiking")
    alice.shows("you are alone in it", "~Hiking>", "-- you made the group Hiking")
    joins(alice, bob, "bob", "Hiking")
    joins(alice, carol, "carol", "Hiking")
    alice.type("where to?")
    for terminal in (bob, carol):
        terminal.shows("alice: where to?")
    bob.type("up")
    carol.shows("bob: up")
    carol.type("down")
    alice.shows("bob: up", "carol: down", "✓  me: where to?")
    # What is read is told within a second or so.
    alice.until(lambda screen: asks(alice, "/group read", "read by 2 of 2: bob, carol"))

    # Bob closes; the others go on, and the server is killed in the middle of it.
    bob.press("\x04")
    assert bob.end() == 0
    alice.type("one")
    carol.shows("alice: one")
    stage.node.kill()
    alice.shows("reconnecting…")
    carol.shows("reconnecting…")
    alice.type("two")
    carol.type("three")
    stage.node.start()
    alice.shows("✓  me: two", "carol: three")
    carol.shows("✓  me: three", "alice: two")

    # Carol is taken out: she sees it, can say nothing there, and what is said then is not hers.
    alice.type("/group remove carol")
    alice.shows("-- you removed carol")
    carol.shows("-- you are not in this group any more")
    carol.type("let me in")
    carol.shows("✗  me: let me in")
    alice.type("without her")
    alice.shows("✓  me: without her")

    # Bob comes back and has all of it, each change before what was said behind it.
    bob = stage.chat("bob", "--to", "~Hiking")
    bob.until(lambda screen: len(said(screen, "alice", "bob", "carol", "me")) == 10)
    rows = said(bob.screen, "alice", "bob", "carol", "me")
    assert rows[:5] == ["-- you joined", "-- carol joined", "alice: where to?", "me: up", "carol: down"]
    assert rows[5] == "alice: one"
    assert sorted(rows[6:8]) == ["alice: two", "carol: three"]
    assert rows[8:] == ["-- alice removed carol", "alice: without her"]
    assert "without her" not in carol.said
    assert "let me in" not in alice.said + bob.said
    bob.type("/group members")
    bob.shows("2 members: alice (owner), bob")
    carol.type("/group")
    carol.shows("~Hiking: left")
    for terminal in (alice, bob, carol):
        terminal.type("/quit")
        assert terminal.end() == 0


def has_said(author: str, lines: list[str], screen: Screen) -> bool:
    """Whether the screen has just these of somebody, in this order."""
    return texts(screen, author) == lines


def test_kill_9_of_the_server_and_of_a_chat_while_three_write(stage: Stage) -> None:
    stage.node.start()
    alice, bob, carol = (stage.newcomer(name) for name in ("alice", "bob", "carol"))
    alice.type("/group new Hiking")
    alice.shows("~Hiking>")
    joins(alice, bob, "bob", "Hiking")
    joins(alice, carol, "carol", "Hiking")
    for number in range(5):
        for terminal in (alice, bob, carol):
            terminal.type(str(number))
        if number == 1:
            stage.node.kill()
            stage.node.start()
        if number == 3:
            carol.shows("me: 3")
            carol.kill()
            carol = stage.chat("carol", "--to", "~Hiking")
            carol.shows("connected")
    numbers = [str(number) for number in range(5)]
    people = {"alice": alice, "bob": bob, "carol": carol}
    for name, terminal in people.items():
        for author in people.keys() - {name}:
            terminal.until(partial(has_said, author, numbers))
        terminal.until(lambda screen: sum("✓  me: " in line for line in screen.lines) == 5)


def test_a_fresh_device_scrolls_back_over_a_group(stage: Stage) -> None:
    stage.node.start()
    alice, bob = stage.newcomer("alice"), stage.newcomer("bob")
    alice.type("/group new Hiking")
    alice.shows("-- you made the group Hiking")
    alice.type("to myself")
    alice.shows("✓  me: to myself")
    joins(alice, bob, "bob", "Hiking")
    alice.type("to bob")
    bob.shows("alice: to bob")
    assert "to myself" not in bob.said  # newcomers see nothing
    bob.type("up")
    alice.shows("bob: up")

    fresh = stage.chat("alice", "--state", str(stage.folder / "new.db"))
    fresh.shows("Password of alice:")
    fresh.type(PASSWORD)
    fresh.shows("connected")
    fresh.type("/to ~hik")
    wanted = [
        "-- you made the group Hiking",
        "me (elsewhere): to myself",
        "-- bob joined",
        "me (elsewhere): to bob",
        "bob: up",
    ]
    fresh.until(lambda screen: said(screen, "me (elsewhere)", "bob") == wanted)
    fresh.type("and from here")
    bob.shows("alice: and from here")
    alice.shows("me (elsewhere): and from here")
