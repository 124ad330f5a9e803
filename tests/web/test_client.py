"""The TypeScript client in a real Chromium: its journal in IndexedDB, which tab is the device, and what becomes of it
when tabs, nodes and networks die, with the ledgers of both sides compared at the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.sparrow.serving import Node
from tests.web.browsing import SERVER_AWAY, PersonFactory, Window, crash, freeze, thaw, until
from tests.web.conftest import Cluster
from tests.web.served import ClientPage, Device, is_leading, told

Devices = Callable[[str], Awaitable[Device]]
User = Callable[[str], str]


@pytest.fixture(scope="module")
def client_page(tmp_path_factory: pytest.TempPathFactory, bin: Path) -> Iterator[ClientPage]:
    with ClientPage(tmp_path_factory.mktemp("client"), bin) as page:
        yield page


@pytest.fixture(scope="module")
def settings(client_page: ClientPage) -> dict[str, object]:
    return {
        "userapi__cors_origins": client_page.origin,
        "connector__heartbeat_s": 3,
        "connector__max_logins_per_minute_of_device": 0,
    }


@pytest.fixture
def device(node: Node, client_page: ClientPage, person: PersonFactory, user: User) -> Devices:
    client_page.api = node.api

    async def device(name: str) -> Device:
        made = user(name)
        node.register(made)
        return await Device(await person(), client_page, made).listen()

    return device


def numbers(first: int, behind: int) -> list[str]:
    return [str(number) for number in range(first, behind)]


async def test_one_tab_is_the_device_and_the_next_goes_on(device: Devices) -> None:
    """Behind a tab that is closed, and behind one whose process was killed; nothing is lost, or comes twice."""
    alice, bob = await device("alice"), await device("bob")
    writer = await bob.open()
    first = await alice.lead()
    await is_leading(first)
    second, third = await alice.lead(), await alice.lead()
    assert await second.evaluate("tab.leader.state") == "waiting"

    await bob.send(writer, alice.user, numbers(0, 20))
    await alice.until_got("10")
    await first.close()
    # Which of both has asked for the lock first is theirs.
    await asyncio.wait(
        [asyncio.ensure_future(is_leading(each)) for each in (second, third)], return_when="FIRST_COMPLETED"
    )
    leading, waiting = (second, third) if await second.evaluate("tab.leader.state") == "leading" else (third, second)
    await bob.send(writer, alice.user, numbers(20, 40))
    await alice.until_got("30")
    await crash(alice.person, leading)
    alice.person.expects("^crashed")
    await is_leading(waiting)
    await bob.send(writer, alice.user, numbers(40, 60))
    await alice.until_got("59")
    assert alice.got == numbers(0, 60)


async def test_a_frozen_tab_is_taken_over_from_and_can_do_nothing_when_it_wakes(
    device: Devices, client_page: ClientPage, window: Window
) -> None:
    bob, name = await device("bob"), (await device("alice")).user
    await bob.open()
    alice = await Device(await window.open(), client_page, name).listen()
    frozen = await alice.lead()
    await is_leading(frozen)
    await alice.send(frozen, bob.user, ["before"])
    next_one = await alice.lead()
    await next_one.bring_to_front()
    await freeze(alice.person, frozen)
    await is_leading(next_one)
    await alice.send(next_one, bob.user, ["meanwhile"])
    await bob.until_got("meanwhile")

    await thaw(alice.person, frozen)
    # Whether it hears first of the lock, or finds another epoch.
    await told(frozen, "lost", "")
    assert await frozen.evaluate("(dest) => tab.sent(dest, 'of a frozen tab')", bob.user) in (
        "taken_over",
        "ClosedError",
    )
    assert await frozen.evaluate("tab.backend.load().catch((error) => error.trouble)") == "taken_over"
    await alice.send(next_one, bob.user, ["after"])
    await bob.until_got("after")
    assert bob.got == ["before", "meanwhile", "after"]
    assert await next_one.evaluate("tab.leader.state") == "leading"
    alice.person.expects(SERVER_AWAY)
    assert alice.person.unexpected == []


async def test_a_tab_that_hung_gives_no_id_to_what_it_sends_next(device: Devices, client_page: ClientPage) -> None:
    """It does so before it can hear that another one has the lock: the epoch in the database stops it."""
    alice, bob = await device("alice"), await device("bob")
    await bob.open()
    hung = await alice.lead()
    await is_leading(hung)
    await alice.send(hung, bob.user, ["before"])
    next_one = await alice.lead()
    client_page.hangs(True)
    sending = asyncio.ensure_future(hung.evaluate("(dest) => tab.hang(dest)", bob.user))
    await is_leading(next_one)
    await alice.send(next_one, bob.user, ["meanwhile"])
    client_page.hangs(False)
    assert await sending == "taken_over"
    await told(hung, "lost", "")
    await alice.send(next_one, bob.user, ["after"])
    await bob.until_got("after")
    assert bob.got == ["before", "meanwhile", "after"]


async def test_a_page_that_one_leaves_and_comes_back_to(
    device: Devices, client_page: ClientPage, window: Window
) -> None:
    """Chromium keeps it frozen, without its connection; nobody else has wanted to be the device meanwhile."""
    bob, name = await device("bob"), (await device("alice")).user
    await bob.open()
    alice = await Device(await window.open(), client_page, name).listen()
    page = await alice.lead()
    await is_leading(page)
    await alice.send(page, bob.user, ["before"])
    await page.goto(f"{client_page.origin}/client.js")
    async with page.expect_event("framenavigated"):
        await page.evaluate("setTimeout(() => history.back())")
    await told(page, "disconnected", "the connection was lost")
    await is_leading(page)
    await alice.send(page, bob.user, ["after"])
    await bob.until_got("after")
    assert bob.got == ["before", "after"]
    alice.person.expects(SERVER_AWAY)
    assert alice.person.unexpected == []


async def test_the_worker_rings_in_the_background(device: Devices, client_page: ClientPage, window: Window) -> None:
    """Where the page's own timers are slow, a client still sends its pings in time."""
    name = (await device("alice")).user
    alice = await Device(await window.open(), client_page, name).listen()
    page = await alice.open()
    await page.evaluate("tab.count()")
    await (await alice.tab()).bring_to_front()
    await until(page, "document.visibilityState === 'hidden'")
    await page.evaluate("Object.assign(tab, { own: 0, rung: 0 })")
    await until(page, "tab.rung >= 40")
    assert await page.evaluate("tab.own") < 20
    assert await page.evaluate("tab.client.isConnected")
    assert alice.person.unexpected == []


