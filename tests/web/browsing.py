"""People at a real Chromium: each with storage and tabs of their own, and with everything noted that went wrong there.

Owns how the browser is found and started, and what counts as trouble: an error on the console, one that no script has
caught, a violation of the page's policy (CSP), a tab that crashed, a request to somebody else's server.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.cluster.processes import GUARD_S

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, CDPSession, ConsoleMessage, Page, Playwright, Request

SCREENSHOTS = Path(__file__).parents[2] / "var" / "web-failures"
"""Where each tab of a test that failed is pictured."""

DESKTOP: dict[str, Any] = {"viewport": {"width": 1200, "height": 800}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 720},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}

SERVER_AWAY = r"net::ERR_|WebSocket connection to .* failed"
"""For `Person.expects`: what Chromium says of a server that was killed, and of a network that is gone."""

# They are errors on the console as well, but for those that are only reported.
_TELL_VIOLATIONS = """addEventListener("securitypolicyviolation", (event) => console.error(
    `securitypolicyviolation: ${event.effectiveDirective} ${event.blockedURI} ${event.sample}`))"""
# What a person is suggested in the address bar is drawn by two more pages for each window, which take more than ours.
# The others are what Playwright switches off itself: its own list does not count beside another one.
_WITHOUT = "--disable-features=" + ",".join(
    [
        *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "AimEnabled"),
        *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades"),
        *("HttpsFirstBalancedModeAutoEnable", "LensOverlay", "MediaRouter", "PaintHolding"),
        *("ThirdPartyStoragePartitioning", "AvoidCorsURLLoaderRestartOnRedirect", "OptimizationHints"),
        *("NetworkTimeServiceQuerying", "PreconnectToSearch"),
    ]
)
# Tabs are slowed down to a wake-up a minute after seconds, not minutes.
_FLAGS = [
    _WITHOUT,
    "--headless",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--password-store=basic",
    "--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/1",
]
_LOCAL = {"127.0.0.1", "localhost", ""}


def find_chromium() -> str:
    """Where Chromium is. Skips the test where there is none, or nothing that drives it; under CI it fails."""
    found = shutil.which("chromium")
    try:
        import playwright  # noqa: F401
    except ImportError:
        found = None
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no Chromium: run scripts/install-browser")
    return found


def arguments(**more: Any) -> dict[str, Any]:
    """How it is started. Its sandbox is not for root."""
    return {"executable_path": find_chromium(), "chromium_sandbox": os.geteuid() != 0, "args": [_WITHOUT], **more}


class Person:
    """One person's browser. What went wrong is in `troubles`; the fixture `person` fails the test for it."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.troubles: list[str] = []
        self.said: list[str] = []
        """All that was on the console."""
        self._expected: list[re.Pattern[str]] = []
        context.on("page", self._watch)
        context.on("console", self._console)
        context.on("weberror", lambda told: self._trouble(f"not caught: {told.error.stack or told.error}"))
        context.on("request", self._request)

    @property
    def page(self) -> Page:
        """The first tab that is open."""
        return self.context.pages[0]

    async def tab(self, url: str = "about:blank") -> Page:
        """One more tab, at this address."""
        page = await self.context.new_page()
        await page.goto(url)
        return page

    async def devtools(self, page: Page) -> CDPSession:
        """Chromium's own protocol, for what Playwright has no call for."""
        return await self.context.new_cdp_session(page)

    def expects(self, *patterns: str) -> None:
        """Trouble in which one of these is found is none, before and from now on."""
        self._expected += map(re.compile, patterns)

    @property
    def unexpected(self) -> list[str]:
        """Trouble that nobody expects."""
        return [each for each in self.troubles if not any(pattern.search(each) for pattern in self._expected)]

    def _trouble(self, text: str) -> None:
        self.troubles.append(text)

    def _watch(self, page: Page) -> None:
        page.on("crash", lambda page: self._trouble(f"crashed: {page.url}"))

    def _console(self, message: ConsoleMessage) -> None:
        self.said.append(f"{message.type}: {message.text}")
        if message.type in ("error", "assert"):
            self._trouble(f"console: {message.text} ({message.location.get('url', '')})")

    def _request(self, request: Request) -> None:
        if urlsplit(request.url).hostname not in _LOCAL and not request.url.startswith(
            ("data:", "blob:", "file:", "chrome")
        ):
            self._trouble(f"a third party was asked: {request.url}")


