"""The closing scene of history: two people chat, one edits and erases, the node is killed in the middle, and a device
that is new reads back to the first word."""

from __future__ import annotations

import re
import subprocess
import time

from tests.sparrow.stage import Stage, until_line

WORDS = 25
SAID = re.compile(
    r"(?:[-\d]{10} [:\d]{5} )?"  # when, of what is older
    r"(?P<me>me, elsewhere, to |me to )?(?:alice|bob)(?P<edited> \(edited\))?: (?P<text>[^ ].*)\n"
)


def say(person: subprocess.Popen[str], *lines: str) -> None:
    """Type these."""
    assert person.stdin is not None
    person.stdin.write("".join(f"{line}\n" for line in lines))
    person.stdin.flush()


def until(person: subprocess.Popen[str], line: str) -> None:
    """Read until this has come."""
    assert person.stdout is not None
    until_line(person.stdout, line)


def leave(person: subprocess.Popen[str]) -> None:
    """End of input."""
    assert person.stdin is not None
    assert person.stdout is not None
    person.stdin.close()
    person.stdout.read()
    assert person.wait(30) == 0


def whole(stage: Stage, user: str, other: str, *more: str) -> list[str]:
    """All that a chat shows of the conversation, back to the first word."""
    recent, older = list[str](), list[str]()
    with stage.plain(user, "--to", other, *more) as person:
        say(person, "/history 500", "/history no")
        assert person.stdout is not None
        found = recent
        for line in person.stdout:
            if "older, with" in line:
                found = older
            elif "what was shown" in line:
                found = recent
            elif "how many?" in line:
                break
            elif (said := SAID.fullmatch(line)) is not None:
                found.append(f"{user if said['me'] else other}{said['edited'] or ''}: {said['text']}")
        leave(person)
    return older + recent


def test_closing_scene(stage: Stage) -> None:
    stage.node.start()
    with stage.plain("alice", "--register") as alice, stage.plain("bob", "--register") as bob:
        for person in (alice, bob):
            until(person, "-- connected")
        say(alice, "@bob the first word")
        until(bob, "alice: the first word")
        say(bob, "@alice a sercet", "and a tpyo")
        until(alice, "bob: and a tpyo")
        time.sleep(2.0)  # SENT as well, which no line tells where DELIVERED came first: then its place is one
        say(alice, *(f"word {number}" for number in range(WORDS)))
        stage.node.kill()  # in the middle of it
        say(alice, *(f"later {number}" for number in range(WORDS)))
        say(bob, "/erase -2", "/edit and a typo")
        stage.node.start()
        until(bob, f"alice: later {WORDS - 1}")
        say(bob, "the last word")
        until(alice, "bob: the last word")
        leave(alice)
        leave(bob)
    hers = whole(stage, "alice", "bob")
    assert hers[:3] == ["alice: the first word", "bob: [erased]", "bob (edited): and a typo"]
    assert hers[3:] == [
        *(f"alice: word {number}" for number in range(WORDS)),
        *(f"alice: later {number}" for number in range(WORDS)),
        "bob: the last word",
    ]
    assert whole(stage, "bob", "alice") == hers
    assert whole(stage, "alice", "bob", "--state", str(stage.folder / "new.db")) == hers
