"""`sparrow chat` in pseudo-terminals against a real server: the scene that everything was built for."""

import signal
import time
from pathlib import Path

import httpx

from tests.sparrow.serving import PASSWORD
from tests.sparrow.stage import Stage, read, texts, until_line
from tests.sparrow.terminal import BLUE


def test_the_ending_scene(stage: Stage) -> None:
    stage.node.start()
    alice, bob = stage.newcomer("alice"), stage.newcomer("bob")

    # They write to each other and see it sent, delivered and read.
    alice.type("@bob hello bob")
    # What somebody else writes opens nothing.
    bob.shows("alice: 1 new (/to alice)", "Nobody to talk to yet")
    bob.type("/to alice")
    bob.shows("alice: hello bob")
    alice.until(read("hello bob"))
    bob.type("hello alice")
    bob.until(read("hello alice"))
    alice.shows("bob: hello alice")

    # Bob closes; Alice writes on.
    bob.press("\x04")
    assert bob.end() == 0
    for number in range(5):
        alice.type(f"while you were away {number}")
    alice.until(lambda screen: sum("✓  me: while you were away" in line for line in screen.lines) == 5)
    assert not any("✓✓ me: while" in line for line in alice.screen.lines)

    # Bob comes back, without a password, and has everything.
    bob = stage.chat("bob")
    away = [f"while you were away {number}" for number in range(5)]
    bob.until(lambda screen: texts(screen, "alice") == ["hello bob", *away])
    # The conversation was opened by the program: it is read when Bob says so.
    bob.shows("5 not told as read (Enter tells it)")
    assert not any(read(text)(alice.screen) for text in away)
    bob.type("")
    alice.until(lambda screen: all(read(text)(screen) for text in away))

    # kill -9 of the server in the middle of it.
    stage.node.kill()
    alice.shows("reconnecting…")
    bob.shows("reconnecting…")
    for number in range(3):
        alice.type(f"without a server {number}")
        bob.type(f"me neither {number}")
    alice.shows("·  me: without a server 2")
    bob.press("\x03")
    assert bob.end() == 0
    stage.node.start()
    alice.until(lambda screen: all(f"✓  me: without a server {n}" in "\n".join(screen.lines) for n in range(3)))
    bob = stage.chat("bob")
    without = [f"without a server {number}" for number in range(3)]
    neither = [f"me neither {number}" for number in range(3)]
    bob.until(lambda screen: texts(screen, "alice") == ["hello bob", *away, *without])
    bob.until(lambda screen: texts(screen, "me") == ["hello alice", *neither])
    bob.type("")
    alice.until(lambda screen: texts(screen, "bob") == ["hello alice", *neither])
    for text in (*without, "hello bob", *away):
        alice.until(read(text))
    for text in ("hello alice", *neither):
        bob.until(read(text))
    alice.type("/quit")
    assert alice.end() == 0
    bob.type("/quit")
    assert bob.end() == 0


def test_kill_9_of_the_server_while_they_write(stage: Stage) -> None:
    stage.node.start()
    alice, bob = stage.newcomer("alice"), stage.newcomer("bob")
    alice.type("@bob 0")
    bob.shows("alice: 1 new")
    bob.type("/to alice")
    for number in range(1, 9):
        alice.type(str(number))
        bob.type(str(number))
        if number in (3, 6):
            stage.node.kill()
            stage.node.start()
    numbers = [str(number) for number in range(9)]
    bob.until(lambda screen: texts(screen, "alice") == numbers)
    alice.until(lambda screen: texts(screen, "bob") == numbers[1:])
    alice.until(lambda screen: all(read(text)(screen) for text in numbers))
    bob.until(lambda screen: all(read(text)(screen) for text in numbers[1:]))


def test_kill_9_of_a_chat(stage: Stage) -> None:
    stage.node.start()
    alice, bob = stage.newcomer("alice"), stage.newcomer("bob")
    alice.type("@bob one")
    bob.shows("alice: 1 new")
    bob.type("/to alice")
    bob.shows("alice: one")
    stage.node.kill()
    alice.shows("reconnecting")
    alice.type("two")
    alice.shows("·  me: two")
    alice.kill()
    bob.kill()
    stage.node.start()
    alice, bob = stage.chat("alice"), stage.chat("bob", "--to", "alice")
    alice.until(read("two"))
    bob.until(lambda screen: texts(screen, "alice") == ["one", "two"])


