"""CURVE between real sockets: the ROUTER of a broker, DEALERs of connectors, and who is refused."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zmq

from broker import zap
from broker.router import Router
from broker.server import BrokerServer
from broker.settings import BrokerSettings
from connector import dealer
from connector.dealer import Dealer
from connector.settings import ConnectorSettings
from fabric.curve import LinkKeys, encode, read_link_keys, read_public
from fabric.records import HINT, record
from protocol.errors import ConfigError
from sparrow.config.keys import make_broker_keys, make_link_key
from store import StoreSettings, open_store
from tests.ports import free_port

GUARD_S = 30


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(GUARD_S):
        while not condition():
            await asyncio.sleep(0.01)


@dataclass
class Place:
    """Keys in a folder, a broker's socket, and connectors' sockets."""

    folder: Path
    endpoint: str
    contexts: list["zmq.Context[zmq.Socket[bytes]]"] = field(default_factory=list)
    dealers: list[Dealer] = field(default_factory=list)
    router: Router | None = None
    router_context: "zmq.Context[zmq.Socket[bytes]] | None" = None
    heard: list[tuple[int, bytes]] = field(default_factory=list)

    def keys(self, name: str, *, allowed: bool = True) -> LinkKeys:
        line = make_link_key(name, self.folder)
        if allowed:
            self.allow(line)
        found = read_link_keys(str(self.folder / f"{name}.key"), str(self.folder / "broker.pub"))
        assert found is not None
        return found

    def allow(self, *lines: str) -> None:
        with (self.folder / "allowed.keys").open("a") as file:
            file.writelines(lines)

    def context(self) -> "zmq.Context[zmq.Socket[bytes]]":
        made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.contexts.append(made)
        return made

    def open(self, *, curve: bool = True) -> Router:
        files = {
            "curve_key_file": str(self.folder / "broker.key"),
            "allowed_keys_file": str(self.folder / "allowed.keys"),
        }
        settings = BrokerSettings(listen=self.endpoint, **(files if curve else {}))
        self.router_context = zmq.Context()
        self.router = Router(
            self.router_context,
            settings,
            lambda connector, batch: self.heard.append((connector, batch)),
            lambda asker, batch: self.asked.append((asker, batch)),
        )
        return self.router

    def end(self) -> None:
        """Close the broker's socket, and wait until nobody listens: ZeroMQ closes it later, in a thread of its own."""
        if self.router is not None:
            self.router.close()
        if self.router_context is not None:
            self.router_context.term()
        self.router = self.router_context = None

    def dial(
        self,
        number: int,
        keys: LinkKeys | None,
        said: list[bytes] | None = None,
        on_linked: Callable[[], None] = lambda: None,
    ) -> Dealer:
        made = Dealer(
            self.context(),
            ConnectorSettings(),
            self.endpoint,
            number,
            lambda _, batch: None if said is None else said.append(batch),
            keys,
            on_linked,
        )
        self.dealers.append(made)
        return made

    def close(self) -> None:
        for one in self.dealers:
            one.close()
        self.end()
        for context in self.contexts:
            context.term()


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr(dealer, "KNOCK_AGAIN_S", 0.1)
    make_broker_keys(tmp_path)
    made = Place(tmp_path, f"tcp://127.0.0.1:{free_port()}")
    yield made
    made.close()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[str], int]:
    """How many lines of the log hold a text."""
    caplog.set_level(logging.INFO)
    return lambda text: sum(text in record.getMessage() for record in caplog.records)


async def test_both_ways(place: Place) -> None:
    keys = place.keys("connector-1")
    router = place.open()
    answers: list[bytes] = []
    one = place.dial(7, keys, answers)
    await until(lambda: one.send(b"hello"))
    await until(lambda: place.heard)
    assert place.heard[0] == (7, b"hello")
    assert router.send(7, b"hello yourself")
    await until(lambda: answers)
    assert answers == [b"hello yourself"]


