"""The page: notifications, reports, names that try more, plain http, and a terminal among browsers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.sparrow.serving import Node
from tests.sparrow.stage import Stage
from tests.web.browsing import PersonFactory
from tests.web.chatting import Chatter, register

if TYPE_CHECKING:
    from playwright.async_api import Route

UserOf = Callable[[str], str]
TOKEN = "t" * 40
"""Notifications that would be shown are noted, with all that they say."""
_NOTICES = """(() => {
    const told = (globalThis.told = []);
    globalThis.Notification = class {
        static permission = 'default';
        static requestPermission() { return Promise.resolve((this.permission = 'granted')); }
        constructor(title, options) { told.push([title, options.body]); globalThis.lastNotice = this; }
        close() {}
    };
})()"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    secret = tmp_path_factory.mktemp("admin") / "token"
    secret.write_text(TOKEN)
    secret.chmod(0o600)
    return {"userapi__admin_token_file": secret}


async def _told(chatter: Chatter, count: int) -> None:
    """Wait for so many notifications. (The page's policy lets Playwright not look for itself.)"""
    while await chatter.page.evaluate("told.length") < count:
        await asyncio.sleep(0.02)


async def test_notifications_say_who_and_not_what(node: Node, person: PersonFactory, user: UserOf) -> None:
    somebody = await person()
    await somebody.context.add_init_script(_NOTICES)
    alice = await register(somebody, node.api, user("alice"))
    bob = await register(await person(), node.api, user("bob"))
    await bob.at("settings")
    await bob.page.get_by_label("Name that others see").fill("<b>Bob</b>")
    await bob.press("Save")
    await alice.at("settings")
    await alice.page.get_by_label("Tell me of messages").check()
    await bob.open(alice.user)
    await bob.write("a secret")
    await _told(alice, 1)
    assert await alice.page.title() == "(1) Sparrow"
    await bob.write("another secret")
    await _told(alice, 2)
    assert await alice.page.evaluate("told[1]") == ["<b>Bob</b>", "has written to you"]
    assert await alice.page.title() == "(2) Sparrow"
    # A click on it comes to the conversation, where nothing has to be told.
    await alice.page.evaluate("lastNotice.onclick()")
    await alice.sees("another secret")
    await bob.write("seen at once")
    await bob.progress("seen at once", "read")
    await alice.more("Mute for 8 hours")
    await alice.page.get_by_role("img", name="muted").wait_for()
    await alice.at("list")
    await bob.write("nobody hears it")
    await alice.row(bob.user).or_(alice.row("<b>Bob</b>")).get_by_label("1 unread").wait_for()
    await alice.at("people")
    assert await alice.page.evaluate("told.length") == 2
    assert await alice.page.title() == "Sparrow"
    # A page that may not tell does not look as if it would.
    await bob.page.evaluate("Notification.requestPermission = () => Promise.resolve('denied')")
    await bob.at("settings")
    await bob.page.get_by_label("Tell me of messages").click()
    await bob.says("does not allow")
    assert not await bob.page.get_by_label("Tell me of messages").is_checked()


