"""Requests of a device that is logged in, and their answers as plain data.

Owns the access token's renewal when the user API says that it has expired. Knows no path.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from client.api.web import Web, code_of
from client.credentials import Credentials
from protocol.errors import ApiError
from protocol.ids import check_dest_id, check_user_id

if TYPE_CHECKING:
    import httpx
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)

PAGE = 100
"""Entries of a list that are asked for at a time."""
TOO_FAST_WAITS = 3
"""How often a request waits that was refused because there were too many in a moment."""
LONGEST_WAIT_S = 5


class SignedApi:
    """The user API, with the token of `credentials`.

    Everything raises `TokenRejectedError` when only a new login helps, `UnreachableError`, `UntrustedError`,
    `UnavailableError`, `ApiError`, and what the refusals of the request mean.
    """

    def __init__(self, web: Web, credentials: Credentials) -> None:
        self._web = web
        self._credentials = credentials

    async def send(
        self,
        method: str,
        path: str,
        *,
        accept: Collection[int] = (),
        content: Callable[[], AsyncIterator[bytes]] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """One request; a status other than success is an error, unless it is one of `accept`.

        `content`: makes the body, anew for each try.
        """

        async def ask(token: str) -> httpx.Response:
            waits = TOO_FAST_WAITS
            while True:
                body = {} if content is None else {"content": content()}
                response = await self._web.request(method, path, token=token, **body, **more)
                if response.status_code != 429 or not waits:
                    return response
                waits -= 1
                await asyncio.sleep(_retry_after_s(response))

        token, _ = await self._credentials.get()
        response = await ask(token)
        if response.status_code == 401:
            another = await self._another(token, response)
            if another != token:
                response = await ask(another)
        return self._web.check(response, accept)

    async def one(self, kind: type[T], method: str, path: str, **more: Any) -> T:
        """A request that is answered with one object."""
        return self.read(kind, self._web.answer(await self.send(method, path, **more)))

    async def many(self, kind: type[T], path: str, limit: int | None = None, **query: str) -> list[T]:
        """A whole list, or the first `limit` of it."""
        found: list[T] = []
        cursor: str | None = ""
        while cursor is not None and (limit is None or len(found) < limit):
            size = PAGE if limit is None else min(PAGE, limit - len(found))
            asked = query | {"limit": str(size)} | ({"cursor": cursor} if cursor else {})
            page = self._web.answer(await self.send("GET", path, params=asked))
            found += self.items(kind, page)
            cursor = page.get("next")
            if not isinstance(cursor, str | None):
                raise self._web.strange()
        return found

    def items(self, kind: type[T], page: dict[str, Any]) -> list[T]:
        """The objects in a list's answer. Raises `ApiError`."""
        items = page.get("items")
        if not isinstance(items, list):
            raise self._web.strange()
        return [self.read(kind, item) for item in items]

    async def all_of(self, kind: type[T], path: str) -> list[T]:
        """A list that has no pages."""
        return self.items(kind, self._web.answer(await self.send("GET", path)))

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, headers: dict[str, str], accept: Collection[int] = ()
    ) -> AsyncIterator[httpx.Response]:
        """A GET whose answer is read bit by bit, in the block."""
        token, _ = await self._credentials.get()
        async with self._web.stream(path, token=token, headers=headers) as response:
            if response.status_code != 401:
                yield await self._checked(response, accept)
                return
            await response.aread()
            token = await self._another(token, response)
        async with self._web.stream(path, token=token, headers=headers) as response:
            yield await self._checked(response, accept)

    async def _checked(self, response: httpx.Response, accept: Collection[int]) -> httpx.Response:
        if not response.is_success and response.status_code not in accept:
            await response.aread()
        return self._web.check(response, accept)

    async def _another(self, token: str, refusal: httpx.Response) -> str:
        """A token in place of one that was refused; the same one if there can be no other."""
        # An answer to HEAD has no body to say it in.
        expired = code_of(refusal) in ("invalid_token", "")
        return await self._credentials.instead_of(token, expired=expired)

    def check(self, response: httpx.Response) -> httpx.Response:
        """`response`, if it is a success. Otherwise raises the error that it tells."""
        return self._web.check(response)

    def answer(self, response: httpx.Response) -> dict[str, Any]:
        """The JSON object in a success. Raises `ApiError`."""
        return self._web.answer(response)

    def strange(self) -> ApiError:
        """What to raise for an answer that is none of a user API."""
        return self._web.strange()

    def read(self, kind: type[T], answer: object, unchecked: Collection[str] = ()) -> T:
        """`answer` as a `kind`, field by field; what else there is is of a later version. Raises `ApiError`.

        `unchecked`: fields that the caller has looked at.
        """
        if not isinstance(answer, dict):
            raise self._web.strange()
        hints = get_type_hints(kind)
        values = {}
        for field in fields(kind):
            value = answer.get(field.name, None if field.default is MISSING else field.default)
            if field.name not in unchecked and not isinstance(value, hints[field.name]):
                raise self._web.strange()
            values[field.name] = value
        return kind(**values)


def _retry_after_s(response: httpx.Response) -> int:
    text = response.headers.get("Retry-After", "")
    return min(int(text), LONGEST_WAIT_S) if text.isascii() and text.isdecimal() and len(text) < 9 else 1


def in_path(user: str) -> str:
    """A user id as a part of a path. Raises `InvalidIdError`."""
    # `.` and `..` are ids like others, and would be steps in a path.
    return check_user_id(user).replace(".", "%2E")


def conversation_in_path(other: str) -> str:
    """The same of a user, or of a group."""
    return check_dest_id(other).replace(".", "%2E")
