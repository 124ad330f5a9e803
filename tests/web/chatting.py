"""What a person does in the page, by what they see of it: roles, labels and texts.

Owns how the page is found and used. Knows no test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.sparrow.serving import PASSWORD
from tests.web.browsing import Person

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page


class Chatter:
    """Somebody who is logged in, in one tab."""

    def __init__(self, person: Person, page: Page, api: str, user: str) -> None:
        self.person = person
        self.page = page
        self.api = api
        self.user = user

    async def open(self, peer: str) -> None:
        """Go to the conversation with somebody."""
        await self.at(f"chat/{peer}")
        await self.page.get_by_role("textbox", name="Message").wait_for()

    async def at(self, where: str) -> None:
        """Go to a part of the page by its address."""
        await self.page.goto(f"{self.api}/#/{where}")

    async def write(self, *texts: str) -> None:
        """Say something in the open conversation."""
        for text in texts:
            await self.page.get_by_role("textbox", name="Message").fill(text)
            await self.page.get_by_role("button", name="Send", exact=True).click()

    def line(self, text: str) -> Locator:
        """The message that says so."""
        return self.page.locator("article", has_text=text)

    async def sees(self, text: str) -> None:
        """Wait for a message."""
        await self.line(text).first.wait_for()

    async def texts(self) -> list[str]:
        """What all messages in the document say, from above."""
        return [text.strip() for text in await self.page.locator("article .text").all_inner_texts()]

    async def progress(self, text: str, progress: str) -> None:
        """Wait until a message has come so far: "sent", "delivered", "read"."""
        await self.line(text).get_by_role("img", name=progress, exact=True).wait_for()

    async def choose(self, text: str, choice: str) -> None:
        """Choose from the menu of a message."""
        await self.line(text).hover()
        await self.line(text).get_by_role("button", name="What to do with this message").click()
        await self.page.get_by_role("menuitem", name=choice).click()

    async def more(self, choice: str) -> None:
        """Choose from the menu of the open conversation."""
        await self.page.get_by_role("button", name="More").click()
        await self.page.get_by_role("menuitem", name=choice, exact=True).click()

    async def press(self, name: str, within: str = "main") -> None:
        """Press a button."""
        await self.page.locator(within).get_by_role("button", name=name, exact=True).click()

    async def confirm(self, name: str) -> None:
        """Say yes to a question."""
        await self.press(name, "dialog")

    def row(self, peer: str) -> Locator:
        """A conversation in the list."""
        return self.page.get_by_role("navigation", name="Conversations").get_by_role("listitem").filter(has_text=peer)

    async def says(self, text: str) -> None:
        """Wait for a notice."""
        await self.page.locator(".toasts").get_by_text(text).first.wait_for()


async def register(person: Person, api: str, user: str) -> Chatter:
    """Make an account in the page, as a newcomer does."""
    page = await person.tab(f"{api}/")
    await page.get_by_role("button", name="I am new here").click()
    await _fill(page, Name=user, Password=PASSWORD)
    await page.get_by_label("Password, once more").fill(PASSWORD)
    await page.get_by_role("button", name="Make the account").click()
    return await _in(person, page, api, user)


async def log_in(person: Person, api: str, user: str, password: str = PASSWORD) -> Chatter:
    """Log in, in a new tab."""
    page = await person.tab(f"{api}/")
    await _fill(page, Name=user, Password=password)
    await page.get_by_role("button", name="Log in").click()
    return await _in(person, page, api, user)


async def another_tab(chatter: Chatter) -> Chatter:
    """The same browser, one tab more."""
    page = await chatter.person.tab(f"{chatter.api}/")
    return await _in(chatter.person, page, chatter.api, chatter.user)


async def _fill(page: Page, **fields: str) -> None:
    for label, value in fields.items():
        await page.get_by_label(label, exact=True).fill(value)


async def _in(person: Person, page: Page, api: str, user: str) -> Chatter:
    await page.locator(".chats").wait_for()
    return Chatter(person, page, api, user)


def sent_file(name: str, content: bytes, media_type: str = "application/octet-stream") -> dict[str, Any]:
    """For `set_input_files`."""
    return {"name": name, "mimeType": media_type, "buffer": content}
