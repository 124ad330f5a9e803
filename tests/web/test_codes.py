"""Codes in the page: an invitation and a new password, from links whose codes no server and no history sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.sparrow.serving import PASSWORD, Node
from tests.web.browsing import PersonFactory
from tests.web.test_access import assess

if TYPE_CHECKING:
    from playwright.async_api import Page

TOKEN = "0123456789abcdef" * 4
NEW = "battery staple"
UserOf = Callable[[str], str]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    token = tmp_path_factory.mktemp("token") / "admin"
    token.write_text(TOKEN)
    token.chmod(0o600)
    return {"userapi__admin_token_file": token, "userapi__registration": "invitation"}


def admin(node: Node, path: str, **body: object) -> Any:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = httpx.post(f"{node.api}/v1/admin/{path}", json=body, headers=headers, trust_env=False)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def fill(page: Page, **fields: str) -> None:
    for label, value in fields.items():
        await page.get_by_label(label.replace("_", " "), exact=True).fill(value)


async def test_an_invitation_then_a_new_password(node: Node, person: PersonFactory, user: UserOf) -> None:
    code, name = admin(node, "invitations")["code"], user("alice")
    alice = await person()
    asked: list[str] = []
    alice.context.on("request", lambda request: asked.append(request.url))
    # Without a code, the page asks for one.
    alice.expects("status of 403")
    page = await alice.tab(f"{node.api}/")
    await page.get_by_role("button", name="I am new here").click()
    await fill(page, Name=name, Password=PASSWORD)
    await page.get_by_label("Password, once more").fill(PASSWORD)
    await page.get_by_role("button", name="Make the account").click()
    await page.get_by_label("Code of your invitation").wait_for()
    await assess(page, "asking for an invitation")
    await page.close()
    # With a link it stands there.
    page = await alice.tab(f"{node.api}/#invite={code}")
    assert await page.get_by_label("Code of your invitation").input_value() == code
    assert "invite" not in page.url
    await fill(page, Name=name, Password=PASSWORD)
    await page.get_by_label("Password, once more").fill(PASSWORD)
    await page.get_by_role("button", name="Make the account").click()
    await page.get_by_role("navigation", name="Conversations").wait_for()
    # Somebody who is logged in may open the other link as well: the login ends with the password.
    code = admin(node, f"accounts/{name}/password-reset")["code"]
    alice.expects("status of 401")
    await page.evaluate("(hash) => { location.hash = hash; }", f"#reset={name}:{code}")
    await page.get_by_text(f"A new password for {name}.").wait_for()
    assert "reset" not in page.url
    await assess(page, "a new password")
    await fill(page, New_password=NEW)
    await page.get_by_label("New password, once more").fill(PASSWORD)
    await page.get_by_role("button", name="Set the password").click()
    await page.get_by_text("The two passwords differ").wait_for()
    await page.get_by_label("New password, once more").fill(NEW)
    await page.get_by_role("button", name="Set the password").click()
    await page.get_by_role("button", name="Go on").click()
    await page.get_by_role("button", name="Log in").wait_for()
    await fill(page, Name=name, Password=NEW)
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_role("navigation", name="Conversations").wait_for()
    assert asked
    assert not [url for url in asked if "invite" in url or "reset=" in url or code in url]
    # The same link again leads nowhere.
    await page.evaluate("(hash) => { location.hash = hash; }", f"#reset={name}:{code}")
    await fill(page, New_password=PASSWORD)
    await page.get_by_label("New password, once more").fill(PASSWORD)
    await page.get_by_role("button", name="Set the password").click()
    await page.get_by_text("was used or has ended").wait_for()
    await page.get_by_role("button", name="Not now").click()
    await page.get_by_role("navigation", name="Conversations").wait_for()