def test_what_goes_wrong_is_said_in_words(stage: Stage) -> None:
    alice = stage.chat("alice")
    # How people log in, the service says.
    alice.shows("cannot reach", "trying again")
    stage.node.start()
    alice.shows("Password of alice:")
    alice.type("short")
    alice.shows("Make a new account")
    alice.type("y")
    alice.shows("once more")
    alice.type("short")
    alice.shows("too short")
    alice.until(lambda screen: sum("Password of alice:" in line for line in screen.lines) == 2)
    alice.type(PASSWORD)
    alice.until(lambda screen: sum("Make a new account" in line for line in screen.lines) == 2)
    alice.type("y")
    alice.until(lambda screen: sum("once more" in line for line in screen.lines) == 2)
    alice.type(PASSWORD)
    alice.shows("connected", "Nobody to talk to yet")
    alice.type("hello?")
    alice.shows("to whom? /to NAME")
    alice.type("@nobody hello")
    alice.shows("✗  me: hello  (there is no such user)")
    alice.type("/to Bad Name!")
    alice.shows("use 1 to 64 of a-z")
    alice.type("/dance")
    alice.shows("there is no command /dance")
    alice.type("/help")
    alice.shows("/who", "leaf through")
    alice.type("/who")
    alice.shows("nobody")
    alice.type("//slash")
    alice.shows("me: /slash")
    alice.type("@@at")
    alice.shows("me: @at")
    second = stage.chat("alice")
    second.shows("in use by another client")
    assert second.end() == 2


def test_two_conversations(stage: Stage) -> None:
    stage.node.start()
    alice, bob, carol = stage.newcomer("alice"), stage.newcomer("bob"), stage.newcomer("carol")
    alice.press("my PIN is 1234")
    bob.type("@alice hi from bob")
    alice.shows("bob: 1 new (/to bob)")
    alice.type("")
    alice.shows("to whom?")
    assert "1234" not in "".join(bob.screen.lines)
    alice.type("/to bob")
    alice.shows("bob: hi from bob", "bob>")
    carol.type("@alice hi from carol")
    alice.shows("carol: 1 new (/to carol)")
    carol.shows("✓✓ me: hi")
    assert not read("hi from carol")(carol.screen)  # it has not been shown
    alice.type("/who")
    alice.until(lambda screen: {"carol: 1 new", "bob"} <= set(screen.lines))
    alice.type("/to carol")
    alice.shows("carol: hi from carol", "carol>")
    carol.until(read("hi from carol"))
    alice.until(lambda screen: "new" not in "".join(screen.lines))
    alice.type("/to bob")
    alice.shows("bob: hi from bob")
    alice.type("/mute carol 8")
    alice.shows("carol is muted for 8 h, on all your devices")
    carol.type("can you hear me?")
    carol.shows("✓✓ me: can you hear me?")
    alice.type("/who")
    alice.until(lambda screen: "carol (muted): 1 new" in screen.lines)
    assert "(/to carol)" not in "".join(alice.screen.lines)
    alice.type("/unmute carol")
    alice.shows("carol is not muted", "carol: 1 new (/to carol)")
    alice.press("\x04")
    assert alice.end() == 0
    alice = stage.chat("alice", "--to", "carol")
    alice.shows("carol: hi from carol", "carol>")


