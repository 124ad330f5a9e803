"""All that can be done behind /group, on pipes."""

from __future__ import annotations

import contextlib
import queue
import re
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.sparrow.stage import Stage

GUARD_S = 20


class Talk:
    """A chat on pipes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self._said: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._out:
            self._said.put(line.rstrip("\n"))
        self._said.put(None)

    def type(self, line: str) -> None:
        """Type, and press Enter."""
        self._in.write(f"{line}\n")
        self._in.flush()

    def until(self, pattern: str) -> re.Match[str]:
        """Read until a whole line is like this, if none was."""
        for line in self.lines:
            if (found := re.fullmatch(pattern, line)) is not None:
                return found
        return self._next(pattern)

    def _next(self, pattern: str) -> re.Match[str]:
        with contextlib.suppress(queue.Empty):
            while (line := self._said.get(timeout=GUARD_S)) is not None:
                self.lines.append(line)
                found = re.fullmatch(pattern, line)
                if found is not None:
                    return found
        pytest.fail("\n".join([f"{pattern!r} does not come:", *self.lines]))

    def ask(self, line: str, pattern: str) -> re.Match[str]:
        """Type, and read the answer."""
        self.type(line)
        return self._next(pattern)

    def end(self) -> str:
        """Leave; all that was read."""
        self._in.close()
        while (line := self._said.get(timeout=GUARD_S)) is not None:
            self.lines.append(line)
        assert self.process.wait(30) == 0
        return "\n".join(self.lines)


@pytest.fixture
def talk(stage: Stage) -> Iterator[Callable[[str], Talk]]:
    """A new user's chat."""
    stage.node.start()
    with contextlib.ExitStack() as stack:

        def made(user: str) -> Talk:
            process = stack.enter_context(stage.plain(user, "--register"))
            stack.callback(process.kill)
            chat = Talk(process)
            chat.until("-- connected")
            return chat

        yield made


def test_what_can_be_done_with_a_group(talk: Callable[[str], Talk]) -> None:
    alice, bob = talk("alice"), talk("bob")
    alice.ask("/group", "-- no groups yet: /group new NAME makes one")
    alice.ask("/group members", "-- in which group\\? /to ~NAME first; /group lists yours")
    alice.ask("/group dance", "-- there is no command /group dance; /group help names all")
    alice.ask("/to ~nowhere", "-- you know no group ~nowhere; /group lists yours")

    alice.ask("/group new Hike \x1b[2J", '-- the field "name" .*')
    alice.ask("/group new Hike", "-- talking to ~Hike")
    alice.until("-- you are alone in it: /group add NAME")
    alice.until("-- ~Hike: you made the group Hike")
    alice.ask("/group rename A & B", "-- done")
    alice.until("-- ~A & B: you called the group A & B")
    alice.ask("/group set write none", "-- what\\? /group set WHAT WHO: write .*")
    alice.ask("/group set newcomers history", "-- done")
    alice.until("-- ~A & B: you set newcomers-see history")
    alice.ask("/group info", "-- ~A & B, 1 member; you are owner")
    alice.until("-- may write: all · may add: all · newcomers see history")
    alice.type("before you came")

    # A link shows where it leads to; who has it joins.
    link = alice.ask("/group link 2 1", r"-- tell it only to .*: /group join (\S+) \(until .*, 1 use\)")
    alice.ask("/group link never", r"-- how many\? /group link \[HOURS \[USES\]\]")
    bob.ask(f"/group look {link[1]}", "-- ~A & B, 1 member: /group join SECRET")
    bob.ask("/group join nonsense", "-- .*(link|secret).*")
    bob.ask(f"/group join {link[1]}", "-- talking to ~A & B")
    bob.until("alice in ~A & B: before you came")
    bob.until("-- ~(A & B|[a-z0-9]{8}): you joined")  # which may come before its name is known
    alice.until("-- ~A & B: bob joined")
    alice.ask("/group links", "-- there is none")
    other = alice.ask("/group link", ".*/group join (\\S+) .*")
    ended = alice.ask("/group links", r"-- ([0-9a-f]+): until .*, uses left: 1")
    alice.ask(f"/group unlink {ended[1]}", "-- it works no more")
    bob.ask(f"/group look {other[1]}", "-- .*(link|secret).*")

    # Who may do what.
    bob.ask("/group rename mine", "-- .*admins.*")
    bob.ask("/group take-down alice", "-- .*own.*")
    alice.ask("/group role bob king", "-- which role\\? .*")
    alice.ask("/group role bob admin", "-- bob is admin in ~A & B")
    bob.until("-- ~A & B: alice made you admin")
    bob.ask("/group members", "-- 2 members: alice \\(owner\\), bob \\(admin\\)")
    bob.type("something bad")
    alice.until("bob in ~A & B: something bad")
    alice.ask("/group take-down bob -2", "-- there is no such message here: .*")
    alice.ask("/group take-down bob", r"-- erased: .* bob in ~A & B: \[taken down by alice\]")
    bob.until(r"-- erased: .* me to ~A & B: \[taken down by alice\]")
    alice.ask("@~A & B and so on", "me to ~A & B: and so on")
    bob.until("alice in ~A & B: and so on")
    # What was said longer ago is in the index by now.
    bob.ask("/find before", "-- .* alice to ~A & B: before you came")

    # Its end.
    alice.ask("/group close", "-- what\\? /group close ~NAME")
    alice.ask("/group close ~A", "-- to end this group for all: /group close ~A & B")
    alice.ask("/group close ~A & B", "-- ~A & B is closed")
    bob.until("-- ~A & B: you are not in this group any more")
    for text in (alice.end(), bob.end()):
        assert "\x1b" not in text
        assert "Traceback" not in text


def test_nobody_is_a_member_without_a_yes(talk: Callable[[str], Talk]) -> None:
    alice, bob = talk("alice"), talk("bob")
    alice.ask("/group new One", "-- you are alone in it.*")
    alice.ask("/group add bob", "-- bob is asked to be in ~One")
    bob.until("-- alice asks you to be in ~One .*")
    bob.ask("/group invitations", "-- alice asks you to be in ~One .*")
    bob.ask("/group decline ~Two", "-- which one\\? ~.*")
    bob.ask("/group decline", "-- declined")
    bob.ask("/group accept", "-- nobody asks you to be in a group")
    bob.ask("/group invitations", "-- nobody asks you")

    # Friends may, where one lets them.
    alice.ask("/add bob", "-- bob is asked to be your friend")
    bob.until("-- alice asks to be your friend.*")
    bob.ask("/accept alice", "-- alice is your friend now")
    bob.ask("/group friends maybe", "-- which\\? .*")
    bob.ask("/group friends yes", "-- friends may add you without asking")
    alice.ask("/group new Two", "-- talking to ~Two")
    alice.ask("/group add bob", "-- bob is in ~Two")
    bob.until("-- ~Two: alice added you")
    # By now the group has its name, and is found by the beginning of it.
    bob.ask("/to ~tw", "-- talking to ~Two")
    bob.ask("/group leave", "-- you have left ~Two")
    bob.until("-- ~Two: you are not in this group any more")
    alice.until("-- ~Two: bob left")
    alice.ask("/group add bob", "-- bob is asked to be in ~Two")
    bob.until("-- alice asks you to be in ~Two .*")
    bob.end()
    alice.end()
