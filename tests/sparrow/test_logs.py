"""Where the log goes: standard error, or a journal that listens on a real socket."""

from __future__ import annotations

import io
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest

from fabric.facts import BY_STRANGERS, tell
from sparrow.config.settings import LogSettings
from sparrow.ops.logs import PerDay, PerSecond, bound

ROOT = Path(__file__).parent.parent.parent
SPEAK = r"""
import logging
from logging_journald import JournaldTransport
from pathlib import Path
from fabric.facts import tell
from sparrow.ops.logs import set_up
from sparrow.config.settings import LogSettings
JournaldTransport.SOCKET_PATH = Path({path!r})
set_up(LogSettings(level="info", session_lines_per_second={limit}))
logging.getLogger("sparrow.connector").warning("something")
tell(logging.getLogger("sparrow.sessions"), "session_began", user="alice", client="one\ntwo")
"""


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        listener.settimeout(10)
        yield listener


def environment(stderr: TextIO, *, journal: bool) -> dict[str, str]:
    """Where standard error is the journal's, or something else is."""
    found = os.fstat(stderr.fileno())
    return {**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + (not journal)}"}


def speak(folder: Path, *, journal: bool, limit: int = 1000, code: str = SPEAK, status: int = 0) -> str:
    """What a process writes to its standard error, which the environment may call the journal's."""
    with (folder / "stderr").open("w+") as stderr:
        done = subprocess.run(
            [sys.executable, "-c", code.format(path=str(folder / "journal"), limit=limit)],
            cwd=ROOT,
            env=environment(stderr, journal=journal),
            stderr=stderr,
        )
        assert done.returncode == status
        stderr.seek(0)
        return stderr.read()


def fields(entry: bytes) -> dict[str, str]:
    """An entry as it travels: `NAME=value` lines, or a name, a length of eight bytes, and a value with line ends."""
    found = {}
    while entry:
        line, _, entry = entry.partition(b"\n")
        name, separator, value = line.partition(b"=")
        if not separator:
            size = int.from_bytes(entry[:8], sys.byteorder)
            value, entry = entry[8 : 8 + size], entry[9 + size :]
        found[name.decode()] = value.decode()
    return found


def test_facts_are_fields_of_the_journal(journal: socket.socket, tmp_path: Path) -> None:
    assert speak(tmp_path, journal=True) == ""
    first, second = fields(journal.recv(65536)), fields(journal.recv(65536))
    assert first["MESSAGE"] == "sparrow.connector: something"
    assert (first["PRIORITY"], first["LOGGER"], first["SYSLOG_IDENTIFIER"]) == ("4", "sparrow.connector", "sparrow")
    assert second["PRIORITY"] == "6"
    assert second["SPARROW_EVENT"] == "session_began"
    assert second["SPARROW_USER"] == "alice"
    assert second["SPARROW_CLIENT"] == "one\ntwo"


def test_elsewhere_it_is_lines(journal: socket.socket, tmp_path: Path) -> None:
    lines = speak(tmp_path, journal=False).splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("WARNING sparrow.connector: something")
    assert lines[1].endswith('INFO sparrow.sessions: event=session_began user=alice client="one\\ntwo"')


def test_what_the_journal_does_not_take_is_lines(tmp_path: Path) -> None:
    first, second = speak(tmp_path, journal=True).splitlines()
    assert first == "sparrow.connector: something"
    assert second.startswith("sparrow.sessions: event=session_began")


FLOOD = r"""
import logging, os, sys, time
from logging_journald import JournaldTransport
from pathlib import Path
from sparrow.ops.log_writer import dropped
from sparrow.ops.logs import set_up
from sparrow.config.settings import LogSettings
JournaldTransport.SOCKET_PATH = Path({path!r})
set_up(LogSettings())
for number in range({lines}):
    logging.getLogger("sparrow.connector").warning("line %d %s", number, "x" * 2000)
if os.fork() == 0:  # it has lines of its own alone
    logging.getLogger("sparrow.connector").warning("of a child")
    print("child", dropped(), flush=True)
    os._exit(0)
os.wait()
print("parent", dropped(), flush=True)
sys.stdin.readline()
logging.getLogger("sparrow.connector").warning("the last")
"""


