"""The operator's page in Chromium: it shows what is wrong, does what is asked, and believes no name."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio

from client import Client
from tests.sparrow.people import OPTIONS
from tests.sparrow.serving import ADMIN_TOKEN, PASSWORD, Node, Operator
from tests.web.browsing import PersonFactory, until
from tests.web.test_access import axe

if TYPE_CHECKING:
    from playwright.async_api import Page

EVIL = "<img src=x onerror=alert(1)>"
SCRIPT = "<script>alert(2)</script>\u202e"
BODY = "what bob has written to alice"
VIEWS = ("Overview", "Accounts", "Groups", "Reports", "Settings")


class Broker:
    """The monitor of a process that is not there, and tells what a test says, under a name that is none."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {
            "role": "broker",
            "name": EVIL,
            "version": "0.0.9",
            "pid": 1,
            "up_s": 7.0,
            "not_ready": {},
            "values": {f"sparrow_certificate_expiration_timestamp_seconds{{setting={EVIL}}}": 4e9},
        }
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(owner.told).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Broker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return Operator.settings_in(tmp_path_factory.mktemp("token")) | {"userapi__page_url": "https://chat.example.net"}


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as made:
        yield made


@pytest.fixture(scope="module")
def operator(node: Node, broker: Broker) -> Iterator[Operator]:
    monitors = f"127.0.0.1:{node.environment['SPARROW_MONITOR__LISTEN_PORT']},{broker.address}"
    made = Operator(node, operator__look_interval_s=1, monitor__processes=monitors).start()
    yield made
    assert made.stop() == 0
    assert "Traceback" not in made.log


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def people(node: Node) -> None:
    """Alice, whose name is markup, and bob, whom she has reported; and their group, which is called after a script."""
    node.register("alice", "bob")
    async with (
        Client("alice", password=PASSWORD, api=node.api, options=OPTIONS) as alice,
        Client("bob", password=PASSWORD, api=node.api, options=OPTIONS) as bob,
        httpx.AsyncClient(base_url=node.api, trust_env=False, timeout=30) as web,
    ):
        await (await bob.send("alice", BODY)).sent
        async for _ in alice:
            break
        logged_in = await web.post("/v1/login", json={"user": "alice", "password": PASSWORD, "label": EVIL})
        web.headers["Authorization"] = f"Bearer {logged_in.json()['access_token']}"
        answers = [
            await web.patch("/v1/me", json={"display_name": EVIL}),
            await web.post("/v1/groups", json={"name": SCRIPT.strip("\u202e")}),
        ]
        (message,) = (await web.get("/v1/conversations/bob/messages")).json()["messages"]
        name = "/".join(message[part] for part in ("device", "stream", "id"))
        path = f"/v1/conversations/bob/messages/{name}/report"
        answers.append(await web.post(path, json={"text": SCRIPT}))
        assert all(answer.is_success for answer in answers), [answer.text for answer in answers]


async def log_in(page: Page, token: str = ADMIN_TOKEN) -> None:
    await page.get_by_label("The administrator's token").fill(token)
    await page.get_by_role("button", name="Log in").click()


async def go(page: Page, view: str) -> None:
    await page.get_by_role("link", name=view).click()
    await page.get_by_role("heading", name="What is wrong" if view == "Overview" else view, exact=True).wait_for()


async def is_safe(page: Page) -> None:
    """Nothing has become of the names but text."""
    assert await page.locator("main img, main script, main b b").count() == 0


