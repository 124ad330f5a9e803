"""docs/api.md: its tour runs as it stands, its table of codes is what the code says, its Python works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import UnavailableError
from protocol.ids import STAMP_SHIFT
from protocol.sparrow_pb2 import TEXT
from store.timelines import Entry, Name, conversation_of
from tests.services.cassandra import ROOT
from tests.userapi.running_broker import RunningBroker
from tests.userapi.running_server import serving, sqlite
from userapi.http.problems import CODES

PAGE = (ROOT / "docs" / "api.md").read_text()
BLOCK = re.compile(r"^```(bash|http|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODES_TABLE = re.compile(r"<!-- codes: .*? -->\n(.*?)<!-- end -->", re.DOTALL)
API = "API=http://127.0.0.1:7480\n"
END = "--- the next step ---"


def steps() -> Iterator[tuple[str, str]]:
    """Each block of commands, and the answer that is documented below it."""
    commands = ""
    for kind, text in BLOCK.findall(PAGE):
        if kind == "bash":
            commands += text
        elif kind == "http":
            yield commands, text
            commands = ""
    assert not commands


def curl() -> None:
    """Skips without it; under CI it has to be there."""
    if shutil.which("curl") is None:
        if os.environ.get("CI"):
            pytest.fail("curl is missing: apt-get install curl")
        pytest.skip("needs curl (apt-get install curl)")


def chat() -> list[Entry]:
    """What alice and bob have written each other, just now: what is older than the setting is not shown."""
    conversation, stamp = conversation_of("alice", "bob"), int(time.time() * 1000 + 1000) << STAMP_SHIFT
    return [
        Entry(conversation, Name("bob", "b1", 815, 1), stamp, TEXT, b"hello"),
        Entry(conversation, Name("alice", "a1", 4711, 1), stamp + 1, TEXT, b"hi Bob"),
    ]


def test_the_tour(tmp_path: Path) -> None:
    curl()
    token = tmp_path / "admin.token"
    token.write_text("0123456789abcdef" * 4)
    token.chmod(0o600)
    store = sqlite(tmp_path)
    connectors = ("127.0.0.1:7400", "ws://127.0.0.1:7402")
    with (
        RunningBroker(store) as broker,
        serving(tmp_path, broker.endpoint, store, admin_token_file=str(token), connectors=connectors) as server,
    ):
        broker.keeps(*chat())
        script = "".join(f"{commands}printf '\\n%s\\n' '{END}'\n" for commands, _ in steps())
        assert script.startswith(API)
        script = script.replace(API, f"API={server.url}\n", 1)
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, timeout=300, check=False
        )
    assert ran.returncode == 0, ran.stderr.decode()
    answers = ran.stdout.decode().replace("\r\n", "\n").split(f"\n{END}\n")
    assert answers.pop() == ""
    for (commands, documented), answer in zip(steps(), answers, strict=True):
        check(documented, answer, commands)


def check(documented: str, answer: str, commands: str) -> None:
    """The status, the documented headers, and the body are those of the answer."""
    wanted_head, _, wanted_body = documented.partition("\n\n")
    head, _, body = answer.partition("\n\n")
    wanted, found = wanted_head.strip().splitlines(), head.splitlines()
    about = f"{commands}\n{answer}"
    assert found[0] == wanted[0], about
    for line in wanted[1:]:
        pattern = re.compile(".+".join(map(re.escape, line.split("…"))))
        assert any(pattern.fullmatch(one) for one in found), f"no {line}\n{about}"
    if "json" in head.partition("Content-Type: ")[2].partition("\n")[0] and "HEAD" not in commands and body:
        assert alike(json.loads(wanted_body), json.loads(body)), about
    else:
        assert body.strip() == wanted_body.strip(), about


def alike(wanted: Any, found: Any, name: str = "") -> bool:
    """Equal, but for what stands behind `…`, and times."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() == found.keys() and all(alike(wanted[key], found[key], key) for key in wanted)
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(alike, wanted, found))
    if isinstance(wanted, str) and isinstance(found, str) and wanted.endswith("…"):
        return found.startswith(wanted[:-1]) and len(found) >= len(wanted)
    if (name == "ms" or name.endswith("_ms")) and wanted and found:
        return isinstance(found, int) and found > 1_600_000_000_000
    return bool(wanted == found)


@pytest.mark.parametrize(
    ("documented", "answer"),
    [
        ('HTTP/1.1 200 OK\n\n{"a": 1}\n', 'HTTP/1.1 201 CREATED\nContent-Type: application/json\n\n{"a": 1}'),
        ('HTTP/1.1 200 OK\n\n{"a": 1}\n', 'HTTP/1.1 200 OK\nContent-Type: application/json\n\n{"a": 1, "b": 2}'),
        ('HTTP/1.1 200 OK\n\n{"a": "x…"}\n', 'HTTP/1.1 200 OK\nContent-Type: application/json\n\n{"a": "y1"}'),
        ('HTTP/1.1 200 OK\n\n{"a_ms": 1}\n', 'HTTP/1.1 200 OK\nContent-Type: application/json\n\n{"a_ms": 0}'),
        ("HTTP/1.1 204 NO CONTENT\nX: …\n", "HTTP/1.1 204 NO CONTENT\nY: 1\n\n"),
        ("HTTP/1.1 200 OK\n\n1\n", "HTTP/1.1 200 OK\nContent-Type: text/plain\n\n2\n"),
    ],
)
def test_what_is_not_as_documented_is_found(documented: str, answer: str) -> None:
    with pytest.raises(AssertionError):
        check(documented, answer, "")


def test_the_table_of_codes() -> None:
    table = "| status | code | |\n|---|---|---|\n" + "".join(
        f"| {status} | `{code}` | {meaning} |\n" for code, (status, meaning) in sorted(CODES.items(), key=_by_status)
    )
    found = CODES_TABLE.search(PAGE)
    assert found is not None
    assert found[1] == table, f"put this into docs/api.md:\n{table}"


def _by_status(entry: tuple[str, tuple[int, str]]) -> int:
    return entry[1][0]


def test_the_identity_that_it_shows(tmp_path: Path) -> None:
    (code,) = (text for kind, text in BLOCK.findall(PAGE) if kind == "python")
    names: dict[str, Any] = {}
    exec(code, names)
    file = tmp_path / "passwords"
    made = names["Identity"](str(file))
    with pytest.raises(UnavailableError, match="No such file"):
        made.check("alice", "correct horse")
    file.write_text("alice:correct horse\n")
    assert made.check("alice", "correct horse")
    assert not made.check("alice", "wrong")
    made.close()
