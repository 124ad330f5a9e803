"""The pictures of the README: a scene that people play. `SPARROW_PICTURES=docs/pictures` keeps them."""

from __future__ import annotations

import math
import os
import struct
import zlib
from pathlib import Path

import pytest

from tests.sparrow.serving import Node
from tests.web.browsing import Person, PersonFactory
from tests.web.chatting import Chatter, register, sent_file

KEEP = os.environ.get("SPARROW_PICTURES", "")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _evening(width: int = 480, height: int = 320) -> bytes:
    """Hills before a sky, as a PNG."""
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            far = 190 + 26 * math.sin(x / 58) + 12 * math.sin(x / 23)
            near = 245 + 30 * math.sin(x / 90 + 2)
            sun = (x - 330) ** 2 + (y - 150) ** 2 < 34**2
            sky = (250 - y // 4, 190 - y // 3, 120 + y // 5)
            rows += bytes((52, 70, 60) if y > near else (96, 98, 92) if y > far else (255, 236, 190) if sun else sky)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in chunks)


async def _named(person: Person, node: Node, user: str, name: str) -> Chatter:
    chatter = await register(person, node.api, user)
    await chatter.at("settings")
    await chatter.page.get_by_label("Name that others see").fill(name)
    await chatter.press("Save")
    await chatter.page.locator(".side .me", has_text=name).wait_for(state="attached")
    return chatter


async def _befriend(one: Chatter, other: Chatter) -> None:
    await one.at(f"about/{other.user}")
    await one.press("Ask to be friends")
    await other.at("people")
    await other.press("Accept")


async def _says(author: Chatter, other: Chatter, *texts: str) -> None:
    for text in texts:
        await author.write(text)
        await other.sees(text)


@pytest.mark.full
async def test_the_pictures_of_the_readme(node: Node, person: PersonFactory, tmp_path: Path) -> None:
    folder = Path(KEEP) if KEEP else tmp_path
    folder.mkdir(exist_ok=True)
    alice = await _named(await person(), node, "alice", "Alice")
    bob = await _named(await person(phone=True, color_scheme="dark"), node, "bob", "Bob")
    carol = await _named(await person(), node, "carol", "Carol")
    for each in (bob, carol):
        await _befriend(alice, each)
    await alice.at("people")
    await alice.page.get_by_label("The group's name").fill("Hiking")
    await alice.press("Begin")
    await alice.page.get_by_role("heading", name="Members (1)").wait_for()
    group = alice.page.url.split("/")[-1]
    for each in (bob, carol):
        each.person.expects("status of 404")  # the group, before it is theirs
        await alice.page.get_by_label("Whom to ask into the group").fill(each.user)
        await alice.press("Ask")
        await each.at("people")
        await each.press("Join")
    await alice.open(group)
    await _says(alice, bob, "Where to on Sunday?")
    await _says(carol, alice, "The ridge! Back by six.")
    await bob.open(alice.user)
    await alice.open(bob.user)
    await _says(alice, bob, "Did you see the sky last night?")
    await _says(bob, alice, "No, I was asleep by nine 😴")
    await alice.page.locator("input[type=file]").set_input_files([sent_file("evening.png", _evening(), "image/png")])
    await alice.confirm("Send")
    await bob.line("evening.png").get_by_role("img", name="evening.png").wait_for()
    await _says(bob, alice, "Wow. From the ridge?")
    await _says(alice, bob, "Yes, a bit after eight")
    await alice.progress("Yes, a bit after eight", "read")
    await bob.page.get_by_role("textbox", name="Message").press_sequentially("Next time, wake me")
    await alice.page.locator("main").get_by_text("typing…").wait_for()
    await alice.page.screenshot(path=folder / "page.png")
    await bob.page.screenshot(path=folder / "page-phone.png")
    await bob.at("list")
    await bob.row("Hiking").get_by_text("The ridge!").wait_for()
    await bob.page.screenshot(path=folder / "page-phone-list.png")
    await alice.at(f"about/{group}")
    await alice.page.get_by_role("heading", name="Members (3)").wait_for()
    await alice.page.screenshot(path=folder / "page-group.png")
    for path in folder.glob("*.png"):
        assert path.stat().st_size < 300_000


@pytest.mark.parametrize("name", ["page.png", "page-phone.png", "page-phone-list.png", "page-group.png"])
def test_the_readme_has_them(name: str) -> None:
    root = Path(__file__).resolve().parents[2]
    assert (root / "docs/pictures" / name).is_file()