def flooding(folder: Path, lines: int, *, journal: bool) -> subprocess.Popen[str]:
    """A process that has more to say than anybody takes."""
    code = FLOOD.format(path=str(folder / "journal"), lines=lines)
    with (folder / "stderr").open("w") as stderr:
        return subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment(stderr, journal=journal),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr if journal else subprocess.PIPE,
        )


def its_drops(process: subprocess.Popen[str]) -> int:
    """How many lines it has dropped by the time that it has said all; a child of its own had none to drop."""
    assert process.stdout is not None
    assert process.stdout.readline() == "child 0\n"
    who, dropped = process.stdout.readline().split()
    assert who == "parent"
    return int(dropped)


def test_nobody_waits_for_who_should_read_standard_error(tmp_path: Path) -> None:
    process = flooding(tmp_path, 5000, journal=False)
    dropped = its_drops(process)
    assert 3000 < dropped < 5000
    said, lines = process.communicate("go on\n", timeout=30)
    assert said == ""
    # In the pipe, in the hands of the thread, and waiting: none of these is lost when somebody reads again.
    numbers = [int(line.split()[5]) for line in lines.splitlines() if " line " in line]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) == 5000 - dropped
    assert f"{dropped} lines of the log were dropped: nobody took them" in lines
    assert "the last" in lines


def test_nobody_waits_for_a_journal_that_stands_still(journal: socket.socket, tmp_path: Path) -> None:
    process = flooding(tmp_path, 5000, journal=True)
    dropped = its_drops(process)
    assert dropped > 2000
    told, took = "", 0
    while "were dropped" not in told:
        told = fields(journal.recv(65536))["MESSAGE"]
        took += " line " in told
    assert told.endswith(f"{dropped} lines of the log were dropped: nobody took them")
    assert took == 5000 - dropped
    assert process.communicate("go on\n", timeout=30)[0] == ""
    assert "the last" in fields(journal.recv(65536))["MESSAGE"]


def test_a_process_ends_though_nobody_takes_its_log(journal: socket.socket, tmp_path: Path) -> None:
    process = flooding(tmp_path, 5000, journal=True)
    its_drops(process)
    process.communicate("go on\n", timeout=30)
    assert process.returncode == 0


