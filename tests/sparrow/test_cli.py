"""The command `sparrow`: arguments, settings, errors in one line."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from protocol.errors import ConfigError
from sparrow import cli


def run(*arguments: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "sparrow.cli", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_version_and_help(tmp_path: Path) -> None:
    assert run("--version", folder=tmp_path).stdout.startswith("sparrow ")
    said = run("--help", folder=tmp_path).stdout
    assert all(command in said for command in cli.COMMANDS)
    for command in cli.COMMANDS:
        answer = run(command, "--help", folder=tmp_path)
        assert answer.returncode == 0, answer.stderr
        assert "usage: sparrow " + command in answer.stdout


def test_what_a_command_is_run_by_is_there() -> None:
    for command in cli.COMMANDS.values():
        for part in (command.run, command.add_arguments):
            if isinstance(part, cli._Run | cli._Alone | cli._Arguments):
                assert callable(cli._imported(part.name))


def test_wrong_commands(tmp_path: Path) -> None:
    for arguments in ((), ("dance",), ("serve", "--nonsense"), ("chat",)):
        answer = run(*arguments, folder=tmp_path)
        assert answer.returncode == 2
        assert "usage: sparrow" in answer.stderr
        assert "Traceback" not in answer.stderr


def test_it_starts_quickly(tmp_path: Path) -> None:
    """A subcommand imports its own things only."""
    script = (
        "import sys; from sparrow import cli; cli._parse(['serve']); "
        "slow = ('zmq', 'flask', 'prompt_toolkit', 'httpx', 'uvloop', 'asyncio'); "
        "print([name for name in slow if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr


def test_check(tmp_path: Path) -> None:
    answer = run("check", folder=tmp_path)
    assert (answer.returncode, answer.stdout) == (0, "nothing to complain about, as of a node\n")
    (tmp_path / "sparrow.toml").write_text("[connector]\nlink_timeout_s = 0.4\n")
    answer = run("check", folder=tmp_path)
    assert answer.returncode == 1
    assert "error: connector.link_timeout_s: " in answer.stdout


def test_which_settings(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[conector]\n")
    complaint = f'sparrow: {wrong}: unknown section or key "conector"; did you mean "connector"?\n'
    for arguments, environment in (
        (("check", "--config", str(wrong)), {}),
        (("serve", "--config", str(wrong)), {}),
        (("check",), {"SPARROW_CONFIG": str(wrong)}),
    ):
        answer = run(*arguments, folder=tmp_path, **environment)
        assert (answer.returncode, answer.stderr) == (2, complaint)
    assert run("check", folder=tmp_path).returncode == 0
    answer = run("broker", "--config", "nothing.toml", folder=tmp_path)
    assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)


def test_serious_findings_stop_a_server(tmp_path: Path) -> None:
    answer = run("serve", folder=tmp_path, SPARROW_CONNECTOR__LINK_TIMEOUT_S="0.4")
    assert answer.returncode == 2
    assert answer.stderr.startswith("sparrow: connector.link_timeout_s: ")
    assert not (tmp_path / "var").exists()


def test_warnings_are_in_the_log_of_a_start(tmp_path: Path) -> None:
    """Those of its own rooms. Its port is another's, which ends it then."""
    taken = socket.create_server(("127.0.0.1", 0))
    environ = {"BROKER__RETRY_AFTER_MS": "500", "BROKER__INBOX_MAX_ROWS_OF_AUTHOR": "10", "LOG__LEVEL": "debug"}
    environ |= {"CONNECTOR__PROXIES": "0.0.0.0/0", "BROKER__LISTEN": f"tcp://127.0.0.1:{taken.getsockname()[1]}"}
    with taken:
        answer = run("broker", folder=tmp_path, **{f"SPARROW_{name}": value for name, value in environ.items()})
    warned = [line.partition("sparrow.settings: ")[2] for line in answer.stderr.splitlines() if "WARNING" in line]
    assert {line.partition(":")[0] for line in warned} == {
        "broker.retry_after_ms",
        "broker.inbox_max_rows_of_author",
        "log.level",
    }
    assert "Traceback" not in answer.stderr
    assert answer.returncode == 2, answer.stderr


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (ConfigError("two\nlines"), 2, "sparrow: two lines\n"),
        (KeyboardInterrupt(), 130, ""),
        (ValueError("oops"), 70, "sparrow: ValueError: oops; this is a bug"),
    ],
)
def test_errors_in_one_line(
    error: BaseException, status: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setitem(cli.COMMANDS, "check", cli.COMMANDS["check"]._replace(run=fail))
    monkeypatch.delenv("SPARROW_TRACEBACK", raising=False)
    assert cli.main(["check"]) == status
    assert capsys.readouterr().err.startswith(text)
    if status == 70:
        monkeypatch.setenv("SPARROW_TRACEBACK", "1")
        with pytest.raises(ValueError, match="oops"):
            cli.main(["check"])


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    script = f"{sys.executable} -m sparrow.cli --help | true; {sys.executable} -m sparrow.cli check | true"
    answer = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert "Traceback" not in answer.stderr


def test_a_servers_text_is_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    cli._say_error("the server says: a\x1b[2J\x9b\u202eb\u2028c\n")
    said = capsys.readouterr().err
    assert said.startswith("sparrow: the server says: a")
    assert not set(said) & set("\x1b\x9b\u202e\u2028")