async def test_a_connection_that_is_there_anew_is_told_of(place: Place) -> None:
    """The broker lives on, and what was on its way is lost all the same."""
    renewed: list[None] = []
    keys = place.keys("connector-1")
    place.open()
    one = place.dial(7, keys, on_linked=lambda: renewed.append(None))
    await until(lambda: one.send(b"hello"))
    await until(lambda: len(renewed) == 1 and place.heard)
    place.end()
    place.open()
    await until(lambda: len(renewed) == 2)
    await until(lambda: one.send(b"hello again"))
    await until(lambda: place.heard[-1] == (7, b"hello again"))


class Tap:
    """A wire-tapper between a connector and the broker at a port, and what it sees."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen = bytearray()
        self._copying: list[asyncio.Task[None]] = []

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", self.port)
        self._copying += map(asyncio.create_task, (self._copy(reader, here), self._copy(there, writer)))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.seen += data
                writer.write(data)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def ended(self) -> None:
        """Both ends have hung up."""
        await asyncio.gather(*self._copying)


async def test_nothing_goes_over_the_wire_in_the_clear(place: Place) -> None:
    """What a wire-tapper sees; and that without keys he sees it all, so that this test can fail."""
    for curve in (False, True):
        tap = Tap(int(place.endpoint.rpartition(":")[2]))
        keys = place.keys("connector-1") if curve else None
        place.open(curve=curve)
        async with await asyncio.start_server(tap.connected, "127.0.0.1", 0) as server:
            place.endpoint = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            one = place.dial(7, keys)
            place.heard.clear()
            await until(lambda one=one: one.send(b"the secret of the day"))
            await until(lambda: place.heard)
            assert (b"the secret of the day" in tap.seen) == (not curve)
            one.close()
            place.dealers.clear()
            place.end()
            await tap.ended()
        place.endpoint = f"tcp://127.0.0.1:{free_port()}"


async def test_a_stranger_is_refused_until_it_is_allowed(place: Place, said: Callable[[str], int]) -> None:
    keys = place.keys("stranger", allowed=False)
    router = place.open()
    one = place.dial(7, keys)
    await until(lambda: said("it does not allow our key"))
    await asyncio.sleep(0.5)  # it knocks again meanwhile, several times
    assert not one.send(b"let me in")
    assert place.heard == []
    assert (said("refused a link from 127.0.0.1"), said("it does not allow our key")) == (1, 1)
    (line,) = [text for text in (place.folder / "stranger.key").read_text().splitlines() if text.startswith("secret")]
    assert not said(line.split()[1])
    public = zmq.curve_public(encode(keys.secret).encode()).decode()
    assert said(f"its key {public} is not in") == 1
    place.allow(f"stranger {public} # no more\n")
    router.reload()
    await until(lambda: one.send(b"hello"))
    await until(lambda: place.heard)


async def test_a_stranger_that_goes_on_knocking(
    place: Place, said: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zap, "LOG_AGAIN_S", 0.5)
    keys = place.keys("stranger", allowed=False)
    place.open()
    place.dial(7, keys)
    await until(lambda: said("refused a link") >= 3)


async def test_a_removed_key(place: Place, said: Callable[[str], int]) -> None:
    keys, other = place.keys("connector-1"), place.keys("connector-2")
    router = place.open()
    one = place.dial(7, keys)
    await until(lambda: one.send(b"hello"))
    listed = (place.folder / "allowed.keys").read_text()
    place.folder.joinpath("allowed.keys").write_text(
        "".join(line for line in listed.splitlines(True) if not line.startswith("connector-1 "))
    )
    router.reload()
    assert said("allowed keys: connector-2") == 1
    again = place.dial(8, keys)
    await until(lambda: said("refused a link"))
    assert not again.send(b"hello")
    two = place.dial(9, other)
    await until(lambda: two.send(b"hello"))
    assert one.send(b"still here"), "a link that is up stays"


async def test_a_broken_list_changes_nothing(place: Place, said: Callable[[str], int]) -> None:
    keys = place.keys("connector-1")
    router = place.open()
    (place.folder / "allowed.keys").write_text("nonsense\n")
    router.reload()
    assert said("the list of allowed keys is not changed: ") == 1
    one = place.dial(7, keys)
    await until(lambda: one.send(b"hello"))


async def test_no_curve_against_curve(place: Place, said: Callable[[str], int]) -> None:
    place.open()
    one = place.dial(7, None)
    await until(lambda: said("set connector.curve_key_file here"))
    assert not one.send(b"hello")
    assert place.heard == []


async def test_curve_against_no_curve(place: Place, said: Callable[[str], int]) -> None:
    keys = place.keys("connector-1")
    place.open(curve=False)
    one = place.dial(7, keys)
    await until(lambda: said("set broker.curve_key_file there"))
    assert not one.send(b"hello")
    # The broker is mended; the connector need not be started again.
    place.end()
    place.open()
    await until(lambda: one.send(b"hello"))


async def test_another_broker(place: Place, said: Callable[[str], int], tmp_path: Path) -> None:
    """One that has the address, and not the key."""
    keys = place.keys("connector-1")
    make_broker_keys(tmp_path / "other")
    wrong = read_link_keys(str(tmp_path / "connector-1.key"), str(tmp_path / "other" / "broker.pub"))
    place.open()
    one = place.dial(7, wrong)
    await until(lambda: said("is connector.broker_public_key_file its key?"))
    await asyncio.sleep(0.3)
    assert not one.send(b"hello")
    assert place.heard == []
    two = place.dial(8, keys)
    await until(lambda: two.send(b"hello"))


@pytest.mark.parametrize("first", ["old", "next"])
async def test_a_broker_with_either_of_two_keys(place: Place, said: Callable[[str], int], first: str) -> None:
    """While the brokers' key changes: whichever they have, and in whichever order the file has them."""
    keys = place.keys("connector-1")
    make_broker_keys(place.folder / "next")
    following = read_public(str(place.folder / "next" / "broker.pub"))
    both = (*keys.brokers, *following) if first == "old" else (*following, *keys.brokers)
    place.open()
    one = place.dial(7, keys)
    one.use(LinkKeys(keys.secret, both))
    await until(lambda: one.send(b"hello"))
    assert place.router is not None
    (place.folder / "next" / "broker.key").replace(place.folder / "broker.key")
    place.router.reload()
    assert said("the broker's key has changed: it is in use from the next start on") == 1
    assert one.send(b"still here")
    place.end()
    place.open()
    two = place.dial(8, LinkKeys(keys.secret, both))
    await until(lambda: one.send(b"hello again") and two.send(b"hello"))
    assert not said("no link to broker"), "the first of two that is not its key is no fault"