async def test_a_report_comes_to_those_who_run_the_service(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    bob = await register(await person(), node.api, user("bob"))
    await alice.open(bob.user)
    await alice.write("<b>nasty</b>")
    await bob.row(alice.user).click()
    await bob.sees("nasty")
    await bob.choose("nasty", "Report")
    await bob.page.get_by_label("What is wrong with it?").fill("it hurts")
    await bob.confirm("Report")
    await bob.says("Reported.")
    async with httpx.AsyncClient(base_url=node.api, trust_env=False) as client:
        found = await client.get("/v1/admin/reports", headers={"Authorization": f"Bearer {TOKEN}"})
    (report,) = [each for each in found.json()["reports"] if each["reporter"] == bob.user]
    assert report["message"]["text"] == "<b>nasty</b>"
    assert report["text"] == "it hurts"


async def test_names_that_try_html_are_names(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    bob = await register(await person(phone=True), node.api, user("bob"))
    name = "<img src=x onerror=alert(1)> שלום"
    await bob.at("settings")
    await bob.page.get_by_label("Name that others see").fill(name)
    await bob.press("Save")
    await bob.at("people")
    await bob.page.get_by_label("The group's name").fill(name)
    await bob.press("Begin")
    await bob.page.get_by_label("Whom to ask into the group").fill(alice.user)
    await bob.press("Ask")
    await bob.open(alice.user)
    await bob.write("who am I?")
    await alice.row(name).click()
    for where in (f"chat/{bob.user}", f"about/{bob.user}", "people"):
        await alice.at(where)
        await alice.page.locator("main").get_by_text(name).first.wait_for()
        assert await alice.page.locator("img").count() == 0


async def test_plain_http_from_another_machine_says_what_is_missing(node: Node, person: PersonFactory) -> None:
    alice = await person()
    # It is this very server.
    alice.expects("a third party was asked: http://chat.test", "Cross-Origin-Opener-Policy header has been ignored")

    async def as_if(route: Route) -> None:
        address = route.request.url.replace("http://chat.test:7480", node.api)
        await route.fulfill(response=await alice.context.request.get(address))

    await alice.context.route("http://chat.test:7480/**", as_if)
    page = await alice.tab("http://chat.test:7480/")
    said = page.get_by_role("main")
    await said.get_by_role("alert").get_by_text("plain http from another machine").wait_for()
    for part in ("sparrow keys certificate chat.test tls", "https://chat.test:7480/", "http://127.0.0.1:7480/"):
        await said.get_by_text(part, exact=True).wait_for()
    assert await page.locator("input").count() == 0
    await alice.context.unroute_all(behavior="ignoreErrors")  # the icon may be on its way


@pytest.fixture
def stage(tmp_path: Path, node: Node) -> Iterator[Stage]:
    """Terminals at the module's node."""
    made = Stage(tmp_path)
    made.node = node
    yield made
    for terminal in made.terminals:
        terminal.kill()
        assert "Traceback" not in terminal.said


def _asks(stage: Stage, *users: str) -> Any:
    """Somebody at a terminal makes a group and asks these into it."""
    carol, *others = users
    terminal = stage.newcomer(carol)
    terminal.type("/group new Lunch")
    terminal.shows("-- you made the group Lunch")
    for other in others:
        terminal.type(f"/group add {other}")
        terminal.shows(f"{other} is asked to be in ~Lunch")
    return terminal


async def _join(chatter: Chatter) -> None:
    chatter.person.expects("status of 404")  # the group, before it is theirs
    await chatter.page.get_by_role("link", name="People: 1 ask").click()
    await chatter.press("Join")
    await chatter.page.get_by_role("textbox", name="Message").wait_for()


async def test_a_terminal_and_two_browsers_in_a_group(
    node: Node, person: PersonFactory, user: UserOf, stage: Stage
) -> None:
    alice = await register(await person(), node.api, user("alice"))
    bob = await register(await person(phone=True), node.api, user("bob"))
    name = user("carol")
    carol = await asyncio.to_thread(_asks, stage, name, alice.user, bob.user)
    await asyncio.gather(_join(alice), _join(bob))
    await asyncio.to_thread(carol.shows, f"-- {alice.user} joined", f"-- {bob.user} joined")
    for number in range(3):
        carol.type(f"from the terminal {number}")
        for each in (alice, bob):
            await each.sees(f"from the terminal {number}")
            await each.write(f"from {each.user} {number}")
        await asyncio.to_thread(carol.shows, *(f"{each.user}: from {each.user} {number}" for each in (alice, bob)))
    await alice.page.get_by_role("textbox", name="Message").press_sequentially("Hm")
    await asyncio.to_thread(carol.shows, f"{alice.user} is typing")
    order = await alice.texts()
    assert await bob.texts() == order
    assert len(order) == 9
    shown = [line.split(": ", 1)[1] for line in carol.screen.lines if ": from " in line]
    assert shown == order