async def test_kill_9_of_a_browser_with_its_profile_on_the_disk(
    device: Devices, client_page: ClientPage, window: Window
) -> None:
    bob, name = await device("bob"), (await device("alice")).user
    reader = await bob.lead()
    await is_leading(reader)
    alice = await Device(await window.open(), client_page, name).listen()
    page = await alice.lead()
    await is_leading(page)
    sending = asyncio.ensure_future(alice.send(page, bob.user, numbers(0, 200)))
    await alice.until_kept(50)
    window.kill()
    with contextlib.suppress(Exception):  # of a tab that is gone
        await sending
    again = await Device(await window.open(), client_page, name).listen()
    page = await again.lead()
    await is_leading(page)
    await again.send(page, bob.user, ["last"])
    await bob.until_got("last")
    # One more may have been kept than was told.
    assert bob.got in ([*alice.kept, "last"], [*numbers(0, len(alice.kept) + 1), "last"])


@pytest.mark.full  # the page goes through the same in test_faults.py
async def test_kill_9_of_the_node_and_of_tabs_in_the_middle(node: Node, device: Devices) -> None:
    """Whatever `send` has returned for is shown, in order and once."""
    alice, bob = await device("alice"), await device("bob")
    reader, total, first = await bob.lead(), 160, 0
    writer = await alice.lead()
    await is_leading(writer)
    for kill, at in enumerate((20, 50, 80, 110)):
        sending = asyncio.ensure_future(alice.send(writer, bob.user, numbers(first, total)))
        await alice.until_kept(at)
        if kill in (1, 2):
            node.kill()
            node.start()
        if kill in (0, 2):
            await crash(bob.person, reader)
            reader = await bob.lead()
        await crash(alice.person, writer)
        with contextlib.suppress(Exception):  # of a tab that is gone
            await sending
        writer = await alice.lead()
        await is_leading(writer)
        # One more may have been kept than was told; no number is given twice.
        first = max(first, int(alice.kept[-1]) + 1) + 1
    await alice.send(writer, bob.user, numbers(first, total))
    await bob.until_got(str(total - 1))
    assert bob.got == sorted(set(bob.got), key=int)
    assert set(alice.kept) <= set(bob.got)
    assert len(bob.got) <= len(alice.kept) + 4
    for each in (alice, bob):
        each.person.expects(SERVER_AWAY, "^crashed")


