"""CURVE between real processes: keys made by `sparrow keys`, a list that changes, and a connector on its own."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from client import Client, Options
from tests.cluster.processes import GUARD_S, Deployment, Process
from tests.cluster.story import start, writing
from tests.ports import free_port
from userapi.tokens import TokenMinter

OPTIONS = Options(open_timeout_s=GUARD_S)


def make(*arguments: str) -> str:
    """What `sparrow keys …` prints."""
    command = [sys.executable, "-W", "error", "-m", "sparrow.cli", "keys", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(GUARD_S):
        while not condition():
            await asyncio.sleep(0.02)


class Keys:
    """A folder of keys, and a deployment that uses them."""

    def __init__(self, deployment: Deployment) -> None:
        self.folder = deployment.folder / "keys"
        self.allowed = self.folder / "allowed.keys"
        make("broker", str(self.folder))
        self.deployment = deployment
        self.lines: dict[str, str] = {}
        """What `sparrow keys` has printed for each connector."""

    def broker(self) -> Process:
        settings = {
            "SPARROW_BROKER__CURVE_KEY_FILE": str(self.folder / "broker.key"),
            "SPARROW_BROKER__ALLOWED_KEYS_FILE": str(self.allowed),
        }
        self.deployment._environment.update(settings)
        return self.deployment.broker()

    def connector(self, name: str, *, allowed: bool = True) -> Process:
        self.make(name, allowed=allowed)
        self.deployment._environment.update(
            {
                "SPARROW_CONNECTOR__CURVE_KEY_FILE": str(self.folder / f"{name}.key"),
                "SPARROW_CONNECTOR__BROKER_PUBLIC_KEY_FILE": str(self.folder / "broker.pub"),
            }
        )
        return self.deployment.connector()

    def make(self, name: str, *, allowed: bool = True) -> None:
        self.lines[name] = make("connector", name, str(self.folder))
        if allowed:
            self.allow(self.lines[name])

    def allow(self, line: str) -> None:
        with self.allowed.open("a") as file:
            file.write(line)


async def talk(deployment: Deployment, there: Process, here: Process, names: tuple[str, str]) -> None:
    """A message from one connector to the other."""
    tokens = await deployment.tokens(f"{name}/d" for name in names)
    clients = [
        Client(name, token=tokens[f"{name}/d"], connectors=[f"127.0.0.1:{process.port}"], options=OPTIONS)
        for name, process in zip(names, (there, here), strict=True)
    ]
    async with clients[0] as one, clients[1]:
        sending = await one.send(names[1], "hello")
        async with asyncio.timeout(GUARD_S):
            await sending.delivered


async def test_two_connectors(deployment: Deployment) -> None:
    keys = Keys(deployment)
    servers = [keys.broker(), keys.connector("one"), keys.connector("two")]
    for server in servers:
        server.start()
        await server.up()
    await talk(deployment, servers[1], servers[2], ("alice", "bob"))


async def test_a_key_comes_and_goes(deployment: Deployment) -> None:
    keys = Keys(deployment)
    broker, connector = keys.broker(), keys.connector("one", allowed=False)
    broker.start()
    await broker.up()
    connector.start()
    await until(lambda: "it does not allow our key" in connector.log)
    await until(lambda: "refused a link from 127.0.0.1" in broker.log)
    assert "broker up" not in connector.log
    keys.allow(keys.lines["one"])
    os.kill(broker.pid, signal.SIGHUP)
    await connector.up()
    empty = keys.allowed.read_text().replace(keys.lines["one"], "")
    keys.allowed.write_text(empty)
    os.kill(broker.pid, signal.SIGHUP)
    await until(lambda: "allowed keys: none" in broker.log)
    connector.kill()
    refused = broker.log.count("refused a link")
    connector.start()
    await until(lambda: broker.log.count("refused a link") > refused)
    await until(lambda: "it does not allow our key" in connector.log_of_life)
    assert "broker up" not in connector.log_of_life


async def test_a_connector_with_only_its_own(deployment: Deployment, tmp_path: Path) -> None:
    """No credential of a store, no token key, no folder to write to: nothing of it is needed or read."""
    keys = Keys(deployment)
    broker = keys.broker()
    keys.make("one")
    broker.start()
    await broker.up()
    alone = tmp_path / "alone"
    alone.mkdir()
    for source in (keys.folder / "one.key", keys.folder / "broker.pub", tmp_path / "token.pub.pem"):
        (alone / source.name).write_bytes(source.read_bytes())
        (alone / source.name).chmod(0o600)
    environment = {key: value for key, value in deployment._environment.items() if not key.startswith("SPARROW_")}
    port = free_port()
    (alone / "sparrow.toml").write_text(
        f"""
        data_dir = "{alone}"
        [connector]
        listen_port = {port}
        brokers = ["{deployment._environment["SPARROW_BROKER__LISTEN"]}"]
        token_public_key_file = "token.pub.pem"
        curve_key_file = "one.key"
        broker_public_key_file = "broker.pub"
        """
    )
    alone.chmod(0o500)
    process = Process(
        "alone",
        [sys.executable, "-W", "error", "-m", "sparrow.cli", "connector", "--config", str(alone / "sparrow.toml")],
        environment,
        tmp_path,
        port,
        "broker up",
    )
    deployment.processes.append(process)
    process.start()
    await process.up()
    assert {path.name for path in alone.iterdir()} == {"one.key", "broker.pub", "token.pub.pem", "sparrow.toml"}
    opened = set()
    for path in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            opened.add(str(path.readlink()))
    assert not any(path.endswith(".db") or "token.key" in path for path in opened)
    tokens = await deployment.tokens(["alice/d"])
    async with Client("alice", token=tokens["alice/d"], connectors=[f"127.0.0.1:{port}"], options=OPTIONS) as alice:
        assert alice.connected
    alone.chmod(0o700)


@pytest.mark.full  # beside it: tests/broker/test_links.py, tests/sparrow/test_tls.py and test_rotation.py
async def test_every_key_changes_under_load(deployment: Deployment) -> None:
    """docs/operations.md, "Change keys", as it is written there: nothing is lost, and nobody is sent away."""
    keys = Keys(deployment)
    broker, one, two = keys.broker(), keys.connector("one"), keys.connector("two")
    connectors = {"one": one, "two": two}
    await start(broker, one, two)
    tokens = str(deployment.folder)

    async def reload(*processes: Process, wait: str) -> None:
        before = {process: process.log.count(wait) for process in processes}
        for process in processes:
            os.kill(process.pid, signal.SIGHUP)
        await until(lambda: all(process.log.count(wait) > count for process, count in before.items()))

    async def read_again() -> None:
        await reload(one, two, wait="keys were read again")

    async with writing(deployment, [one, two]) as people:
        for step in ("publish", "use", "retire"):
            make(step, "token", tokens)
            await read_again()
            # What is signed from now on is signed by the key in use; dave and erin come and go with what they had.
            deployment.minter = TokenMinter(deployment.folder / "token.key.pem", 86400.0)
            for name, device in people.devices.items():
                if step == "use" or not name.startswith(("dave", "erin")):
                    device._token = deployment.token(name)
            await people.some_sent(100)
        for name, process in connectors.items():
            keys.allow(make("publish", "connector", name, str(keys.folder)))
            await reload(broker, wait="allowed keys: ")
            make("use", "connector", name, str(keys.folder))
            await reload(process, wait="keys were read again")
            await people.some_sent(100)
        for step in ("publish", "use", "retire"):
            make(step, "broker", str(keys.folder))
            await read_again()
            if step == "use":
                assert await broker.terminate() == 0
                broker.start()
            await people.some_sent(100)
        for name in connectors:
            make("retire", "connector", name, str(keys.folder))
        await reload(broker, wait="allowed keys: one, two")
        await people.some_sent(100)
        kept = deployment.folder / "token.pub.pem"
        assert kept.read_text().count("BEGIN") == 1
    assert "is not changed" not in deployment.logs
    assert "no link to broker" not in deployment.logs
