"""Kept conversations at the user API: its paths, and its answers as what this library knows.

Owns the form of both. What of it is kept here, `client.keeper` decides.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from typing import Any, Final

from client.api.signed import SignedApi, conversation_in_path
from client.changes import NO_NAME
from client.pages import PagedLine
from client.state import MessageName
from protocol.errors import HistoryNotKeptError, NotFoundError
from protocol.ids import is_group_id
from protocol.sparrow_pb2 import TEXT

MAX_PAGE: Final = 500
"""Messages that one page may have."""
MAX_IDS: Final = 100
"""Conversations whose unread messages are counted at once."""
_PATH = "/v1/conversations"


@dataclass(frozen=True, slots=True)
class Listed:
    """A conversation as the user API lists it."""

    user: str
    newest: PagedLine | None
    mark: int
    """Up to which stamp we have read it."""
    read_by_other: int
    """Up to which stamp they have, as far as they show it."""
    unread: int = 0
    """Counted up to 100."""
    muted_until_ms: int = 0
    """Unix time; 0: it is not muted."""


@dataclass(frozen=True, slots=True)
class Page:
    """Messages, newest first; `next`: for what is older, or None."""

    messages: list[PagedLine]
    next: str | None


class ConversationsApi:
    """What goes over HTTP. All but mutes raises `HistoryNotKeptError` where conversations are not kept."""

    def __init__(self, api: SignedApi) -> None:
        self._api = api

    async def everything(self) -> list[Listed]:
        """All conversations, by the other's id, with what is unread in them."""
        found: list[Listed] = []
        after: str | None = ""
        while after is not None:
            asked = {"limit": str(MAX_IDS)} | ({"after": after} if after else {})
            answer = await self._get(_PATH, params=asked)
            items = [self._listed(one) for one in self._items(answer, "conversations")]
            unread = await self._unread([one.user for one in items]) if items else {}
            found += [replace(one, unread=unread.get(one.user, 0)) for one in items]
            after = self._next(answer)
        return found

    async def _unread(self, users: list[str]) -> dict[str, int]:
        answer = await self._get(f"{_PATH}/unread", params={"ids": ",".join(users)})
        counts = answer.get("unread")
        if not isinstance(counts, dict) or not all(isinstance(count, int) for count in counts.values()):
            raise self._api.strange()
        return counts

    async def one(self, user: str) -> Listed:
        """One conversation; one without anything if nothing was ever written there."""
        try:
            return self._listed(await self._get(f"{_PATH}/{conversation_in_path(user)}", known=False))
        except NotFoundError:
            return Listed(user, None, 0, 0, muted_until_ms=(await self.mutes()).get(user, 0))

    async def messages(self, user: str, before: str, limit: int) -> Page:
        """One page, from the newest message or `before` a place back."""
        asked = {"limit": str(limit)} | ({"before": before} if before else {})
        answer = await self._get(f"{_PATH}/{conversation_in_path(user)}/messages", params=asked)
        return Page([self._line(one) for one in self._items(answer, "messages")], self._next(answer))

    async def mark(self, user: str, stamp: int) -> None:
        """Say how far we have read, to our own devices."""
        await self._api.send("PUT", f"{_PATH}/{conversation_in_path(user)}/mark", json={"stamp": str(stamp)})

    async def hide(self, user: str) -> None:
        """Take a conversation out of the list until something newer is written."""
        await self._api.send("DELETE", f"{_PATH}/{conversation_in_path(user)}")

    async def mute(self, user: str, for_s: int | None) -> int:
        """Mute a conversation for so long, or for ever; returns until when, in Unix milliseconds."""
        path = f"{_PATH}/{conversation_in_path(user)}/mute"
        answer = self._api.answer(await self._api.send("PUT", path, json={"for_s": for_s}))
        return self._number(answer, "muted_until_ms")

    async def unmute(self, user: str) -> None:
        """Mute it no more."""
        await self._api.send("DELETE", f"{_PATH}/{conversation_in_path(user)}/mute")

    async def mutes(self) -> dict[str, int]:
        """All that are muted, and until when; a service of 0.1 mutes nothing."""
        try:
            answer = self._api.answer(await self._api.send("GET", "/v1/mutes"))
        except NotFoundError:
            return {}
        return {str(one.get("id")): self._number(one, "muted_until_ms") for one in self._items(answer, "mutes")}

    async def report(self, user: str, name: MessageName, text: str) -> None:
        """Report what the other wrote to those who run the service."""
        author, device, stream, number = name
        asked = {"author": author} if is_group_id(user) else {}
        path = f"{_PATH}/{conversation_in_path(user)}/messages/{device}/{stream}/{number}"
        await self._api.send("POST", f"{path}/report", json={"text": text}, params=asked)

    async def take_down(self, group: str, name: MessageName) -> None:
        """Erase somebody's message in a group that we own, for all."""
        author, device, stream, number = name
        path = f"{_PATH}/{conversation_in_path(group)}/messages/{device}/{stream}/{number}"
        await self._api.send("DELETE", path, params={"author": author})

    async def search(self, words: str, user: str, limit: int) -> list[tuple[str, PagedLine]]:
        """Messages with these words, newest first, each with whose conversation it is in.

        Raises `SearchNotOfferedError` where the service has no search.
        """
        found: list[tuple[str, PagedLine]] = []
        before: str | None = ""
        while before is not None and len(found) < limit:
            asked = {"q": words, "limit": str(min(limit - len(found), 100))}
            asked |= ({"conversation": user} if user else {}) | ({"before": before} if before else {})
            answer = await self._get("/v1/search", params=asked)
            found += [(self._peer(one, user), self._line(one)) for one in self._items(answer, "messages")]
            before = self._next(answer)
        return found[:limit]

    async def _get(self, path: str, *, known: bool = True, **more: Any) -> dict[str, Any]:
        """`known`: a path that every server has which keeps conversations."""
        try:
            response = await self._api.send("GET", path, **more)
        except NotFoundError as error:
            if not known:
                raise
            raise HistoryNotKeptError(str(error)) from None  # by a service of 0.1
        return self._api.answer(response)

    # Answers.

    def _items(self, answer: dict[str, Any], name: str) -> list[dict[str, Any]]:
        items = answer.get(name)
        if not isinstance(items, list) or not all(isinstance(one, dict) for one in items):
            raise self._api.strange()
        return items

    def _next(self, answer: dict[str, Any]) -> str | None:
        cursor = answer.get("next")
        if not isinstance(cursor, str | None):
            raise self._api.strange()
        return cursor or None

    def _peer(self, item: dict[str, Any], user: str) -> str:
        peer = item.get("conversation", user)
        if not isinstance(peer, str):
            raise self._api.strange()
        return peer

    def _listed(self, item: dict[str, Any]) -> Listed:
        newest, user, unread = item.get("newest"), item.get("id"), item.get("unread", 0)
        if not isinstance(user, str) or not isinstance(newest, dict | None) or not isinstance(unread, int):
            raise self._api.strange()
        line = None if newest is None else self._line(newest)
        muted = self._number(item, "muted_until_ms")
        return Listed(user, line, self._whole(item, "mark"), self._whole(item, "read_by_other"), unread, muted)

    def _line(self, item: dict[str, Any]) -> PagedLine:
        """A message. Raises `ApiError` for what is none."""
        author, device, kind = item.get("author"), item.get("device"), item.get("kind")
        if not isinstance(author, str) or not isinstance(device, str) or not isinstance(kind, int):
            raise self._api.strange()
        revision, erased_by, edit = item.get("revision", 0), item.get("erased_by", ""), item.get("edit")
        if not isinstance(revision, int) or not isinstance(erased_by, str) or not isinstance(edit, dict | None):
            raise self._api.strange()
        name = NO_NAME
        if edit is not None:
            name = (str(edit.get("device", "")), self._whole(edit, "stream"), self._whole(edit, "id"))
        return PagedLine(
            (author, device, self._whole(item, "stream"), self._whole(item, "id")),
            self._whole(item, "stamp"),
            kind,
            b"" if erased_by else self._body(item, kind),
            revision,
            self._whole(item, "edited_stamp"),
            name,
            erased_by,
        )

    def _body(self, item: dict[str, Any], kind: int) -> bytes:
        content = item.get("text" if kind == TEXT else "body", "")
        if not isinstance(content, str):
            raise self._api.strange()
        if kind == TEXT:
            return content.encode(errors="replace")
        try:
            return base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError):
            raise self._api.strange() from None

    def _number(self, item: dict[str, Any], name: str) -> int:
        """A whole number; 0 if it is not there. Raises `ApiError`."""
        value = item.get(name, 0)
        if not isinstance(value, int):
            raise self._api.strange()
        return value

    def _whole(self, item: dict[str, Any], name: str) -> int:
        """A decimal string of up to 64 bits; 0 if it is not there. Raises `ApiError`."""
        text = item.get(name, "0")
        if not isinstance(text, str) or not (text.isascii() and text.isdecimal() and len(text) <= 20):
            raise self._api.strange()
        return min(int(text), (1 << 64) - 1)
