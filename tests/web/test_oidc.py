"""Logging in to the page with an OpenID provider: a real one, which is certified (oidc-provider)."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from tests.services.openid import OpenIdProvider
from tests.sparrow.serving import Node, with_websocket
from tests.web.browsing import PersonFactory
from tests.web.test_access import assess

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.full

UserOf = Callable[[str], str]
IN = "Conversations"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIdProvider]:
    made = OpenIdProvider(tmp_path_factory.mktemp("provider"), ["http://127.0.0.1/"]).start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, provider: OpenIdProvider) -> Iterator[Node]:
    named = {f"userapi__{name}": value for name, value in provider.settings.items()}
    made = with_websocket(tmp_path_factory.mktemp("node"), **named)
    made.environment["SPARROW_USERAPI__PAGE_URL"] = f"{made.api}/"
    made.start()
    yield made
    assert made.stop() == 0, made.log
    assert "Traceback" not in made.log


async def at_provider(page: Page, who: str, answer: str = "Go on") -> None:
    """Come to its form, and answer."""
    await page.get_by_role("button", name="Log in with Example Ltd").click()
    await page.get_by_label("Who").fill(who)
    await page.get_by_role("button", name=answer).click()


async def is_in(page: Page) -> None:
    await page.get_by_role("navigation", name=IN).wait_for()


async def test_a_person_logs_in_and_out_and_in(node: Node, person: PersonFactory, user: UserOf) -> None:
    name = user("alice")
    alice = await person()
    asked: list[str] = []
    alice.context.on("request", lambda request: asked.append(request.url))
    page = await alice.tab(f"{node.api}/")
    await page.get_by_role("button", name="Log in with Example Ltd").wait_for()
    await assess(page, "with a provider")
    await at_provider(page, name)
    await is_in(page)
    # The code came behind the #, is gone from the address, and no request to the service has it in its path.
    assert urlsplit(page.url)._replace(fragment="").geturl() == f"{node.api}/"
    assert "code=" not in page.url
    assert asked
    assert not [url for url in asked if url.startswith(node.api) and ("code=" in url or "state=" in url)]
    assert await page.evaluate("sessionStorage.length") == 0
    # The login is bound to this browser's key, goes on after a reload, and is listed.
    await page.reload()
    await is_in(page)
    # Going back shows nothing of the login.
    await page.go_back()
    await page.go_forward()
    await is_in(page)
    assert "event=logged_in" in node.log
    assert "way=oidc" in node.log
    assert "code=" not in node.log


def answer_to(node: Node, who: str) -> str:
    """The address to which the provider sends somebody back who has logged in there."""
    verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    with httpx.Client(trust_env=False) as browser:
        asked = {"redirect_uri": f"{node.api}/", "code_challenge": challenge}
        address = httpx.URL(browser.post(f"{node.api}/v1/oidc/start", json=asked).json()["authorization_url"])
        while not str(address).startswith(node.api):
            found = browser.get(address)
            if not found.is_redirect:
                found = browser.post(address, data={"who": who, "answer": "yes"})
            address = address.join(found.headers["Location"])
    return str(address)


async def test_what_was_not_begun_in_this_tab_is_nothing(node: Node, person: PersonFactory, user: UserOf) -> None:
    """Somebody sends a link with the answer to a login of their own: nobody is logged in by it."""
    link = answer_to(node, user("mallory"))
    assert "code=" in link
    alice = await person()
    page = await alice.tab(link)
    await page.get_by_role("button", name="Log in with Example Ltd").wait_for()
    assert "code=" not in page.url
    # Nor while she is on the way herself: hers is begun again.
    await page.get_by_role("button", name="Log in with Example Ltd").click()
    await page.get_by_label("Who").wait_for()
    await page.goto(link)
    await page.get_by_role("button", name="Log in with Example Ltd").wait_for()
    assert await page.get_by_role("navigation", name=IN).count() == 0
    assert "mallory" not in await page.content()


async def test_who_says_no_comes_back_to_the_form(node: Node, person: PersonFactory, user: UserOf) -> None:
    alice = await person()
    page = await alice.tab(f"{node.api}/")
    await at_provider(page, user("alice"), "No")
    await page.get_by_text("the provider says no: access_denied").wait_for()
    await page.get_by_role("button", name="Log in with Example Ltd").wait_for()
    await assess(page, "refused by a provider")


async def test_a_name_that_somebody_has(node: Node, person: PersonFactory, user: UserOf) -> None:
    name = user("bob")
    node.register(name)
    alice = await person()
    alice.expects("status of 409")
    page = await alice.tab(f"{node.api}/")
    await at_provider(page, name)
    await page.get_by_text("is somebody else's here, or was").wait_for()