async def test_another_key_of_ours(place: Place, said: Callable[[str], int]) -> None:
    """A link that is up stays, and the next is made with the new key, at once."""
    old, new = place.keys("connector-1"), place.keys("connector-2")
    router = place.open()
    one = place.dial(7, old)
    await until(lambda: one.send(b"hello"))
    one.use(new)
    listed = (place.folder / "allowed.keys").read_text().splitlines(keepends=True)
    (place.folder / "allowed.keys").write_text("".join(line for line in listed if "connector-1" not in line))
    router.reload()
    assert one.send(b"still here")
    place.end()
    place.open()
    await until(lambda: one.send(b"hello again"))
    assert not said("it does not allow our key"), "the old one was not in the list any more, and nobody is to worry"


async def test_without_its_gate_a_broker_refuses_everybody(place: Place) -> None:
    keys = place.keys("connector-1")
    router = place.open()
    gate = router._zap
    assert gate is not None
    gate.close()
    one = place.dial(7, keys)
    await asyncio.sleep(0.5)
    assert not one.send(b"hello")
    router._zap = None


def test_a_broker_without_its_files_does_not_start(place: Place) -> None:
    (place.folder / "broker.key").chmod(0o644)

    async def start() -> None:
        place.open()

    with pytest.raises(ConfigError, match="read by others"):
        asyncio.run(start())


async def test_what_the_store_answers_when_the_broker_has_stopped_goes_to_nobody(tmp_path: Path) -> None:
    settings = BrokerSettings(listen=f"tcp://127.0.0.1:{free_port()}")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    async with open_store(StoreSettings(path=str(tmp_path / "sparrow.db"))) as store:
        server = BrokerServer(settings, store, context)
        await server.start()
        await server.stop()
        assert set(server.abilities().values()) == {"not started"}
        server.core.turn.push(1, record(HINT, to=b"bob/b1"))
        server.core.flush()
    context.term()
