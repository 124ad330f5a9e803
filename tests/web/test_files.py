"""The page: files are sent, shown and saved, and run nothing."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

from tests.sparrow.serving import Node
from tests.web.browsing import PersonFactory
from tests.web.chatting import Chatter, register, sent_file

UserOf = Callable[[str], str]
SECRET = b"taken at 52.5200 N, 13.4050 E"


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, text: bytes = b"") -> bytes:
    """A picture of one colour, with something written into it."""
    rows = (b"\0" + b"\x7a\x4a\x21" * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"tEXt", b"Comment\0" + text), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in chunks)


async def _pair(node: Node, person: PersonFactory, user: UserOf) -> tuple[Chatter, Chatter]:
    alice = await register(await person(), node.api, user("alice"))
    bob = await register(await person(), node.api, user("bob"))
    await alice.open(bob.user)
    await bob.open(alice.user)
    return alice, bob


async def _send(chatter: Chatter, *files: dict[str, Any]) -> None:
    await chatter.page.locator("input[type=file]").set_input_files(list(files))
    await chatter.confirm("Send")


async def _saved(chatter: Chatter, name: str) -> bytes:
    async with chatter.page.expect_download() as waiting:
        await chatter.line(name).get_by_role("button", name="Save").click()
    download = await waiting.value
    assert download.suggested_filename == name
    return (await download.path()).read_bytes()


async def test_a_picture_is_shown_and_tells_no_more_than_it_shows(
    node: Node, person: PersonFactory, user: UserOf
) -> None:
    alice, bob = await _pair(node, person, user)
    await _send(alice, sent_file("tree.png", _png(30, 20, SECRET), "image/png"))
    await alice.progress("tree.png", "read")
    for each in (alice, bob):
        image = each.line("tree.png").get_by_role("img", name="tree.png")
        await image.wait_for()
        assert await image.evaluate("(image) => [image.naturalWidth, image.naturalHeight]") == [30, 20]
        assert (await image.get_attribute("src") or "").startswith("blob:")
    saved = await _saved(bob, "tree.png")
    assert saved.startswith(b"\x89PNG")
    assert SECRET not in saved
    await bob.line("tree.png").get_by_role("button", name="Enlarge tree.png").click()
    await bob.page.locator("dialog").get_by_role("img", name="tree.png").wait_for()
    await bob.page.keyboard.press("Escape")
    await bob.page.locator("dialog").wait_for(state="detached")


async def test_what_is_no_picture_is_saved_and_never_shown(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice, bob = await _pair(node, person, user)
    page = b"<script>alert(1)</script>"
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(2)"><script>alert(3)</script></svg>'
    huge = _png(1, 1)[:16] + struct.pack(">II", 30_000, 30_000) + _png(1, 1)[24:]
    files = {"page.html": page, "drawing.svg": drawing, "lie.png": page, "huge.png": huge, "empty.txt": b""}
    types = {"page.html": "text/html", "drawing.svg": "image/svg+xml", "empty.txt": "text/plain"}
    for name, content in files.items():
        await _send(alice, sent_file(name, content, types.get(name, "image/png")))
        await bob.sees(name)
    for name, content in files.items():
        assert await _saved(bob, name) == content
    await bob.page.locator(".picture").first.wait_for(state="detached")
    assert await bob.page.locator("article img:not([role]), article svg:not(.icon), article iframe").count() == 0


async def test_a_file_is_dropped_or_pasted_and_an_upload_stopped(
    node: Node, person: PersonFactory, user: UserOf
) -> None:
    alice, bob = await _pair(node, person, user)
    transfer = await alice.page.evaluate_handle(
        "() => { const it = new DataTransfer(); it.items.add(new File(['dropped words'], 'a.txt')); return it; }"
    )
    await alice.page.locator(".conversation").dispatch_event("drop", {"dataTransfer": transfer})
    await alice.confirm("Send")
    await bob.sees("a.txt")
    assert await _saved(bob, "a.txt") == b"dropped words"
    await alice.page.evaluate("""() => {
        const it = new DataTransfer();
        it.items.add(new File(['pasted'], 'b.txt'));
        const box = document.querySelector('textarea');
        box.dispatchEvent(new ClipboardEvent('paste', { clipboardData: it, bubbles: true, cancelable: true }));
    }""")
    await alice.confirm("Cancel")
    # One that is slow can be stopped.
    slow = await alice.person.devtools(alice.page)
    await slow.send("Network.enable")
    speed = {"offline": False, "latency": 20, "downloadThroughput": -1, "uploadThroughput": 60_000}
    await slow.send("Network.emulateNetworkConditions", speed)
    alice.person.expects("net::ERR_ABORTED")
    await _send(alice, sent_file("large.bin", b"x" * 900_000))
    await alice.page.get_by_role("progressbar", name="Sending large.bin").wait_for()
    await alice.page.get_by_role("button", name="Stop sending large.bin").click()
    await alice.page.get_by_role("progressbar").wait_for(state="detached")
    assert await alice.texts() == []