async def until(page: Page, expression: str, argument: object = None) -> None:
    """Return when this is true in a tab. (`wait_for_function` compiles it in the page, which a strict CSP forbids.)"""
    while not await page.evaluate(expression, argument):
        await asyncio.sleep(0.02)


async def crash(person: Person, page: Page) -> None:
    """Kill the process that draws a tab: nothing in it runs any more, nor anything of `unload`."""
    devtools = await person.devtools(page)
    async with page.expect_event("crash"):
        killing = asyncio.ensure_future(devtools.send("Page.crash"))  # it is never answered
    killing.cancel()
    await asyncio.wait([killing])


async def freeze(person: Person, page: Page) -> None:
    """Stop a hidden tab of a `Window`, as browsers do: no script, timer or message runs there until it thaws."""
    await until(page, "document.visibilityState === 'hidden'")
    await (await person.devtools(page)).send("Page.setWebLifecycleState", {"state": "frozen"})


async def thaw(person: Person, page: Page) -> None:
    """Let a frozen tab go on."""
    await (await person.devtools(page)).send("Page.setWebLifecycleState", {"state": "active"})


PersonFactory = Callable[..., Awaitable[Person]]


async def new_person(browser: Browser, **options: Any) -> Person:
    """A browser with nothing in it yet. `options`: Playwright's, as `locale` and `color_scheme`."""
    context = await browser.new_context(**options)
    return await _watched(context)


async def _watched(context: BrowserContext) -> Person:
    context.set_default_timeout(GUARD_S * 1000)
    await context.add_init_script(_TELL_VIOLATIONS)
    return Person(context)


class Window:
    """A browser of one person's own, with a profile on the disk, which outlives `kill`; and one window: a tab behind
    another one is hidden, its timers are slow, and it can be frozen. (Tabs of `Person` believe that they are in front.)
    """

    def __init__(self, playwright: Playwright, profile: Path) -> None:
        self._playwright = playwright
        self._profile = profile
        self._process: subprocess.Popen[bytes] | None = None

    async def open(self) -> Person:
        """Start it. Pages of before are not opened again."""
        told = self._profile / "DevToolsActivePort"
        told.unlink(missing_ok=True)
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        flags = [*_FLAGS, *sandbox, "--remote-debugging-port=0", f"--user-data-dir={self._profile}", "about:blank"]
        log = self._profile.with_suffix(".log").open("ab")
        with log:
            self._process = subprocess.Popen([find_chromium(), *flags], stdout=log, stderr=log, start_new_session=True)
        while not (told.is_file() and told.read_text().count("\n")):
            assert self._process.poll() is None, self._profile.with_suffix(".log").read_text()
            await asyncio.sleep(0.02)
        port, path = told.read_text().split()
        browser = await self._playwright.chromium.connect_over_cdp(f"ws://127.0.0.1:{port}{path}", no_defaults=True)
        return await _watched(browser.contexts[0])

    def kill(self) -> None:
        """kill -9 of all of it."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


async def picture(person: Person, name: str) -> None:
    """Keep what each tab shows, and say what was on the console."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    print(*person.said, sep="\n")
    for number, page in enumerate(person.context.pages):
        path = SCREENSHOTS / f"{re.sub('[^a-z0-9]+', '-', name.lower())}-{number}.png"
        try:
            await page.screenshot(path=path, timeout=2_000)
        except Exception as error:  # of a tab that crashed, or is frozen: any
            print(f"no picture of {page.url}: {error}")
        else:
            print(f"{page.url} is pictured in {path}")
