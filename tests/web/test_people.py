"""The page: people, groups, and one's own account, as they are used."""

from __future__ import annotations

import re
from collections.abc import Callable

from client import Client
from tests.sparrow.serving import PASSWORD, Node
from tests.web.browsing import PersonFactory
from tests.web.chatting import log_in, register

UserOf = Callable[[str], str]


async def test_two_people_become_friends_and_part(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    bob = await register(await person(), node.api, user("bob"))
    await alice.at("people")
    await alice.page.get_by_label("The beginning of a name").fill(bob.user[:6])
    await alice.page.get_by_role("list", name="Found").get_by_text(bob.user).first.click()
    await alice.press("Ask to be friends")
    await alice.page.get_by_text("You have asked to be friends.").wait_for()
    await bob.page.get_by_role("link", name="People: 1 ask").click()
    await bob.press("Accept")
    await alice.page.get_by_text("You are friends.").wait_for()
    await alice.open(bob.user)
    await alice.page.locator("main").get_by_text("online").wait_for()
    await alice.at(f"about/{bob.user}")
    await alice.press("Block")
    await alice.confirm("Block")
    await alice.page.get_by_text("You have blocked them.").wait_for()
    await bob.open(alice.user)
    await bob.write("are you there?")
    await bob.progress("are you there?", "not sent")
    await bob.line("this user has blocked you").wait_for()
    assert await alice.row(bob.user).count() == 0
    await alice.at("settings")
    await alice.press("Unblock")
    await alice.page.get_by_role("heading", name="Blocked").wait_for(state="detached")
    await bob.line("are you there?").get_by_role("button", name="Send it again").click()
    await bob.progress("are you there?", "delivered")
    assert await bob.texts() == ["are you there?"]


async def test_a_group_from_its_beginning_to_its_end(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    bob = await register(await person(phone=True), node.api, user("bob"))
    await alice.at("people")
    await alice.page.get_by_label("The group's name").fill("<b>Lunch</b>")
    await alice.press("Begin")
    await alice.page.get_by_label("Whom to ask into the group").fill(bob.user)
    await alice.press("Ask")
    bob.person.expects("status of 404")  # the group, before it is ours
    await bob.page.get_by_role("link", name="People: 1 ask").click()
    await bob.page.get_by_text("<b>Lunch</b> (1 member)").wait_for()
    await bob.press("Join")
    await alice.page.get_by_role("heading", name="Members (2)").wait_for()
    group = alice.page.url.split("/")[-1]
    await alice.open(group)
    await alice.write("Who is hungry?")
    await bob.sees("Who is hungry?")
    await bob.page.locator("main").get_by_text(re.compile(f"{bob.user}\\W* joined")).wait_for()
    await bob.write("I am.", "Something rude")
    await alice.choose("Something rude", "Erase for all")
    await alice.confirm("Erase")
    await bob.line("This message was erased by the group.").wait_for()
    await alice.sees("I am.")
    await alice.choose("Who is hungry?", "Read by…")
    await alice.page.get_by_text("1 of 1").wait_for()
    await alice.page.keyboard.press("Escape")
    await alice.at(f"about/{group}")
    await alice.page.get_by_label(f"Role of {bob.user}").select_option("admin")
    await bob.page.locator("main").get_by_text(re.compile(f"{alice.user}\\W* made .*admin")).wait_for()
    await bob.at(f"about/{group}")
    await bob.press("Leave the group")
    await bob.confirm("Leave")
    await alice.page.get_by_role("heading", name="Members (1)").wait_for()


async def test_somebody_joins_by_a_link(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    bob = await register(await person(), node.api, user("bob"))
    await alice.at("people")
    await alice.page.get_by_label("The group's name").fill("Chess")
    await alice.press("Begin")
    await alice.press("Make a link for a day and ten people")
    secret = await alice.page.locator(".secret").inner_text()
    await bob.at("people")
    await bob.page.get_by_label("The link's secret").fill(secret)
    await bob.press("Look")
    await bob.page.get_by_text("Chess, 1 member").wait_for()
    await bob.press("Join")
    await bob.page.get_by_role("heading", name="Chess").wait_for()


async def test_a_conversation_is_muted_on_all_devices(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    bob = await register(await person(), node.api, user("bob"))
    await bob.open(alice.user)
    await bob.write("one")
    await alice.row(bob.user).click()
    await alice.sees("one")
    await alice.more("Mute")
    await alice.page.get_by_role("img", name="muted").wait_for()
    await alice.at("list")
    await bob.write("two")
    await alice.row(bob.user).get_by_label("1 unread").wait_for()
    assert await alice.page.title() == "Sparrow"
    other = await log_in(await person(), node.api, alice.user)
    await other.row(bob.user).click()
    await other.page.get_by_role("img", name="muted").wait_for()


async def test_profile_password_and_devices(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    other = await log_in(await person(), node.api, alice.user)
    other.person.expects("status of 401")
    await alice.at("settings")
    await alice.page.get_by_label("Name that others see").fill("<i>Alice</i>")
    await alice.press("Save")
    await alice.page.get_by_role("link", name="Settings").get_by_text("<i>Alice</i>").wait_for()
    await alice.page.get_by_label("The one you have").fill(PASSWORD)
    await alice.page.get_by_label("The new one", exact=True).fill("another horse")
    await alice.page.get_by_label("The new one, once more").fill("another horse")
    await alice.press("Change it, and log out my other devices")
    await alice.says("The password is changed.")
    # The other one has to log in again, and says why.
    await other.page.get_by_role("button", name="Log in").wait_for()
    await other.page.get_by_role("alert").wait_for()
    await other.page.get_by_label("Password").fill("another horse")
    await other.page.get_by_role("button", name="Log in").click()
    await other.page.locator(".chats").wait_for()
    await alice.page.reload()
    device = alice.page.get_by_role("listitem").filter(has=alice.page.get_by_role("button", name="Log out"))
    await device.get_by_role("button", name="Log out").click()
    await other.page.get_by_role("button", name="Log in").wait_for()


async def test_logging_out_leaves_nothing_in_the_browser(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    alice.person.expects("status of 401")  # of what was asked as the login ended
    second = await alice.person.tab(f"{node.api}/")
    await second.locator(".chats").wait_for()
    await alice.open(alice.user)
    await alice.write("a secret")
    await alice.page.get_by_role("textbox", name="Message").fill("and half of another")
    await alice.at("settings")
    await alice.press("Log out")
    for page in (alice.page, second):
        await page.get_by_role("button", name="Log in").wait_for()
    assert await alice.page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    await alice.page.wait_for_function("indexedDB.databases().then((found) => found.length === 0)")


async def test_an_account_is_deleted(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    alice.person.expects("status of 401")
    await alice.at("settings")
    await alice.page.get_by_text("Delete the account").click()
    await alice.page.get_by_label("Your password").fill(PASSWORD)
    await alice.press("Delete my account")
    await alice.page.get_by_role("button", name="Log in").wait_for()
    await alice.page.get_by_label("Name").fill(alice.user)
    await alice.page.get_by_label("Password", exact=True).fill(PASSWORD)
    await alice.page.get_by_role("button", name="Log in").click()
    await alice.page.get_by_role("alert").wait_for()


async def test_wrong_passwords_and_taken_names_are_said(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    mallory = await person()
    mallory.expects("status of 401", "status of 409", "status of 400")
    page = await mallory.tab(f"{node.api}/")
    await page.get_by_label("Name").fill(alice.user)
    await page.get_by_label("Password", exact=True).fill("a guess of mine")
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_role("alert").get_by_text("password").wait_for()
    await page.get_by_role("button", name="I am new here").click()
    await page.get_by_label("Password, once more").fill("a guess of mine")
    await page.get_by_role("button", name="Make the account").click()
    await page.get_by_role("alert").get_by_text("taken").wait_for()
    await page.get_by_label("Password, once more").fill("something else")
    await page.get_by_role("button", name="Make the account").click()
    await page.get_by_role("alert").get_by_text("differ").wait_for()


async def test_what_was_written_is_found(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    await alice.open(alice.user)
    await alice.write("the key is under the mat")
    await alice.progress("the key is under the mat", "sent")
    async with Client(alice.user, password=PASSWORD, api=node.api) as device:
        for number in range(150):  # more than two pages
            sending = await device.send(alice.user, f"and then {number}")
        await sending.sent
    await alice.page.reload()
    await alice.page.get_by_role("link", name="Search messages").click()
    await alice.page.get_by_label("Words").fill("under the mat")
    found = alice.page.get_by_role("list", name="Found").get_by_text("the key is under the mat")
    while not await found.count():  # some seconds later, it is
        await alice.press("Search")
        await alice.page.get_by_role("button", name="Search", disabled=False).wait_for()
    await found.click()
    await alice.sees("the key is under the mat")
    await alice.page.get_by_role("heading", name="Notes to myself").wait_for()
