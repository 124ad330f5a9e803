"""`sparrow chat` where conversations are kept: edited, erased, and read back to the first word by a new device."""

from __future__ import annotations

from tests.sparrow.serving import PASSWORD
from tests.sparrow.stage import Stage, texts, until_line

WORDS = 60


def test_a_fresh_device_scrolls_back_to_the_first_word(stage: Stage) -> None:
    stage.node.start()
    alice, bob = stage.newcomer("alice"), stage.newcomer("bob")
    alice.type("@bob the first word")
    bob.shows("alice: 1 new")
    bob.type("/to alice")
    bob.shows("alice: the first word")
    alice.type("a sercet")
    alice.type("and a tpyo")
    bob.shows("alice: a sercet", "alice: and a tpyo")
    alice.type("/erase -2")
    bob.shows("alice: [erased]")
    alice.type("/edit and a typo")
    bob.shows("alice (edited): and a typo")
    alice.shows("me: [erased]", "me (edited): and a typo")
    for number in range(WORDS):
        bob.type(f"word {number}")
    alice.shows(f"bob: word {WORDS - 1}")
    bob.until(lambda screen: any(f"✓✓ me: word {WORDS - 1}" in line for line in screen.lines))
    stage.node.kill()
    stage.node.start()

    # The third device: another state file, the same account.
    fresh = stage.chat("alice", "--state", str(stage.folder / "new.db"))
    fresh.shows("Password of alice:")
    fresh.type(PASSWORD)
    fresh.shows("connected")
    fresh.type("/to bob")
    fresh.shows(f"bob: word {WORDS - 1}")
    seen = list[str]()
    for _ in range(8):
        seen = [text for text in texts(fresh.screen, "bob") if text not in seen] + seen
        if any("the first word" in line for line in fresh.screen.lines):
            break
        fresh.press("\x1b[5~")
        fresh.look()
    fresh.shows("me (elsewhere): the first word", "me (elsewhere): [erased]", "and a typo")
    assert "sercet" not in fresh.said
    assert "tpyo" not in fresh.said
    for terminal in (alice, bob, fresh):
        terminal.press("\x04")
        assert terminal.end() == 0


def test_plain(stage: Stage) -> None:
    stage.node.start()
    with stage.plain("alice", "--register") as alice, stage.plain("bob", "--register") as bob:
        assert bob.stdout is not None
        assert bob.stdin is not None
        assert alice.stdin is not None
        assert alice.stdout is not None
        until_line(bob.stdout, "-- connected")
        said = [f"line {number}" for number in range(30)]
        alice.stdin.write("@bob " + "\n".join(said) + "\n")
        alice.stdin.flush()
        until_line(bob.stdout, "alice: line 29")
        alice.stdin.write("/edit line 30\n/erase -2\n/find line 3\n")
        alice.stdin.flush()
        for line in bob.stdout:
            if line.startswith("-- erased") and line.rstrip().endswith("[erased]"):
                break
        alice.stdin.close()
        alice.stdout.read()
        assert alice.wait(20) == 0
        bob.stdin.close()
        bob.stdout.read()
        assert bob.wait(20) == 0
    fresh = ("--state", str(stage.folder / "new.db"), "--to", "alice")
    with stage.plain("bob", *fresh) as bob:
        assert bob.stdin is not None
        assert bob.stdout is not None
        until_line(bob.stdout, "-- connected")
        # What was said last is shown by itself; the rest, to the first word, when it is asked for.
        until_line(bob.stdout, "alice (edited): line 30")
        bob.stdin.write("/history 100\n/history\n/history no\n")
        bob.stdin.flush()
        shown = list[str]()
        for line in bob.stdout:
            shown.append(line.rstrip("\n"))
            if "how many?" in line:
                break
        older = [line.split(" ", 2)[-1] for line in shown]
        assert [line for line in older if line.startswith("alice")] == [f"alice: line {number}" for number in range(10)]
        assert "-- that is all" in shown
        bob.stdin.close()
        bob.stdout.read()
        assert bob.wait(20) == 0
