"""The page for all eyes and hands: axe finds nothing in any view, nothing is too wide, and a keyboard is enough."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.sparrow.serving import PASSWORD, Node
from tests.web.browsing import SERVER_AWAY, PersonFactory
from tests.web.chatting import Chatter, register, sent_file

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page

UserOf = Callable[[str], str]
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
NARROW = {"width": 320, "height": 640}
_ASSESS = """async (values) => {
    const { violations } = await axe.run(document, { runOnly: { type: 'tag', values }, resultTypes: ['violations'] });
    const textOf = ({ html, failureSummary }) => `${html.slice(0, 200)} ${failureSummary}`;
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(textOf).join(' | ')}`);
}"""
_WIDER = """() => [document.documentElement, ...document.querySelectorAll('body *')]
    .filter((one) => one.scrollWidth > innerWidth && getComputedStyle(one).overflowX !== 'hidden')
    .map((one) => `${one.tagName} ${one.className} is ${one.scrollWidth} wide`)"""


async def axe(page: Page) -> list[str]:
    """What axe finds in what is in view now, in the colours of whoever looks at it."""
    if await page.evaluate("typeof axe === 'undefined'"):
        await page.evaluate(AXE.read_text())
    found: list[str] = await page.evaluate(_ASSESS, RULES)
    return found


async def assess(page: Page, where: str) -> None:
    """The same, and what is wider than the window."""
    found = [*await axe(page), *await page.evaluate(_WIDER)]
    assert not found, "\n".join([where, *found])


async def _logins(page: Page) -> None:
    await page.get_by_role("button", name="Log in").wait_for()
    await assess(page, "logging in")
    await page.get_by_role("button", name="I am new here").click()
    await page.get_by_label("Password, once more").fill("?")
    await page.get_by_label("Password", exact=True).fill("!")
    await page.get_by_label("Name").fill("somebody")
    await page.get_by_role("button", name="Make the account").click()
    await page.get_by_role("alert").wait_for()
    await assess(page, "making an account")


async def _fill(alice: Chatter, bob: Chatter) -> str:
    """Lines of all kinds; returns a group with both."""
    await alice.open(bob.user)
    await bob.open(alice.user)
    await alice.write("to be edited", "to be erased", "https://example.invalid/" + "x" * 300, "שלום עולם, مرحبا")
    await alice.choose("to be edited", "Edit")
    await alice.page.get_by_role("textbox", name="Message").fill("edited by now")
    await alice.press("Save")
    await alice.choose("to be erased", "Erase")
    await assess(alice.page, "a question")
    await alice.confirm("Erase")
    await bob.write("an answer", "and one more")
    shot = await alice.page.screenshot(clip={"x": 0, "y": 0, "width": 400, "height": 300})
    for name, content, type in (("a.png", shot, "image/png"), ("n" * 200 + ".txt", b"x", "text/plain")):
        await alice.page.locator("input[type=file]").set_input_files(sent_file(name, content, type))
        await assess(alice.page, "a file")
        await alice.confirm("Send")
        await bob.sees(name)
    await bob.progress("and one more", "read")
    await alice.at("people")
    await alice.page.get_by_label("The group's name").fill("Lunch " + "x" * 90)
    await alice.press("Begin")
    await alice.page.get_by_label("Whom to ask into the group").fill(bob.user)
    await alice.press("Ask")
    bob.person.expects("status of 404")  # the group, before it is ours
    await bob.at("people")
    await bob.page.get_by_role("button", name="Join").wait_for()
    await assess(bob.page, "an invitation")
    await bob.press("Join")
    await bob.page.get_by_role("textbox", name="Message").wait_for()
    return alice.page.url.split("/")[-1]


async def _walk(one: Chatter, other: Chatter, group: str) -> None:
    page = one.page
    await one.open(group)
    await one.write(f"from {one.user}")
    await one.sees(f"from {other.user}")
    await assess(page, "a group")
    for where in ("list", f"about/{other.user}", f"about/{group}", "people", "settings", "search/"):
        await one.at(where)
        await page.get_by_role("main").wait_for()
        await assess(page, where)
    await page.get_by_label("Words").fill("answer")
    await one.press("Search")
    await page.get_by_role("button", name="Search", disabled=False).wait_for()
    await assess(page, "what was found")
    await one.open(other.user)
    await one.line("a.png").get_by_role("img").first.wait_for()
    await assess(page, "a conversation")
    theirs = page.locator("article:not(.is-mine)").last
    await theirs.hover()
    await theirs.get_by_role("button", name="What to do with this message").click()
    await page.get_by_role("menuitem", name="Report").wait_for()
    await assess(page, "a menu")
    await page.get_by_role("menuitem", name="Report").click()
    await page.get_by_role("dialog").wait_for()
    await assess(page, "a report")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Enlarge a.png").click()
    await page.get_by_role("dialog").wait_for()
    await assess(page, "a picture")
    await page.keyboard.press("Escape")


async def test_nothing_is_in_the_way_in_any_view(node: Node, person: PersonFactory, user: UserOf) -> None:
    somebody, else_ = await person(), await person(phone=True, viewport=NARROW, color_scheme="dark")
    for each in (somebody, else_):
        first = await each.tab(f"{node.api}/")
        await _logins(first)
        await first.close()
        each.expects(SERVER_AWAY, "status of (404|50[23])")
    alice = await register(somebody, node.api, user("alice"))
    bob = await register(else_, node.api, user("bob-with-a-name-that-is-longer-than-most"))
    for each in (alice, bob):
        await assess(each.page, "nothing yet")
    group = await _fill(alice, bob)
    await alice.open("nobody-has-this-name")
    await alice.write("to nobody")
    await alice.progress("to nobody", "not sent")
    await assess(alice.page, "not sent")
    await asyncio.gather(_walk(alice, bob, group), _walk(bob, alice, group))
    node.kill()
    for each in (alice, bob):
        await each.page.get_by_text("Offline.").wait_for()
        await each.write("waits")
        await each.progress("waits", "waiting to be sent")
        await assess(each.page, "offline")
    node.start()


async def _key_to(target: Locator, key: str = "Tab") -> None:
    """Press a key until the focus is there."""
    for _ in range(40):
        if await target.evaluate("(one) => one === document.activeElement"):
            return
        await target.page.keyboard.press(key)
    raise AssertionError(f"{key} does not come to {target}")


async def _choose(page: Page, key: str) -> None:
    """Open the menu that has the focus, go on by one key, and take what is there."""
    await page.keyboard.press("Enter")
    await page.locator("[role=menuitem]:focus").wait_for()
    await page.keyboard.press(key)
    await page.keyboard.press("Enter")


async def test_a_keyboard_is_enough(node: Node, person: PersonFactory, user: UserOf) -> None:
    bob = await register(await person(reduced_motion="reduce"), node.api, user("bob"))
    name = user("alice")
    node.register(name)
    await bob.open(name)
    await bob.write("are you there?")
    somebody = await person()
    page = await somebody.tab(f"{node.api}/")
    keyboard = page.keyboard
    alice = Chatter(somebody, page, node.api, name)
    await page.get_by_role("button", name="Log in").wait_for()
    for part in (name, "Tab", PASSWORD, "Enter"):
        await (keyboard.press(part) if part in ("Tab", "Enter") else keyboard.type(part))
    await alice.row(bob.user).wait_for()
    await _key_to(alice.row(bob.user).get_by_role("link"))
    await keyboard.press("Enter")
    await alice.sees("are you there?")
    # Who has written is not for the eye alone.
    assert (await alice.line("are you there?").all_text_contents())[0].startswith(f"{bob.user}: are")
    box = page.get_by_role("textbox", name="Message")
    await page.locator("textarea:focus").wait_for()
    await keyboard.type("Yes")
    await keyboard.press("Enter")
    await alice.progress("Yes", "read")
    menu = alice.line("Yes").get_by_role("button", name="What to do with this message")
    await _key_to(menu, "Shift+Tab")
    await _choose(page, "ArrowDown")
    await page.get_by_text("Editing a message").wait_for()
    await keyboard.type("!")
    await keyboard.press("Enter")
    await alice.line("Yes!").get_by_text("edited").wait_for()
    await keyboard.press("ArrowUp")
    await page.get_by_text("Editing a message").wait_for()
    await keyboard.press("Escape")
    await page.get_by_text("Editing a message").wait_for(state="detached")
    assert await box.input_value() == ""
    # What is closed gives the focus back to where it was.
    await _key_to(menu, "Shift+Tab")
    dialog = page.get_by_role("dialog", name="Erase this message?")
    for opened in (page.get_by_role("menu"), dialog):
        await (_choose(page, "ArrowUp") if opened is dialog else keyboard.press("Enter"))
        await opened.wait_for()
        await keyboard.press("Escape")
        await opened.wait_for(state="detached")
        await menu.and_(page.locator(":focus")).wait_for()
    await _choose(page, "ArrowUp")
    await _key_to(dialog.get_by_role("button", name="Erase"))
    await keyboard.press("Enter")
    await alice.line("This message was erased.").wait_for()
    await page.locator("article:focus").wait_for()
    # What comes is read out, and nothing else of the list.
    await bob.write("a pity")
    await page.get_by_role("status").get_by_text(f"{bob.user}: a pity").wait_for()
    assert await page.get_by_role("log").get_attribute("aria-live") == "off"
    await _key_to(page.get_by_role("link", name="People"), "Shift+Tab")
    await keyboard.press("Enter")
    await page.locator("h1:focus", has_text="People and groups").wait_for()
    await bob.write("x" * 70_000)
    await bob.says("bytes")
    assert await bob.page.locator(".toast").evaluate("(toast) => getComputedStyle(toast).animationName") == "none"
