"""Two people at terminals: friends, files, devices, blocks; the same on pipes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.sparrow.stage import Stage, read, until_line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file to send."""
    made = tmp_path / "holiday.bin"
    made.write_bytes(os.urandom(3_000_000))
    return made


def test_friends_and_files(stage: Stage, path: Path) -> None:
    stage.node.start()
    alice, bob = stage.newcomer("alice"), stage.newcomer("bob")

    # They become friends.
    alice.type("/add bob")
    alice.shows("bob is asked to be your friend")
    bob.shows("alice asks to be your friend: /accept alice or /decline alice")
    alice.type("/friends")
    alice.shows("bob has not answered yet")
    bob.press("/acc\t")
    bob.shows("> /accept")
    bob.press(" al\t")
    bob.shows("> /accept alice")
    bob.type("")
    bob.shows("alice is your friend now")
    alice.shows("bob is your friend now")
    alice.type("/friends")
    alice.shows("bob: online")

    # They chat, and go on while a file is on its way.
    alice.press("@b\t")
    alice.shows("> @bob")
    alice.type(" hello bob")
    bob.shows("alice: 1 new")
    bob.type("/to alice")
    alice.until(read("hello bob"))
    bob.type("hello alice")
    alice.shows("bob: hello alice")
    alice.press(f"/file {path.parent}/holi\t")
    alice.until(lambda screen: "holiday.bin" in "".join(screen.lines[-5:]))
    alice.type("")
    alice.type("did you get it?")
    bob.shows("alice: did you get it?", "[holiday.bin, 3.0 MB: /save 1]")
    alice.shows("✓✓ me: [holiday.bin, 3.0 MB: /save 1]")

    # Bob saves it, twice.
    folder = stage.folder / "in"
    folder.mkdir()
    bob.type(f"/save 1 {folder}")
    bob.until(lambda screen: (folder / "holiday.bin").exists() and "is saved as" in "".join(screen.lines))
    bob.type(f"/save holiday.bin {folder}")
    bob.until(lambda screen: "(2).bin" in "".join(screen.lines))
    for name in ("holiday.bin", "holiday (2).bin"):
        assert (folder / name).read_bytes() == path.read_bytes()

    # Names and devices.
    alice.type("/name Alice A.")
    alice.shows("you are alice (Alice A.)")
    bob.type("/profile alice")
    bob.shows("alice (Alice A.)")
    bob.type("/search al")
    bob.shows("alice (Alice A.)")
    bob.type("/devices")
    bob.shows("terminal, since", "this one")

    # It ends badly.
    bob.type("/block alice")
    bob.shows("alice is blocked")
    alice.shows("bob is your friend no more")
    alice.type("hello?")
    alice.shows("✗  me: hello?")
    bob.type("/unblock alice")
    bob.shows("alice is not blocked")
    alice.type("hello again")
    bob.shows("alice: hello again")
    for person in (alice, bob):
        person.type("/quit")
        assert person.end() == 0


def test_who_has_asked_while_one_was_away(stage: Stage) -> None:
    stage.node.start()
    alice = stage.newcomer("alice")
    alice.press("\x04")
    assert alice.end() == 0
    with stage.plain("bob", "--register") as bob:
        assert "-- alice is asked to be your friend" in bob.communicate("/add alice\n", timeout=30)[0]
    alice = stage.chat("alice")
    alice.shows("bob asks to be your friend: /accept bob")
    alice.type("/decline bob")
    alice.shows("bob is not asked, and does not ask, to be a friend")
    alice.type("/friends")
    alice.shows("nobody yet: /add NAME asks somebody")


def test_another_device_is_removed(stage: Stage) -> None:
    stage.node.start()
    alice = stage.newcomer("alice")
    with stage.plain("alice", "--state", str(stage.folder / "laptop.db")) as laptop:
        assert laptop.stdin is not None
        assert laptop.stdout is not None
        until_line(laptop.stdout, "-- connected")
        alice.shows("your devices have changed: /devices lists them")
        alice.type("/devices")
        alice.until(lambda screen: sum("terminal, since" in line for line in screen.lines) == 2)
        mine, other = sorted(
            (line for line in alice.screen.lines if "since" in line), key=lambda line: "this one" not in line
        )
        alice.type(f"/remove-device {mine.partition(':')[0]}")
        alice.shows("this is the device that you are at")
        alice.type(f"/remove-device {other.partition(':')[0]}")
        assert laptop.wait(20) == 2
        assert laptop.stderr is not None
        assert "has been removed" in laptop.stderr.read()
        alice.type("/devices")
        alice.until(lambda screen: sum("terminal, since" in line for line in screen.lines) == 1)


def test_a_script_of_friends_and_files(stage: Stage, path: Path) -> None:
    stage.node.start()
    path.write_bytes(path.read_bytes()[:1_000_000])
    with stage.plain("bob", "--register") as bob, stage.plain("alice", "--register") as alice:
        assert bob.stdin is not None
        assert bob.stdout is not None
        until_line(bob.stdout, "-- connected")
        typed = [
            "/add bob",
            "/add nobody",
            "/accept bob",
            "/file",
            "/file /nonexistent",
            "/to bob",
            "/file /nonexistent",
        ]
        typed += [f"/file {path}", "/block alice", "/save 9", "/profile", "/search x", "/dance", "/help", "/cancel now"]
        said, _ = alice.communicate("\n".join(typed[:-1]) + "\n", timeout=60)
        lines = said.splitlines()
        assert alice.returncode == 0
        for text in (
            "-- bob is asked to be your friend",
            '-- there is no user "nobody"',
            "-- which file? /file PATH",
            "-- to whom? /to NAME first",
            "-- talking to bob",
            "-- nonexistent: /nonexistent: No such file or directory",
            "-- there is no file in this conversation",
            "-- alice",
            "-- there is no command /dance; /help names all",
            "me to bob: [holiday.bin, 1.0 MB: /save 1]",
        ):
            assert text in lines, (text, lines)
        assert [line for line in lines if line.startswith("-- sending holiday.bin [")][-1].endswith("100 %")
        assert sum(line.startswith("-- /") and line.endswith("/quit") is False for line in lines) > 15
        until_line(bob.stdout, "-- alice asks to be your friend: /accept alice or /decline alice")
        until_line(bob.stdout, "alice: [holiday.bin, 1.0 MB: /save 1]")
        bob.stdin.write("/accept alice\n")
        bob.stdin.flush()
        until_line(bob.stdout, "-- alice is your friend now")
        line = ""
        while not line.startswith("-- alice: last seen "):  # which is kept in steps of broker.seen_interval_s
            bob.stdin.write("/friends\n")
            bob.stdin.flush()
            line = bob.stdout.readline()
            time.sleep(0.1)
            assert line.startswith("-- alice"), line
        bob.stdin.write(f"/to alice\n/save 1 {stage.folder}/kept\n")
        bob.stdin.close()
        said = bob.stdout.read()
        assert f"-- holiday.bin is saved as {stage.folder}/kept" in said
        assert bob.wait(30) == 0
    assert (stage.folder / "kept").read_bytes() == path.read_bytes()