async def test_what_the_browser_does_not_keep_is_told_apart(device: Devices) -> None:
    alice, bob = await device("alice"), await device("bob")
    page = await alice.tab()
    devtools = await alice.person.devtools(page)
    origin = await page.evaluate("origin")
    await devtools.send("Storage.overrideQuotaForOrigin", {"origin": origin, "quotaSize": 1_000_000})
    await page.evaluate("([user, options]) => tab.open(user, options)", [alice.user, alice.options])
    await page.evaluate("tab.fill()")
    assert await page.evaluate("(dest) => tab.sent(dest, 'x'.repeat(60000))", bob.user) == "full"
    await told(page, "closed", "full")

    await devtools.send("Storage.overrideQuotaForOrigin", {"origin": origin})
    page = await alice.open()
    assert await page.evaluate("(dest) => tab.sent(dest, 'there is room again')", bob.user) == "SENT"
    await devtools.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "indexeddb"})
    assert await page.evaluate("(dest) => tab.sent(dest, 'of nobody')", bob.user) == "evicted"
    await told(page, "closed", "evicted")

    # A page of no origin is kept nothing for, as in windows whose storage is switched off.
    nowhere = await alice.tab("/?sandboxed")
    assert await nowhere.evaluate("IndexedDbBackend.open('x').catch((error) => error.trouble)") == "unavailable"


async def test_a_clock_a_year_off(device: Devices) -> None:
    """In the future, and then in the past, with what was kept in the future."""
    alice, bob = await device("alice"), await device("bob")
    await bob.open()
    for years in (1, -1):
        await alice.person.context.clock.set_system_time(datetime.now() + timedelta(days=365 * years))
        page = await alice.open()
        assert await page.evaluate("([dest, text]) => tab.sent(dest, text)", [bob.user, f"of {years}"]) == "SENT"
        await bob.until_got(f"of {years}")
        await page.close()
    assert bob.got == ["of 1", "of -1"]


@pytest.mark.full  # the page goes through the same in test_faults.py
async def test_a_slow_network_and_none(device: Devices) -> None:
    """What a network that is gone has swallowed comes over the next connection, once."""
    alice, bob = await device("alice"), await device("bob")
    await bob.open()
    page = await alice.tab()
    devtools = await alice.person.devtools(page)
    slow = {"offline": False, "latency": 300, "downloadThroughput": 20_000, "uploadThroughput": 20_000}
    await devtools.send("Network.emulateNetworkConditions", slow)
    options = alice.options | {"timing": {"firstRetryMs": 50, "lastRetryMs": 500, "pongTimeoutMs": 500}}
    await page.evaluate("([user, options]) => tab.open(user, options)", [alice.user, options])
    await alice.send(page, bob.user, numbers(0, 20))
    await bob.until_got("19")
    await devtools.send("Network.emulateNetworkConditions", slow | {"offline": True})
    await alice.send(page, bob.user, numbers(20, 40))
    await told(page, "disconnected", "the server does not answer")
    await devtools.send("Network.emulateNetworkConditions", slow)
    await bob.until_got("39")
    assert bob.got == numbers(0, 40)
    alice.person.expects(SERVER_AWAY)


@pytest.mark.full  # the page goes through the same in test_faults.py
async def test_kill_9_of_a_connector(
    cluster: Cluster, client_page: ClientPage, person: PersonFactory, user: User
) -> None:
    names = [user("alice"), user("bob")]
    client_page.api = cluster.api
    cluster.register(*names)
    alice, bob = [await Device(await person(), client_page, name).listen() for name in names]
    pages = [await alice.open(), await bob.open()]
    sending = asyncio.ensure_future(alice.send(pages[0], bob.user, numbers(0, 150)))
    for count, connector in ((40, cluster.connectors[0]), (90, cluster.connectors[1])):
        await alice.until_kept(count)
        connector.kill()
        connector.start()
        await connector.up()
    await sending
    await bob.until_got("149")
    assert bob.got == numbers(0, 150)
    for each in (alice, bob):
        each.person.expects(SERVER_AWAY)
