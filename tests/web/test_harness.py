"""The tests' own eyes: what goes wrong in a browser is seen, and fails a test that does not expect it."""

from __future__ import annotations

import re

from tests.web.browsing import SERVER_AWAY, Person, PersonFactory, crash

URL = "http://127.0.0.1:1/"
"""Nobody is there: the tests answer themselves."""


async def strict(person: Person) -> None:
    """Answer with a page whose policy allows nothing."""
    headers = {"Content-Security-Policy": "default-src 'none'"}
    await person.context.route(URL, lambda route: route.fulfill(body="<!doctype html>", headers=headers))


async def test_what_goes_wrong_in_a_page_is_seen(person: PersonFactory) -> None:
    alice, bob = await person(), await person(phone=True)
    for each in (alice, bob):
        await strict(each)
        await each.tab(URL)
    await bob.page.evaluate("setTimeout(() => { throw new Error('nobody catches this') })")
    await bob.page.evaluate("console.error('said')")
    await bob.page.evaluate("document.head.append(Object.assign(document.createElement('script'), { src: '/x.js' }))")
    await (await bob.tab()).evaluate("fetch('http://example.invalid/').catch(() => 0)")
    expected = (
        "not caught: .*nobody catches this",
        "console: said",
        "securitypolicyviolation: script-src-elem",
        "console: Loading the script .* violates the following",
        "a third party was asked: http://example.invalid/",
        SERVER_AWAY,
    )
    assert all(sum(re.search(what, trouble) is not None for trouble in bob.unexpected) == 1 for what in expected)
    bob.expects(*expected)
    assert alice.unexpected == bob.unexpected == []
    assert await bob.page.evaluate("[screen.width, matchMedia('(pointer: coarse)').matches]") == [360, True]


async def test_a_crash_is_seen(person: PersonFactory) -> None:
    alice = await person()
    await strict(alice)
    await crash(alice, await alice.tab(URL))
    assert [each.split(":")[0] for each in alice.unexpected] == ["crashed"]
    alice.expects("^crashed")


async def test_fonts_for_emoji_and_for_text_from_right_to_left_are_there(person: PersonFactory) -> None:
    """What has no font is drawn as one and the same box."""
    page = await (await person()).tab()
    width = """(text) => {
        const context = document.createElement("canvas").getContext("2d");
        context.font = "40px sans-serif";
        context.fillText(text, 0, 60);
        return context.canvas.toDataURL();
    }"""
    drawn = [await page.evaluate(width, text) for text in ("\U0010fffd", "😀", "👩‍🚀", "ش", "ע")]
    assert len(set(drawn)) == len(drawn)
