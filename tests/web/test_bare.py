"""The page at a service that offers less: no conversations kept, no search, no WebSocket."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.sparrow.serving import PASSWORD, Node, with_websocket
from tests.web.browsing import SERVER_AWAY, PersonFactory
from tests.web.chatting import Chatter, log_in, register

if TYPE_CHECKING:
    from playwright.async_api import Route

UserOf = Callable[[str], str]
LOGINS = re.compile("/v1/(login|token)$")


@pytest.fixture(scope="module")
def settings() -> dict[str, object]:
    return {"history__keep_days": 0, "userapi__max_devices": 2}


async def test_what_came_and_was_written_is_kept_by_the_browser(
    node: Node, person: PersonFactory, user: UserOf
) -> None:
    alice = await register(await person(), node.api, user("alice"))
    bob = await register(await person(phone=True), node.api, user("bob"))
    for each in (alice, bob):
        each.person.expects("status of 403")
    await alice.open(bob.user)
    await bob.open(alice.user)
    written = []
    for number in range(3):
        for each, other in ((alice, bob), (bob, alice)):
            written.append(f"{number} from {each.user}")
            await each.write(written[-1])
            await other.sees(written[-1])
    for each in (alice, bob):
        await each.page.reload()
        await each.sees(written[-1])
        assert await each.texts() == written
    await bob.progress(written[-1], "read")
    # What comes while nobody is there is there afterwards, once, and unread.
    await bob.page.close()
    await alice.write("one more")
    await alice.progress("one more", "sent")
    page = await bob.person.tab(f"{node.api}/")
    bob = Chatter(bob.person, page, node.api, bob.user)
    await bob.row(alice.user).get_by_label("1 unread").wait_for()
    await page.reload()
    await bob.row(alice.user).get_by_label("1 unread").wait_for()
    await bob.row(alice.user).click()
    await bob.sees("one more")
    assert await bob.texts() == [*written, "one more"]
    await alice.progress("one more", "read")
    await alice.choose("one more", "Edit")
    await alice.page.get_by_role("textbox", name="Message").fill("two more")
    await alice.press("Save")
    await alice.choose(written[0], "Erase")
    await alice.confirm("Erase")
    for each in (alice, bob):
        await each.line("two more").get_by_text("edited").wait_for()
        await each.line("This message was erased.").wait_for()
        await each.page.reload()
        await each.sees("two more")
        assert await each.texts() == ["This message was erased.", *written[1:], "two more"]
    # What the server would have to keep is said not to be.
    await alice.more("Hide this conversation")
    await alice.confirm("Hide")
    await alice.says("This service keeps no conversations.")
    await alice.at("search/")
    await alice.page.get_by_label("Words").fill("more")
    await alice.press("Search")
    await alice.says("This service keeps no conversations.")


async def test_no_search_and_no_websocket_are_said(tmp_path: Path, person: PersonFactory) -> None:
    node = with_websocket(tmp_path, history__search=False).start()
    alice = await register(await person(), node.api, "alice")
    alice.person.expects("status of 403")
    await alice.at("search/")
    await alice.page.get_by_label("Words").fill("more")
    await alice.press("Search")
    await alice.says("This service does not offer to search.")

    async def without(route: Route) -> None:
        answer = await route.fetch()
        told = await answer.json()
        kept = [each for each in told.get("connectors", []) if not each.startswith("ws")]
        await route.fulfill(response=answer, json=told | {"connectors": kept})

    bob = await person()
    bob.expects("status of 400")  # a proof is asked for over a nonce
    await bob.context.route(LOGINS, without)
    page = await bob.tab(f"{node.api}/")
    node.register("bob")
    await page.get_by_label("Name").fill("bob")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_role("alert").get_by_text("This service lets no browsers in").wait_for()
    # Once there is one, it needs no new page.
    await bob.context.unroute(LOGINS)
    await page.get_by_role("button", name="Log in").click()
    await page.locator(".chats").wait_for()
    for each in (alice.person, bob):
        each.expects(SERVER_AWAY, "status of 50[23]")
    assert node.stop() == 0


async def test_who_has_too_many_devices_logs_in_in_the_place_of_one(
    node: Node, person: PersonFactory, user: UserOf
) -> None:
    first = await register(await person(), node.api, user("alice"))
    first.person.expects("status of 40[0134]")
    second, third = await person(), await person()
    second.expects("status of 403")
    third.expects("status of 40[39]")
    await log_in(second, node.api, first.user)
    await first.page.close()
    page = await third.tab(f"{node.api}/")
    await page.get_by_label("Name").fill(first.user)
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_role("alert").get_by_text("devices").wait_for()
    await page.get_by_label("Remove the device that was silent longest").check()
    await page.get_by_role("button", name="Log in").click()
    await page.locator(".chats").wait_for()
    gone = await first.person.tab(f"{node.api}/")
    await gone.get_by_role("alert").get_by_text("has been removed").wait_for()