async def test_it_shows_what_is_wrong_and_does_what_is_asked(
    node: Node, operator: Operator, broker: Broker, people: None, person: PersonFactory
) -> None:
    someone = await person()
    someone.expects("status of 401")
    page = await someone.tab(operator.url)
    await log_in(page, "wrong")
    await page.get_by_text("this is not the administrator's token").wait_for()
    await log_in(page)
    # What is wrong.
    await page.get_by_text("not all are of one release").wait_for()
    broker.told = broker.told | {"not_ready": {"store": SCRIPT}}
    await page.get_by_text(f"cannot store: {SCRIPT}").wait_for()
    await page.get_by_text("SparrowUnable").wait_for()
    await until(page, "document.querySelectorAll('.plot canvas').length === 6")
    assert await page.locator(".count.critical").text_content() == "2"
    await page.get_by_role("button", name="Look").click()
    await page.get_by_text(SCRIPT.strip("\u202e")).wait_for()
    await is_safe(page)
    broker.told = broker.told | {"not_ready": {}}
    await page.get_by_text("SparrowUnable").wait_for(state="detached")
    # A tab that is loaded again knows what it knew; another one is somebody else's.
    await page.reload()
    await page.get_by_text("not all are of one release").wait_for()
    other = await someone.tab(operator.url)
    await other.get_by_label("The administrator's token").wait_for()
    await other.close()
    # An account.
    await go(page, "Accounts")
    await page.get_by_text(EVIL).wait_for()
    await page.get_by_role("button", name="alice", exact=True).click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_text("enabled").wait_for()
    assert await dialog.get_by_text(EVIL).count() == 2  # her name, and that of her device
    await is_safe(page)
    await dialog.get_by_role("button", name="Disable").click()
    await dialog.get_by_text("Disabled: nobody is let in").wait_for()
    assert 'event=account_disabled user=alice by="(administrator)" from=127.0.0.1' in node.log
    await dialog.get_by_role("button", name="Enable").click()
    await dialog.get_by_role("button", name="Code for a new password").click()
    await page.get_by_text("https://chat.example.net/#reset=alice:").wait_for()
    await page.get_by_role("button", name="Done").click()
    # A group, and a report.
    await go(page, "Groups")
    await page.get_by_role("button", name=SCRIPT.strip("\u202e")).click()
    await dialog.get_by_text("1 members").wait_for()
    await page.get_by_role("button", name="Done").click()
    await go(page, "Reports")
    await page.locator("blockquote", has_text=SCRIPT).wait_for()
    assert BODY not in await page.content()
    await is_safe(page)
    await page.get_by_role("button", name="Take the message down…").click()
    await dialog.get_by_label("Type bob to go on").fill("bob")
    await dialog.get_by_role("button", name="Take down").click()
    await dialog.wait_for(state="detached")
    assert "event=message_taken_down user=bob" in node.log
    await page.get_by_role("button", name="Drop the report").click()
    await page.get_by_text("There is none.").wait_for()
    await page.get_by_role("button", name="Log out").click()
    await page.get_by_label("The administrator's token").wait_for()
    assert await page.evaluate("sessionStorage.length") == 0


@pytest.mark.full
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
async def test_for_all_eyes(operator: Operator, people: None, person: PersonFactory, phone: bool) -> None:
    someone = await person(phone=phone, color_scheme="dark" if phone else "light")
    page = await someone.tab(operator.url)
    found = {"Login": await axe(page)}
    await log_in(page)
    for view in VIEWS:
        await go(page, view)
        found[view] = await axe(page)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
    await go(page, "Accounts")
    await page.get_by_role("button", name="bob", exact=True).click()
    await page.get_by_role("dialog").get_by_text("Devices").wait_for()
    found["An account"] = await axe(page)
    assert not any(found.values()), found


@pytest.mark.full
async def test_another_page_gets_nothing(
    operator: Operator, broker: Broker, node: Node, people: None, person: PersonFactory
) -> None:
    """One of another port of this machine, which is the same site for browsers."""
    someone = await person()
    someone.expects("CORS policy", "net::ERR_", "status of 400", "frame-ancestors")
    page = await someone.tab(operator.url)
    await log_in(page)
    await page.get_by_text("What is wrong").wait_for()
    (secret,) = await page.evaluate("Object.values(sessionStorage)")
    other = await someone.tab(f"http://{broker.address}/")
    assert await other.evaluate("sessionStorage.length") == 0
    answers = await other.evaluate(
        """async ([url, secret]) => {
            const outcomes = [], path = `${url}/api/accounts/bob/disable`;
            for (const headers of [{}, { Authorization: `Bearer ${secret}` }]) {
                for (const mode of ['cors', 'no-cors']) {
                    try {
                        const answer = await fetch(path, { method: 'POST', mode, headers });
                        outcomes.push(answer.type);
                    } catch (error) {
                        outcomes.push('failed');
                    }
                }
            }
            return outcomes;
        }""",
        [operator.url, secret],
    )
    assert answers == ["failed"] * 4
    framed = await other.evaluate(
        """async (url) => {
            const frame = document.createElement('iframe');
            frame.src = url;
            document.body.append(frame);
            await new Promise((resolve) => frame.addEventListener('load', resolve));
            return frame.contentDocument === null;  // an error of the browser's own
        }""",
        operator.url,
    )
    assert framed
    assert not any(each.url.startswith(operator.url) for each in other.frames)
    assert "account_disabled user=bob" not in node.log
