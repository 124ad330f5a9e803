"""The TypeScript client in a page of its own, without the page of web/: what `npm run build` makes, as ES modules.

Owns the server of that page, with the policy (CSP) that the user API's page has, and a folder of what it serves.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.ports import free_port
from tests.sparrow.serving import PASSWORD
from tests.typescript.conftest import CLIENT
from tests.web.browsing import Person, until

if TYPE_CHECKING:
    from playwright.async_api import Page

_MODULES = "/node_modules"
_IMPORTS = {
    "sparrow-client": "/dist/index.js",
    "sparrow-client/browser": "/dist/browser.js",
    "@bufbuild/protobuf": f"{_MODULES}/@bufbuild/protobuf/dist/esm/index.js",
    "@bufbuild/protobuf/codegenv2": f"{_MODULES}/@bufbuild/protobuf/dist/esm/codegenv2/index.js",
    "@noble/hashes/sha2.js": f"{_MODULES}/@noble/hashes/sha2.js",
    "idb": f"{_MODULES}/idb/build/index.js",
}
_MAP = json.dumps({"imports": _IMPORTS})
_PAGE = f"""<!doctype html><title>tab</title><link rel="icon" href="data:,">
<script type="importmap">{_MAP}</script><script type="module" src="/client.js"></script>"""


def _policy(api: str) -> str:
    """As strict as the page's, but for the map of modules, which has to be inline."""
    digest = base64.b64encode(hashlib.sha256(_MAP.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; worker-src 'self'; img-src data:; "
        f"connect-src 'self' {api} ws://127.0.0.1:*; require-trusted-types-for 'script'; trusted-types sparrow"
    )


class ClientPage:
    """Serves it, from another origin than the user API's. A context manager."""

    def __init__(self, folder: Path, bin: Path) -> None:
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self.api = self.origin
        """The user API that the page may call."""
        environment = {**os.environ, "PATH": f"{bin}:{os.environ['PATH']}"}
        build = ["node_modules/.bin/tsc", "-p", "tsconfig.build.json", "--noCheck", "--outDir", folder / "dist"]
        subprocess.run(build, cwd=CLIENT, env=environment, check=True, timeout=120)
        shutil.copytree(CLIENT / "src/gen", folder / "dist/gen")
        (folder / "node_modules").symlink_to(CLIENT / "node_modules")
        shutil.copy(Path(__file__).parent / "client.js", folder)
        (folder / "index.html").write_text(_PAGE)
        owner = self

        class Handler(SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def end_headers(self) -> None:
                self.send_header("Cache-Control", "no-store" if "hangs" in self.path else "max-age=3600")
                sandbox = "; sandbox allow-scripts" if "sandboxed" in self.path else ""
                self.send_header("Content-Security-Policy", _policy(owner.api) + sandbox)
                self.send_header("Access-Control-Allow-Origin", "*")  # a sandboxed page is of no origin
                super().end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), partial(Handler, directory=folder))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def hangs(self, is_so: bool) -> None:
        """Whether a tab that was asked to hang goes on with it."""
        (self._folder / "hangs").write_text(str(is_so))

    def __enter__(self) -> ClientPage:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Device:
    """One person's device, in as many tabs as a test opens, and what it has told: `kept` and `got`, in their order."""

    def __init__(self, person: Person, page: ClientPage, user: str) -> None:
        self.person, self.user = person, user
        self.kept: list[str] = []
        self.got: list[str] = []
        self._names: list[str] = []
        self._page = page
        self._changed = asyncio.Event()

    async def listen(self) -> Device:
        """What each tab calls."""
        await self.person.context.expose_binding("report", self._report)
        return self

    def _report(self, _: object, text: str, name: str) -> None:
        if name == "kept":
            self.kept.append(text)
        elif name not in self._names:  # in a tab's hands when that died: told to the next one again
            self._names.append(name)
            self.got.append(text)
        self._changed.set()

    async def tab(self, path: str = "/") -> Page:
        """A tab that has loaded the client."""
        page = await self.person.tab(self._page.origin + path)
        await until(page, "globalThis.tab !== undefined")
        return page

    @property
    def options(self) -> dict[str, Any]:
        """For `Client.open`."""
        timing = {"firstRetryMs": 50, "lastRetryMs": 500}
        # A machine that is busy is no failure.
        return {"api": self._page.api, "password": PASSWORD, "openTimeoutMs": 60_000, "timing": timing}

    async def lead(self) -> Page:
        """A tab that waits for its turn."""
        page = await self.tab()
        await page.evaluate("([user, options]) => tab.lead(user, options)", [self.user, self.options])
        return page

    async def open(self, **options: Any) -> Page:
        """A tab that is the device, logged in."""
        page = await self.tab()
        await page.evaluate("([user, options]) => tab.open(user, options)", [self.user, self.options | options])
        return page

    async def send(self, page: Page, dest: str, texts: list[str]) -> None:
        """Send these from that tab, and return when all are kept."""
        await page.evaluate("([dest, texts]) => tab.send(dest, texts)", [dest, texts])

    async def until_got(self, text: str) -> None:
        """Return when this has come."""
        while text not in self.got:
            self._changed.clear()
            await self._changed.wait()

    async def until_kept(self, count: int) -> None:
        """Return when so many are kept."""
        while len(self.kept) < count:
            self._changed.clear()
            await self._changed.wait()


async def is_leading(page: Page) -> None:
    """Return when this tab is the device, and logged in."""
    await until(page, "tab.client?.isConnected")


async def told(page: Page, *what: str) -> None:
    """Return when the tab's client has told this."""
    await until(page, "(what) => globalThis.tab?.told.some((each) => `${each}` === `${what}`)", [*what])