def test_two_devices_of_one_person(stage: Stage) -> None:
    stage.node.start()
    alice, bob = stage.newcomer("alice"), stage.newcomer("bob")
    laptop = stage.chat("alice", "--state", str(stage.folder / "laptop.db"))
    laptop.shows("Password of alice:")
    laptop.type("wrong password")
    laptop.shows("Make a new account")
    laptop.type("n")
    laptop.shows("there is no account alice, or the password is wrong")
    laptop.until(lambda screen: sum("Password of alice:" in line for line in screen.lines) == 2)
    laptop.type(PASSWORD)
    laptop.shows("connected")
    alice.type("@bob from my phone")
    bob.shows("alice: 1 new")
    bob.type("/to alice")
    bob.shows("alice: from my phone")
    laptop.type("/to bob")
    laptop.shows("✓✓ me (elsewhere): from my phone")
    laptop.until(lambda screen: screen.colour_of("from my phone", "✓✓") == BLUE)
    bob.type("hi both")
    alice.shows("bob: hi both")
    laptop.shows("bob: hi both")


def test_a_strangers_text_cannot_play_with_the_terminal(stage: Stage) -> None:
    stage.node.start()
    alice = stage.newcomer("alice")
    with stage.plain("mallory", "--register") as mallory:
        assert mallory.stdin is not None
        assert mallory.stdout is not None
        mallory.stdin.write("@alice \x1b[2Jboo\x07 \u202eevil\r\n")
        mallory.stdin.flush()
        alice.shows("mallory: 1 new")
        alice.type("/to mallory")
        alice.shows("mallory: �[2Jboo� evil")
        # What joins stays, and is no character of its own.
        mallory.stdin.write("👩\u200d👩\u200d👧 می\u200cخواهم\n")
        mallory.stdin.flush()
        alice.until(lambda screen: "👩\u200d👩\u200d👧" in alice.said and "می\u200cخواهم" in alice.said)
        mallory.stdin.write("x" * 70_000 + "\n" + "y" * 10_000 + "\n")
        mallory.stdin.close()
        alice.shows("… (6000 more")
        said = mallory.stdout.read()
        assert "-- a body of 70000 bytes: the server takes 64" in said
        assert mallory.wait(20) == 0


# Line in, line out.


def test_a_script(stage: Stage) -> None:
    stage.node.start()
    with stage.plain("alice", "--register") as alice, stage.plain("bob", "--register") as bob:
        assert bob.stdin is not None
        assert bob.stdout is not None
        until_line(bob.stdout, "-- connected")
        said, _ = alice.communicate("@bob one\ntwo\\\n/who\n@nobody three\n/to\n/help\n", timeout=30)
        assert alice.returncode == 0
        lines = said.splitlines()
        assert [line for line in lines if line.startswith("me to")] == [
            "me to bob: one",
            "me to bob: two\\\\",
            "me to nobody: three",
        ]
        assert {"-- sent: one", "-- failed: three (there is no such user)", "-- whom? /to NAME", "-- bob"} <= {
            line.replace("delivered", "sent").replace("read", "sent") for line in lines
        }
        until_line(bob.stdout, "alice: one")
        until_line(bob.stdout, "alice: two\\\\")
        bob.stdin.write("hi\n/to alice\nhi\n/quit\n")
        bob.stdin.flush()
        said_to_bob = bob.stdout.read()
        assert "-- to whom?" in said_to_bob
        assert "me to alice: hi" in said_to_bob
        assert bob.wait(20) == 0
    # Again: the last lines first.
    with stage.plain("alice") as alice:
        said, _ = alice.communicate("/to bob\n", timeout=30)
        assert "bob: hi" in said.splitlines()
        assert said.splitlines().count("me to bob: one") == 1


def test_nobody_to_ask(stage: Stage) -> None:
    stage.node.start()
    stage.password = ""
    for arguments, text in (
        ((), "nobody to ask for the password: set SPARROW_PASSWORD or use --password-file"),
        (("--password-file", "/nonexistent"), "--password-file /nonexistent: No such file"),
        (("--password-file", "/dev/null"), "its first line is empty"),
        (("--api", "ftp://x"), "give a URL such as"),
        (("--to", "Nobody!"), "use 1 to 64"),
        (("--state", "/dev/null/x"), "cannot be opened"),
    ):
        with stage.plain("alice", *arguments) as alice:
            _, complaint = alice.communicate("", timeout=30)
            assert alice.returncode == 2
            assert complaint.startswith("sparrow: ")
            assert text in complaint
            assert complaint.count("\n") == 1
    (stage.folder / "password").write_text(PASSWORD + "\n")
    with stage.plain("alice", "--password-file", str(stage.folder / "password")) as alice:
        assert "--register makes a new account" in alice.communicate("", timeout=30)[1]
    with stage.plain("alice", "--password-file", str(stage.folder / "password"), "--register") as alice:
        assert "connected" in alice.communicate("", timeout=30)[0]
    (stage.folder / "password").write_text("another password\n")
    more = ("--password-file", str(stage.folder / "password"), "--register", "--state", str(stage.folder / "x.db"))
    with stage.plain("alice", *more) as alice:
        assert "the account alice exists, and the password is wrong" in alice.communicate("", timeout=30)[1]


