"""examples/bot.py against a real node, which is killed under it: everything once."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from client import Client
from tests.sparrow.people import OPTIONS
from tests.sparrow.serving import PASSWORD, Node

BOT = Path(__file__).parents[2] / "examples" / "bot.py"
GUARD_S = 60
LINES = 60


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path).start()
    for user in ("bot", "sensor", "alice"):
        made.register(user)
    yield made
    made.stop()


def started(node: Node, name: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, BOT, name, "--api", node.api, "--key", node.folder / f"{name}.key", *options],
        env=os.environ | {"BOT_PASSWORD": PASSWORD},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_sensor_says_everything_once_and_ends(own_node: Node) -> None:
    reader = started(own_node, "alice", "--echo")
    sensor = started(own_node, "sensor")
    assert sensor.stdin is not None
    assert reader.stdout is not None
    texts = [f"{number} degrees é\u2028" for number in range(LINES)]
    for number, text in enumerate(texts):
        sensor.stdin.write(f"alice {text}\nnobody-{number} hello\n")
    sensor.stdin.flush()
    first = [reader.stdout.readline() for _ in range(LINES // 3)]
    own_node.kill()
    own_node.start()
    told = first + [reader.stdout.readline() for _ in range(LINES - len(first))]
    answers, _ = sensor.communicate(timeout=GUARD_S)
    assert sensor.returncode == 0
    assert Counter(told) == Counter(f"sensor {json.dumps(text)}\n" for text in texts)
    assert set(Counter(answers.splitlines()).values()) <= {1}
    ended(reader)


async def test_a_bot_answers_people(own_node: Node) -> None:
    bot = started(own_node, "bot", "--echo")
    try:
        async with Client("alice", password=PASSWORD, api=own_node.api, options=OPTIONS) as alice:
            for number in range(LINES):
                await alice.send("bot", f"hello {number}")
            own_node.kill()
            own_node.start()
            answers = []
            async with asyncio.timeout(GUARD_S):
                async for message in alice:
                    answers.append(message.text)
                    if len(answers) == LINES:
                        break
        assert Counter(answers) == Counter(f"hello {number}" for number in range(LINES))
    finally:
        ended(bot)


def test_a_bot_that_starts_anew_is_the_same_device(own_node: Node) -> None:
    for _ in range(3):
        sensor = started(own_node, "sensor")
        sensor.communicate("alice one\n", timeout=GUARD_S)
        assert sensor.returncode == 0
    assert own_node.log.count("event=device_added user=sensor") == 1


def test_a_wrong_password_ends_it(own_node: Node) -> None:
    command = [sys.executable, BOT, "sensor", "--api", own_node.api, "--key", own_node.folder / "key"]
    environment = os.environ | {"BOT_PASSWORD": "wrong horse"}
    found = subprocess.run(command, env=environment, input="alice one\n", capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (1, "bot: there is no such user, or the password is wrong\n")
