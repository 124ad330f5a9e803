"""The page, when servers, connections and tabs go away in the middle: nothing is lost, twice, or out of order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.cluster.processes import Process
from tests.sparrow.serving import Node
from tests.web.browsing import SERVER_AWAY, PersonFactory, crash
from tests.web.chatting import Chatter, another_tab, register
from tests.web.conftest import Cluster

UserOf = Callable[[str], str]
REFUSED = "status of (400|401|502|503)"
"""Of a token that is renewed: 400 asks for a proof over another nonce."""


async def _pair(api: str, person: PersonFactory, user: UserOf, **options: Any) -> tuple[Chatter, Chatter]:
    alice = await register(await person(**options), api, user("alice"))
    bob = await register(await person(**options), api, user("bob"))
    for each in (alice, bob):
        each.person.expects(SERVER_AWAY, REFUSED)
    await alice.open(bob.user)
    await bob.open(alice.user)
    return alice, bob


async def _has_all(chatter: Chatter, written: list[str]) -> None:
    """Everything is there, in order, once."""
    await chatter.sees(written[-1])
    assert await chatter.texts() == written


async def test_the_node_is_killed_while_people_write(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice, bob = await _pair(node.api, person, user)
    written = [f"message {number}" for number in range(8)]
    await alice.write(*written[:4])
    node.kill()
    await alice.page.get_by_text("Offline.").wait_for()
    await alice.write(*written[4:])
    await alice.progress(written[-1], "waiting to be sent")
    node.start()
    for each in (alice, bob):
        await each.page.evaluate("dispatchEvent(new Event('online'))")  # no need to wait for the next try
    await alice.progress(written[-1], "read")
    for each in (alice, bob):
        await _has_all(each, written)
        await each.page.reload()
        await _has_all(each, written)


async def test_what_waits_survives_a_reload_without_a_connector(
    cluster: Cluster, person: PersonFactory, user: UserOf
) -> None:
    alice, bob = await _pair(cluster.api, person, user)
    await alice.write("before")
    await bob.sees("before")
    for connector in cluster.connectors:
        connector.kill()
    await alice.page.get_by_text("Offline.").wait_for()
    await alice.write("while nobody answers", "and one more")
    await alice.progress("and one more", "waiting to be sent")
    await alice.page.reload()
    await _has_all(alice, ["before", "while nobody answers", "and one more"])
    await alice.progress("and one more", "waiting to be sent")
    for connector in cluster.connectors:
        connector.start()
        await connector.up()
    await alice.page.get_by_role("button", name="Try now").or_(alice.line("and one more")).first.click()
    await alice.progress("and one more", "read")
    for each in (alice, bob):
        await _has_all(each, ["before", "while nobody answers", "and one more"])


async def test_connectors_are_killed_by_turns(cluster: Cluster, person: PersonFactory, user: UserOf) -> None:
    alice, bob = await _pair(cluster.api, person, user, viewport={"width": 800, "height": 3000})
    written = {
        alice: [f"from Alice {number:02}" for number in range(12)],
        bob: [f"from Bob {number:02}" for number in range(12)],
    }
    killing = asyncio.ensure_future(_by_turns(cluster.connectors))
    for number in range(12):
        for each, texts in written.items():
            await each.write(texts[number])
    await killing
    for each, texts in written.items():
        await each.progress(texts[-1], "read")
    for each in written:
        for texts in written.values():
            assert [text for text in await each.texts() if text in texts] == texts
        # A message that was taken twice, by two connectors, had two stamps; kept is one.
        await each.page.reload()
        await each.sees("from Bob 11")
        await each.sees("from Alice 11")
    assert await alice.texts() == await bob.texts()


async def _by_turns(connectors: list[Process]) -> None:
    for connector in connectors:
        connector.kill()
        await asyncio.sleep(0.3)
        connector.start()
        await connector.up()


async def test_a_tab_is_killed_in_the_middle(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice, bob = await _pair(node.api, person, user)
    alice.person.expects("^crashed")
    second = await another_tab(alice)
    await second.open(bob.user)
    written = [f"message {number}" for number in range(10)]
    await alice.write(*written[:5])
    await alice.sees(written[4])  # it is kept
    await crash(alice.person, alice.page)
    await second.write(*written[5:])
    await bob.write("and an answer")
    await second.progress(written[-1], "read")
    for each in (second, bob):
        await _has_all(each, [*written, "and an answer"])


async def test_a_frozen_tab_is_taken_over_and_says_so(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice, bob = await _pair(node.api, person, user)
    await alice.write("before")
    await alice.progress("before", "read")
    devtools = await alice.person.devtools(alice.page)
    await devtools.send("Debugger.enable")
    await devtools.send("Debugger.pause")
    nothing = asyncio.ensure_future(alice.page.evaluate("0"))  # the pause begins with the next script
    second = await another_tab(alice)
    await second.open(bob.user)
    await second.write("from the other tab")
    await bob.sees("from the other tab")
    await devtools.send("Debugger.resume")
    await devtools.send("Debugger.disable")
    await nothing
    await alice.page.get_by_role("button", name="Use it here").click()
    await _has_all(alice, ["before", "from the other tab"])
    await alice.write("and back")
    for each in (alice, second, bob):
        await _has_all(each, ["before", "from the other tab", "and back"])


_CLOCK = """
const real = Date.now;
Date = class extends Date {
    constructor(...given) { given.length ? super(...given) : super(real() + SHIFT); }
    static now() { return real() + SHIFT; }
}"""


async def test_a_clock_that_is_a_year_off(node: Node, person: PersonFactory, user: UserOf) -> None:
    people = []
    for shift_s in (365 * 86_400, -365 * 86_400):
        somebody = await person()
        await somebody.context.add_init_script(_CLOCK.replace("SHIFT", str(shift_s * 1000)))
        people.append(await register(somebody, node.api, user("somebody")))
    alice, bob = people
    await alice.open(bob.user)
    await bob.open(alice.user)
    await alice.write("from the future")
    await bob.sees("from the future")
    await bob.write("from the past")
    await bob.progress("from the past", "read")
    for each in people:
        await _has_all(each, ["from the future", "from the past"])
        await each.page.reload()
        await _has_all(each, ["from the future", "from the past"])


async def test_a_slow_network(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice, bob = await _pair(node.api, person, user)
    devtools = await alice.person.devtools(alice.page)
    await devtools.send("Network.enable")
    speed = {"offline": False, "latency": 400, "downloadThroughput": 6_000, "uploadThroughput": 3_000}
    await devtools.send("Network.emulateNetworkConditions", speed)
    written = [f"slowly {number}" for number in range(5)]
    await alice.write(*written)
    await alice.progress(written[-1], "read")
    await _has_all(bob, written)
