"""The load test's report in a real Chromium: everything is drawn, on a phone and on a desk, by day and by night.

`SPARROW_PICTURES=docs/pictures` keeps the picture of docs/load.md, which is of a real run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from load.compare import matched
from load.html import beside, page
from load.report import Second
from load.spec import Options
from tests.load.results import report
from tests.web.browsing import PersonFactory, until

if TYPE_CHECKING:
    from playwright.async_api import Page

ROOT = Path(__file__).resolve().parents[2]
KEEP = os.environ.get("SPARROW_PICTURES", "")
SECONDS = [
    Second(
        at=float(n), phase="storm" if 5 < n < 9 else "measuring", online=100 + n, received=700 - 9 * n, p50_ms=0.5,
        p99_ms=3.0 + 200 * (n == 7), cpu_percent=40.0, resident_mib=80.0 + n, exceptions=2 * (n > 7),
        disconnects=900 * (n == 7),
    )
    for n in range(1, 13)
]  # fmt: skip
_COLOURS = """() => [...document.querySelectorAll("canvas")].map((canvas) => {
    const drawn = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const seen = new Set();
    for (let at = 0; at < drawn.length; at += 4) {
        if (drawn[at + 3] === 255) seen.add(`${drawn[at]},${drawn[at + 1]},${drawn[at + 2]}`);
    }
    return [...seen];
})"""


def _colour(css: str) -> str:
    return css.removeprefix("rgb(").removesuffix(")").replace(" ", "")


async def _first_line(page: Page) -> str:
    """The colour that the first curve is to have."""
    return _colour(await page.locator(".key.line-0").first.evaluate("(key) => getComputedStyle(key).borderTopColor"))


async def _fits(page: Page) -> bool:
    return bool(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize("phone", [True, False], ids=["phone", "desktop"])
async def test_everything_is_drawn_for_day_and_night(person: PersonFactory, phone: bool, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page([report(Options("storm"), seconds=SECONDS)]))
    someone = await person(phone=phone)
    tab = await someone.tab(file.as_uri())
    figures = await tab.locator("figure.plot").count()
    assert figures == 7
    await until(tab, "document.querySelectorAll('canvas').length === 7")
    by_day = await _first_line(tab)
    assert all(by_day in seen for seen in (await tab.evaluate(_COLOURS))[:6])
    assert await _fits(tab)
    assert not await tab.locator("details table").first.is_visible()
    await tab.locator("summary", has_text="Figures").click()
    assert await tab.locator("details table").first.is_visible()
    await tab.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert await _fits(tab)
    await tab.emulate_media(color_scheme="dark")
    by_night = await _first_line(tab)
    assert by_night != by_day
    assert all(by_night in seen and by_day not in seen for seen in (await tab.evaluate(_COLOURS))[:6])


async def test_what_is_under_the_pointer_is_told_in_all_pictures(person: PersonFactory, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page([report(Options("storm"), seconds=SECONDS)]))
    tab = await (await person()).tab(file.as_uri())
    latency = tab.locator("figure", has_text="One way").first
    over = latency.locator(".u-over")
    box = await over.bounding_box()
    assert box is not None
    await over.hover(position={"x": box["width"] * 7 / 12, "y": 20})
    assert await latency.locator(".at").inner_text() == "at 7 s"
    assert await latency.locator("li").all_inner_texts() == ["p50 0.5", "p99 203"]
    assert await tab.locator("figure", has_text="Shown to readers").locator("li").inner_text() == "shown 637"
    assert await tab.locator("figure", has_text="Latency by percentile").locator(".at").inner_text() == ""


async def test_two_are_drawn_in_one_picture(person: PersonFactory, tmp_path: Path) -> None:
    file = tmp_path / "compare.html"
    file.write_text(beside(matched([report(seconds=SECONDS)], [report(seconds=SECONDS[:7])])))
    tab = await (await person(phone=True)).tab(file.as_uri())
    await until(tab, "document.querySelectorAll('canvas').length >= 5")
    keys = tab.locator("figure", has_text="Shown to readers").locator(".key")
    wanted = [_colour(await key.evaluate("(key) => getComputedStyle(key).borderTopColor")) for key in await keys.all()]
    (first, *_) = await tab.evaluate(_COLOURS)
    assert len(set(wanted)) == 2
    assert set(wanted) <= set(first)
    assert await _fits(tab)


@pytest.mark.full
async def test_the_picture_of_the_documents(person: PersonFactory, tmp_path: Path) -> None:
    html = tmp_path / "storm.html"
    command = ["load", "storm", "--sessions", "1500", "--seconds", "12", "--warm-up-s", "5", "--quiet", "--html", html]
    subprocess.run([sys.executable, "-m", "sparrow.cli", *command], cwd=ROOT, check=True, timeout=120)
    tab = await (await person(viewport={"width": 1180, "height": 1600})).tab(html.as_uri())
    box = await tab.locator(".plots").first.bounding_box()
    assert box is not None
    kept = (Path(KEEP) if KEEP else tmp_path) / "load.png"
    await tab.screenshot(path=kept, clip={"x": 0, "y": 0, "width": 1180, "height": box["y"] + box["height"] + 15})
    assert 20_000 < kept.stat().st_size < 150_000


def test_the_documents_have_it() -> None:
    assert (ROOT / "docs/pictures/load.png").is_file()
    assert "](pictures/load.png)" in (ROOT / "docs/load.md").read_text()