def test_a_disk_that_is_full_loses_lines_and_counts_them() -> None:
    speak = (
        "import logging; from sparrow.ops.log_writer import dropped; from sparrow.ops.logs import set_up; "
        "from sparrow.config.settings import LogSettings; set_up(LogSettings()); "
        "logging.warning('something'); logging.getLogger().handlers[0].flush(); print(dropped())"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", speak], cwd=ROOT, stdout=subprocess.PIPE, stderr=full, text=True)
    assert (done.returncode, done.stdout) == (0, "1\n")


def test_what_is_no_text_is_written_all_the_same(journal: socket.socket, tmp_path: Path) -> None:
    code = SPEAK.replace('"something"', r'"half \ud800"').replace('user="alice"', r'user="\udfff"')
    assert speak(tmp_path, journal=True, code=code) == ""
    first, second = fields(journal.recv(65536)), fields(journal.recv(65536))
    assert first["MESSAGE"] == r"sparrow.connector: half \ud800"
    assert second["SPARROW_USER"] == r"\udfff"


def test_why_a_process_ends_is_in_the_journal(journal: socket.socket, tmp_path: Path) -> None:
    settings = tmp_path / "sparrow.toml"
    settings.write_text(f'data_dir = "{tmp_path}"\n[store]\nengine = "sqlite"\npath = "/proc/none/of/it.db"\n')
    code = (
        "import sys; from pathlib import Path; from logging_journald import JournaldTransport; "
        "JournaldTransport.SOCKET_PATH = Path({path!r}); "
        f"from sparrow.cli import main; sys.exit(main(['broker', '--config', {str(settings)!r}]))"
    )
    assert speak(tmp_path, journal=True, code=code, status=2) == ""
    entry = fields(journal.recv(65536))
    while entry["PRIORITY"] != "2":
        entry = fields(journal.recv(65536))
    assert "/proc/none/of/it.db" in entry["MESSAGE"]


def test_sessions_may_be_left_out(tmp_path: Path) -> None:
    assert "session_began" not in speak(tmp_path, journal=False, limit=0)


def test_a_flood_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    limit = PerSecond(2)
    passed = [limit.filter(logging.makeLogRecord({"created": at})) for at in (7.1, 7.2, 7.3, 7.9, 8.0, 8.1, 9.0)]
    assert passed == [True, True, False, False, True, True, True]
    assert caplog.messages == ["2 lines about sessions were left out"]


DAY_H = 24
LINES_AN_HOUR = 400


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the handler of a process writes: 24,000 bytes a day about strangers, and as many of sessions."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    bound(handler, LogSettings(strangers_bytes_per_day=DAY_H * 1000, session_bytes_per_day=DAY_H * 1000))
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr(root, "level", logging.INFO)
    return stream


def at_hour(monkeypatch: pytest.MonkeyPatch, hour: int) -> None:
    factory = logging.LogRecord

    def made(*args: object, **more: object) -> logging.LogRecord:
        record = factory(*args, **more)  # type: ignore[arg-type]
        record.created = hour * 3600.0 + 1
        return record

    monkeypatch.setattr(logging, "_logRecordFactory", made)


def stranger(number: int) -> None:
    logging.getLogger("sparrow.connector").info("a login was refused: %s", "x" * (number % 90), extra=BY_STRANGERS)


def fault(number: int) -> None:
    try:
        raise RuntimeError(f"request {number}")
    except RuntimeError as error:
        logging.getLogger("sparrow.userapi").error("a request failed", exc_info=error, extra=BY_STRANGERS)


def audit(number: int) -> None:
    log = logging.getLogger("sparrow.audit")
    tell(log, "login_failed", by_strangers=True, user=f"user{number}", why="\u2028" * 200)


def session(number: int) -> None:
    tell(logging.getLogger("sparrow.sessions"), "session_began", user=f"user{number}", client="é" * 64)


@pytest.mark.parametrize("say", [stranger, fault, audit, session])
def test_what_others_cause_is_so_many_bytes_a_day(
    written: io.StringIO, monkeypatch: pytest.MonkeyPatch, say: Callable[[int], None]
) -> None:
    for hour in range(DAY_H):
        at_hour(monkeypatch, hour)
        for number in range(LINES_AN_HOUR):
            say(number)
        logging.getLogger("sparrow.broker").info("hour %d is over", hour)
    text = written.getvalue()
    ours = [line for line in text.splitlines(keepends=True) if "left out" in line or "is over" in line]
    size = len(text.encode()) - sum(len(line.encode()) for line in ours)
    assert DAY_H * 500 < size <= DAY_H * 1000
    assert sum("is over" in line for line in ours) == DAY_H, "what is ours is written in any case"
    assert sum("left out from here" in line for line in ours) == DAY_H
    assert sum("lines about" in line and "were left out" in line for line in ours) == DAY_H - 1


def test_how_many_were_left_out_is_said(caplog: pytest.LogCaptureFixture) -> None:
    limit = PerDay(DAY_H * 100, logging.StreamHandler(), "what strangers do", lambda record: True)
    records = [logging.makeLogRecord({"msg": "x" * 59, "created": at}) for at in (1.0, 2.0, 3.0, 3601.0)]
    assert [limit.filter(record) for record in records] == [True, False, False, True]
    assert caplog.messages[-1] == "2 lines about what strangers do were left out"
