"""What the page costs whoever sits before it: bytes of its first view, time until one can write, time from a key to the
picture, and what scrolling back through a long conversation does.

    scripts/install-browser && .venv/bin/python -m benchmarks.page [--messages 10000] [--runs 5]

Owns a node of its own in a folder that is thrown away, and one Chromium without a window. Times are the browser's own
(`performance.now()`): from a key going down until the frame is made that has its letter.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Any

from client import Client
from tests.sparrow.serving import PASSWORD, Node, with_websocket
from tests.web.browsing import DESKTOP, arguments

LETTERS = 200
_TO_BEGINNING = "() => { document.querySelector('[role=log]').scrollTop = 0; }"
_KEYS = """() => {
    globalThis.latencies = [];
    document.querySelector("textarea").addEventListener("keydown", () => {
        const from = performance.now();
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = () => latencies.push(performance.now() - from);
        requestAnimationFrame(() => port2.postMessage(0)); // which comes when that frame is made
    });
}"""
_FRAMES = """() => {
    globalThis.frames = [];
    let last = performance.now();
    const look = (now) => { frames.push(now - last); last = now; requestAnimationFrame(look); };
    requestAnimationFrame(look);
}"""


async def _fill(node: Node, messages: int) -> None:
    async with Client("alice", password=PASSWORD, api=node.api, register=True) as alice:
        for number in range(messages):
            await alice.send("alice", f"Message {number}: some words, as people write them, and then a few more.")


async def _open(chromium: Any, api: str) -> tuple[Any, dict[str, float]]:
    """A page that is logged in; and its first view: bytes on the wire, and milliseconds until one can write."""
    context = await chromium.new_context(**DESKTOP)
    page = await context.new_page()
    devtools = await context.new_cdp_session(page)
    await devtools.send("Network.enable")
    sizes: list[float] = []
    devtools.on("Network.loadingFinished", lambda told: sizes.append(told["encodedDataLength"]))
    await page.goto(f"{api}/")
    await page.get_by_label("Name").wait_for()
    interactive = await page.evaluate("performance.now()")
    first = {"first view, KiB": sum(sizes) / 1024, "until one can type, ms": interactive}
    await page.get_by_label("Name").fill("alice")
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await page.locator(".chats").wait_for()
    return page, first


async def _scroll_back(page: Any, messages: int) -> dict[str, float]:
    await page.evaluate(_FRAMES)
    begins = page.get_by_text("Here it begins.")
    loop = asyncio.get_running_loop()
    since = loop.time()
    while not await begins.count():
        await page.evaluate(_TO_BEGINNING)
        await asyncio.sleep(0.02)
    seconds = loop.time() - since
    frames = await page.evaluate("frames")
    elements = await page.evaluate("document.querySelectorAll('*').length")
    return {
        "scrolling back to the beginning, s": seconds,
        "the longest frame meanwhile, ms": max(frames),
        "frames longer than 50 ms, %": 100 * sum(each > 50 for each in frames) / len(frames),
        "elements in the document": elements,
    }


async def _type(page: Any) -> dict[str, float]:
    await page.evaluate(_KEYS)
    box = page.get_by_role("textbox", name="Message")
    await box.press_sequentially("a few words " * (LETTERS // 12), delay=15)
    await asyncio.sleep(0.2)
    latencies = sorted(await page.evaluate("latencies"))
    await box.fill("")
    return {
        "from a key to the picture, median, ms": statistics.median(latencies),
        "from a key to the picture, 95 %, ms": latencies[int(len(latencies) * 0.95)],
    }


async def _run(messages: int, runs: int) -> None:
    from playwright.async_api import async_playwright

    with tempfile.TemporaryDirectory() as folder:
        plenty = {
            "connector__max_messages_per_second": 100_000,
            "connector__max_messages_per_second_of_account": 100_000,
        }
        node = with_websocket(Path(folder) / "node", **plenty).start()
        try:
            await _fill(node, messages)
            async with async_playwright() as playwright:
                found: list[dict[str, float]] = []
                for _ in range(runs):
                    chromium = await playwright.chromium.launch(**arguments())
                    page, first = await _open(chromium, node.api)
                    await page.goto(f"{node.api}/#/chat/alice")
                    await page.locator("article").first.wait_for()
                    short = {f"{name} (newest page)": value for name, value in (await _type(page)).items()}
                    back = await _scroll_back(page, messages)
                    found.append(first | short | back | await _type(page))
                    await chromium.close()
        finally:
            node.stop()
    print(f"{messages} messages, medians of {runs} runs")
    for name in found[0]:
        print(f"  {statistics.median(each[name] for each in found):10.1f}  {name}")


def main() -> None:
    """Measure, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    arguments_ = parser.parse_args()
    asyncio.run(_run(arguments_.messages, arguments_.runs))


if __name__ == "__main__":
    main()
