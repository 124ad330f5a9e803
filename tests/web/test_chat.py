"""The page: conversations of two people, as they use it."""

from __future__ import annotations

from collections.abc import Callable

from tests.sparrow.serving import Node
from tests.web.browsing import PersonFactory
from tests.web.chatting import another_tab, log_in, register

UserOf = Callable[[str], str]


async def test_two_people_write_and_see_it_delivered_and_read(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    bob = await register(await person(phone=True), node.api, user("bob"))
    await alice.open(bob.user)
    await alice.write("Hello, Bob!")
    await alice.progress("Hello, Bob!", "delivered")
    await bob.row(alice.user).get_by_label("1 unread").wait_for()
    assert await bob.page.title() == "(1) Sparrow"
    await bob.row(alice.user).click()
    await bob.sees("Hello, Bob!")
    await alice.progress("Hello, Bob!", "read")
    await bob.write("Hello, Alice!")
    await alice.sees("Hello, Alice!")
    await bob.progress("Hello, Alice!", "read")
    await bob.page.get_by_role("link", name="Back to the list").click()
    assert await bob.row(alice.user).get_by_label("unread").count() == 0
    assert await bob.page.title() == "Sparrow"


async def test_everything_is_there_after_a_reload_in_order_and_once(
    node: Node, person: PersonFactory, user: UserOf
) -> None:
    alice = await register(await person(), node.api, user("alice"))
    bob = await register(await person(), node.api, user("bob"))
    await alice.open(bob.user)
    await bob.open(alice.user)
    written = []
    for number in range(6):
        await alice.write(f"from Alice {number:02}")
        await bob.write(f"from Bob {number:02}")
        written += [f"from Alice {number:02}", f"from Bob {number:02}"]
    await alice.sees(written[-1])
    await bob.progress("from Bob 05", "read")
    for each in (alice, bob):
        await each.page.reload()
        await each.sees(written[-1])
        assert sorted(await each.texts()) == sorted(written)
    assert [text for text in await bob.texts() if "Alice" in text] == [text for text in written if "Alice" in text]
    assert await alice.texts() == await bob.texts()
    # The ticks are there again, too.
    await bob.progress("from Bob 05", "read")
    # So is it for whoever logs in at another browser, for whom it is all history.
    third = await log_in(await person(), node.api, bob.user)
    await third.open(alice.user)
    await third.sees(written[-1])
    assert await third.texts() == await bob.texts()


async def test_a_message_is_edited_and_erased(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    bob = await register(await person(), node.api, user("bob"))
    await alice.open(bob.user)
    await bob.open(alice.user)
    await alice.write("see you at noon", "and bring the book")
    await bob.sees("and bring the book")
    await alice.choose("see you at noon", "Edit")
    await alice.page.get_by_role("textbox", name="Message").fill("see you at one")
    await alice.press("Save")
    for each in (alice, bob):
        await each.line("see you at one").get_by_text("edited").wait_for()
        assert await each.line("noon").count() == 0
    await alice.choose("and bring the book", "Erase")
    await alice.confirm("Erase")
    for each in (alice, bob):
        await each.line("This message was erased.").wait_for()
        assert await each.line("book").count() == 0
        await each.page.reload()
        await each.line("This message was erased.").wait_for()
        await each.line("see you at one").wait_for()


async def test_the_last_message_is_edited_by_the_arrow_key(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    await alice.open(alice.user)
    await alice.write("a note")
    await alice.progress("a note", "sent")
    await alice.page.get_by_role("textbox", name="Message").press("ArrowUp")
    await alice.page.get_by_role("textbox", name="Message").press_sequentially("!")
    await alice.page.keyboard.press("Enter")
    await alice.line("a note!").get_by_text("edited").wait_for()


async def test_somebody_is_typing(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    bob = await register(await person(), node.api, user("bob"))
    await alice.open(bob.user)
    await bob.open(alice.user)
    await alice.page.get_by_role("textbox", name="Message").press_sequentially("Hm")
    await bob.page.locator("main").get_by_text("typing…").wait_for()
    await alice.page.keyboard.press("Enter")
    await bob.sees("Hm")
    await bob.page.locator("main").get_by_text("typing…").wait_for(state="detached")


async def test_a_draft_is_there_after_a_reload(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    await alice.open(alice.user)
    await alice.page.get_by_role("textbox", name="Message").fill("half a thou")
    await alice.page.reload()
    assert await alice.page.get_by_role("textbox", name="Message").input_value() == "half a thou"


async def test_a_conversation_is_hidden_until_somebody_writes(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    bob = await register(await person(), node.api, user("bob"))
    await bob.open(alice.user)
    await bob.write("one")
    await alice.row(bob.user).click()
    await alice.sees("one")
    await alice.more("Hide this conversation")
    await alice.confirm("Hide")
    await alice.row(bob.user).wait_for(state="detached")
    await bob.write("two")
    await alice.row(bob.user).wait_for()
    await alice.open(bob.user)
    await alice.sees("two")


async def test_what_is_strange_is_shown_as_text(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    bob = await register(await person(), node.api, user("bob"))
    await alice.open(bob.user)
    await bob.open(alice.user)
    strange = [
        "<img src=x onerror=alert(1)><script>alert(2)</script>",
        "javascript:alert(3) data:text/html,<b>4",
        "\u202eevil\u202c \u2066x\u2069",
        "שלום עולם, مرحبا بالعالم",
        "👩‍👩‍👧‍👦🏳️‍🌈",
        "Z" + "\u0351" * 400,
        "a\n\n\nb",
        "that was all",
    ]
    for text in strange:
        await alice.write(text)
    await bob.sees("that was all")
    assert await bob.texts() == [text.strip() for text in strange]
    assert await bob.page.locator("article img:not([role])").count() == 0
    assert await bob.page.locator("article .text a").count() == 0
    await alice.write("look: https://example.invalid/a?b=c). And more")
    link = bob.page.get_by_role("link", name="https://example.invalid/a?b=c", exact=True)
    assert await link.get_attribute("rel") == "noopener noreferrer nofollow"


async def test_a_message_may_be_long_and_not_too_long(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    bob = await register(await person(), node.api, user("bob"))
    await alice.open(bob.user)
    await bob.open(alice.user)
    long = "sixteen letters. " * 3600  # 61,200 bytes
    await alice.write(long)
    await bob.sees("sixteen letters.")
    assert await bob.texts() == [long.strip()]
    too_long = "x" * 70_000
    await alice.write(too_long)
    await alice.says("bytes")
    # Nothing of it is lost.
    assert await alice.page.get_by_role("textbox", name="Message").input_value() == too_long


async def test_another_tab_shows_the_same_and_writes(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await register(await person(), node.api, user("alice"))
    bob = await register(await person(), node.api, user("bob"))
    await alice.open(bob.user)
    await bob.open(alice.user)
    second = await another_tab(alice)
    await second.open(bob.user)
    await second.write("from the second tab")
    for each in (alice, second, bob):
        await each.sees("from the second tab")
    await bob.write("to both")
    for each in (alice, second):
        await each.sees("to both")
    await alice.page.close()
    await second.write("alone now")
    await bob.sees("alone now")
    assert await bob.texts() == ["from the second tab", "to both", "alone now"]
    await second.progress("alone now", "read")
    assert await second.texts() == await bob.texts()
