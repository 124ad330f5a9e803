"""This release and the next in one cluster, each process replaced by its other version under traffic: nothing is lost.

Owns who is replaced when. The next release is `next.py`; its clients and tokens are made here.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from fabric.records import WHERE, pack_keys
from fabric.tokens import ALGORITHM, AUDIENCE, ISSUER
from protocol.client import ClientSession
from protocol.errors import UnavailableError
from protocol.ids import address
from protocol.sparrow_pb2 import ERASE, Frame, Login, Message
from tests.cluster.processes import GUARD_S, Deployment, Process, listening
from tests.cluster.story import DEVICES, start, writing
from tests.ports import free_port
from tests.releases.next import UNKNOWN_FIELD, UNKNOWN_KIND
from tests.services.etcd import EtcdCluster
from userapi.brokers import Brokers
from userapi.settings import UserApiSettings

pytestmark = pytest.mark.slow

PASSED_OVER = "of another release; they are passed over"


class Cluster(Deployment):
    """Places for processes of either release, over one etcd; and tokens of both."""

    def pair(self, role: str, port: int, ready: str = "", **environment: str) -> tuple[Process, Process]:
        """One place, for a process of this release or of the next: the same address and settings."""
        name = f"{role}-{port}"
        names = {"SPARROW_BROKER__NAME": name, "SPARROW_CONNECTOR__NAME": name}
        programs = {"this": "sparrow.cli", "next": "tests.releases.next"}
        found = [
            self.add(
                f"{name}-{release}",
                [sys.executable, "-W", "error", "-m", program, role],
                port,
                ready,
                **names,
                **environment,
                PYTHONPATH=str(Path(__file__).parents[2]),
            )
            for release, program in programs.items()
        ]
        return found[0], found[1]

    def broker_pair(self, port: int) -> tuple[Process, Process]:
        """A broker's place."""
        return self.pair("broker", port, SPARROW_BROKER__LISTEN=f"tcp://127.0.0.1:{port}")

    def connector_pair(self) -> tuple[Process, Process]:
        """A connector's place."""
        port = free_port()
        return self.pair("connector", port, "broker up", **listening(port))

    def token(self, name: str, issued: float | None = None) -> str:
        """Of the next release for every other device."""
        if list(DEVICES).index(name) % 2:
            return super().token(name, issued)
        user, _, device = name.partition("/")
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": user, "dev": device, "exp": int(time.time()) + 3600}
        later = {"later": {"roles": ["any"]}, "jti": "1"}
        return jwt.encode(claims | later, self.minter._keys[0].private, algorithm=ALGORITHM, headers={"kid": "next"})


class NextClient(ClientSession):
    """A client of the next release: unknown fields in what it says."""

    def login(self, token: str, client: str = "", **more: Any) -> None:
        """With a field more."""
        super().login(token, client, **more)
        self._out.pop()
        self._push(Frame(login=_with_more(Login(token=token, client=client, **more))))

    def message(self, message: Message) -> None:
        """The same; an ERASE has nothing but what it names, in any release."""
        super().message(message if message.kind == ERASE else _with_more(message))


def _with_more(message):  # type: ignore[no-untyped-def]
    message.MergeFromString(UNKNOWN_FIELD)
    return message


@pytest.fixture
async def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    """Nothing runs in it yet but etcd; every other connection is a client's of the next release."""
    kinds = itertools.cycle((ClientSession, NextClient))
    monkeypatch.setattr("client.core.ClientSession", lambda: next(kinds)())
    with EtcdCluster(tmp_path / "etcd") as etcd:
        await etcd.healthy()
        settings = {"broker__presence": "etcd", "etcd__endpoints": ",".join(etcd.urls), "broker__lease_s": 3}
        with Cluster(tmp_path, **settings) as made:
            yield made
            for trouble in ("Traceback", "Warning", "this is a bug", "cut off", "another version"):
                assert trouble not in made.logs


BROKER_TIMEOUT_S = 20.0
"""For which a broker that does not answer is waited for."""


async def where(asker: Brokers) -> None:
    """The user API is answered; what only the next release knows is refused at once, and rests nobody."""
    assert await asker.ask(WHERE, body=pack_keys([b"nobody"])) == b"\x00"
    began = time.monotonic()
    with pytest.raises(UnavailableError):
        await asker.ask(UNKNOWN_KIND, to=address("alice", "a1"))
    assert time.monotonic() - began < BROKER_TIMEOUT_S
    assert await asker.ask(WHERE, body=pack_keys([b"nobody"])) == b"\x00"


async def says(process: Process, line: str) -> None:
    """Return when its log has the line."""
    async with asyncio.timeout(GUARD_S):
        while line not in process.log:
            await asyncio.sleep(0.05)


async def test_every_process_is_replaced_by_its_other_version_under_traffic(cluster: Cluster) -> None:
    ports = cluster._broker_port, free_port()
    brokers = [cluster.broker_pair(port) for port in ports]
    connectors = [cluster.connector_pair() for _ in range(2)]
    this, later = 0, 1
    running = [brokers[0][this], brokers[1][later], connectors[0][this], connectors[1][later]]
    await start(*running)
    endpoints = tuple(f"tcp://127.0.0.1:{port}" for port in ports)
    asker = Brokers(UserApiSettings(brokers=endpoints, broker_timeout_s=BROKER_TIMEOUT_S))
    async with writing(cluster, [connectors[0][this], connectors[1][this]]) as people:
        for process in (connectors[0][this], connectors[1][later]):
            for port in ports:
                await says(process, f"broker up: tcp://127.0.0.1:{port}")
        await where(asker)
        await people.some_sent(100)
        for place in (brokers[1], connectors[1], brokers[0], connectors[0]):
            before, after = place if place[this] in running else place[::-1]
            await people.in_the_middle()
            assert await before.terminate() == 0
            running.remove(before)
            await start(after)
            running.append(after)
            await where(asker)
            await people.some_sent(150)
        people.come_and_go("alice/a1", "bob/b1", "carol/c1", every_s=1.0)  # everywhere, and back
        await people.some_sent(300)
    await asker.close()
    # It was so: each of this release has met the next one.
    for place in (*brokers, *connectors):
        assert PASSED_OVER in place[this].log
        assert place[later].log