def test_a_token_that_has_expired(stage: Stage) -> None:
    stage.node.environment["SPARROW_USERAPI__ACCESS_TOKEN_LIFETIME_S"] = "2"
    stage.node.start()
    alice = stage.newcomer("alice")
    alice.type("/quit")
    assert alice.end() == 0
    time.sleep(2.5)
    # A new one needs no password,
    alice = stage.chat("alice")
    alice.shows("connected")
    alice.type("/quit")
    assert alice.end() == 0
    # unless the login has ended.
    log_all_out(stage)
    time.sleep(2.5)
    alice = stage.chat("alice")
    alice.shows("Password of alice:")
    alice.type(PASSWORD)
    # The new one may have expired by now, too, on a machine that is busy.
    alice.until(lambda screen: "connected" in alice.said or alice.said.count("Password of alice:") > 1)


def log_all_out(stage: Stage) -> None:
    """End the logins of all of Alice's devices."""
    with httpx.Client(base_url=stage.node.api, trust_env=False) as web:
        status = 0
        while status != 204:
            tokens = web.post("/v1/login", json={"user": "alice", "password": PASSWORD}).json()
            authorization = {"Authorization": f"Bearer {tokens['access_token']}"}
            status = web.delete("/v1/me/logins", headers=authorization).status_code


def test_a_device_that_is_replaced(stage: Stage) -> None:
    stage.node.start()
    alice = stage.newcomer("alice")
    state = stage.folder / "state" / "sparrow" / f"alice@127.0.0.1-{stage.node.api_port}.db"
    assert state.stat().st_mode & 0o077 == 0
    (stage.folder / "copy.db").write_bytes(state.read_bytes())
    if Path(f"{state}-wal").exists():
        (stage.folder / "copy.db-wal").write_bytes(Path(f"{state}-wal").read_bytes())
    other = stage.chat("alice", "--state", str(stage.folder / "copy.db"))
    other.shows("connected")
    alice.shows("sparrow: this device has logged in elsewhere")
    assert alice.end() == 2


def test_a_signal_ends_it(stage: Stage) -> None:
    stage.node.start()
    alice = stage.newcomer("alice")
    alice.child.kill(signal.SIGTERM)
    assert alice.end() == 0
    for number in (signal.SIGTERM, signal.SIGINT):
        with stage.plain("alice") as again:
            assert again.stdout is not None
            until_line(again.stdout, "-- connected")
            again.send_signal(number)
            assert again.wait(20) == 0
    asking = stage.chat("alice", "--state", str(stage.folder / "x.db"))
    asking.shows("Password")
    assert asking.interrupt() == 130


def test_leafing(stage: Stage) -> None:
    stage.node.start()
    alice = stage.newcomer("alice")
    alice.type("/to alice")
    for number in range(60):
        alice.type(f"line {number}.")
    alice.shows("me: line 59.")
    assert not any("line 20." in line for line in alice.screen.lines)
    alice.press("\x1b[5~")
    alice.until(lambda screen: any("line 30." in line for line in screen.lines))
    alice.press("\x1b[5~\x1b[5~\x1b[5~")
    alice.shows("line 0.", "leafing")
    alice.press("\x1b[6~\x1b[6~\x1b[6~\x1b[6~")
    alice.shows("line 59.")
    alice.until(lambda screen: "leafing" not in "".join(screen.lines))
