"""Conversations as a new device of each person pages them, compared with what every device has been told.

Owns the requests and the comparison (docs/design/history.md, H1 to H4). What was told, the ledger knows.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from client.state import MessageName as Name
from protocol.sparrow_pb2 import TEXT
from tests.cluster.ledger import Ledger, View, Written
from tests.cluster.processes import GUARD_S

PAGE = 200
AT_ONCE = 4
"""People who page at the same time."""


@dataclass(frozen=True)
class Line:
    """A message as a page has it."""

    name: Name
    stamp: int
    text: bytes
    edit: tuple[int, Name] | None
    """Revision and name of the EDIT that counts."""
    erased: bool


Conversations = dict[str, list[Line]]
"""The other user, or group → all messages, oldest first."""


class Pager:
    """A device that speaks HTTP alone."""

    def __init__(self, api: str, token: str, trust: ssl.SSLContext | bool) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.AsyncClient(base_url=api, headers=headers, trust_env=False, verify=trust, timeout=60)

    async def __aenter__(self) -> Pager:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def everything(self) -> Conversations:
        """All conversations of the list, each paged from its newest message back."""
        others = [one["id"] for one in await self._all("/v1/conversations", "conversations", "after", 100)]
        return {other: await self.conversation(other) for other in others}

    async def conversation(self, other: str) -> list[Line]:
        """All of one, oldest first."""
        found = await self._all(f"/v1/conversations/{other}/messages", "messages", "before", PAGE)
        return [_line(one) for one in reversed(found)]

    async def _all(self, path: str, items: str, cursor: str, limit: int) -> list[Any]:
        found: list[Any] = []
        asked = {"limit": str(limit)}
        while True:
            page = await self._get(path, asked)
            found += page[items]
            if page["next"] is None:
                return found
            asked[cursor] = page["next"]

    async def _get(self, path: str, asked: Mapping[str, str]) -> Any:
        """An answer that is one: it asks often, and servers may have come up just now."""
        async with asyncio.timeout(GUARD_S):
            while True:
                try:
                    answer = await self._http.get(path, params=asked)
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
                    continue
                if answer.status_code not in (429, 503):
                    assert answer.is_success, f"{path}: {answer.text}"
                    return answer.json()
                await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))


def _line(one: Mapping[str, Any]) -> Line:
    name = (one["author"], one["device"], int(one["stream"]), int(one["id"]))
    edit = None
    if one["revision"]:
        by = one["edit"]
        edit = (one["revision"], (one["author"], by["device"], int(by["stream"]), int(by["id"])))
    body = one["text"] if one["kind"] == TEXT else one["body"]
    return Line(name, int(one["stamp"]), body.encode(), edit, "erased_by" in one)


async def page_all(
    api: str, tokens: Mapping[str, str], trust: ssl.SSLContext | bool = True
) -> dict[str, Conversations]:
    """What a new device of each person sees; `tokens`: `user/device` → its access token."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def page(device: str) -> Conversations:
        async with gate, Pager(api, tokens[device], trust) as pager:
            return await pager.everything()

    found = await asyncio.gather(*map(page, tokens))
    return {device.partition("/")[0]: pages for device, pages in zip(tokens, found, strict=True)}


@dataclass
class Comparison:
    """How what was paged compares with what was told."""

    wrong: list[str] = field(default_factory=list)
    paged: int = 0
    """Messages on all pages."""
    edited: int = 0
    """Of these, such as read as corrected."""
    erased: int = 0
    """Such as were erased."""
    elsewhere: int = 0
    """Times that a device has a message elsewhere than its page: allowed where there was more than one attempt."""


def compare(ledger: Ledger, pages: Mapping[str, Conversations]) -> Comparison:
    """`ledger` has settled: nobody writes any more."""
    found = Comparison()
    expected: dict[tuple[str, str], set[Name]] = defaultdict(set)
    for name, key in ledger.names.items():
        written = ledger.written[key]
        if written.kind == TEXT and written.dest in ledger.groups:
            for user in ledger.groups[written.dest]:
                expected[user, written.dest].add(name)
        elif written.kind == TEXT:
            expected[name[0], written.dest].add(name)
            expected[written.dest, name[0]].add(name)
    for user, conversations in pages.items():
        views = {device: view for device, view in ledger.views.items() if device.partition("/")[0] == user}
        for other in {other for one, other in expected if one == user} | conversations.keys():
            lines = conversations.get(other, [])
            where = f"{user}'s page of {other}"
            found.wrong += [f"{where}: {what}" for what in _amiss(ledger, lines, expected[user, other])]
            first = ledger.groups.get(other, [other])[0]
            if first in pages and lines != pages[first].get(other if other in ledger.groups else user, []):
                found.wrong.append(f"{where} is not {first}'s")
            for device, view in views.items():
                elsewhere, wrong = _differences(ledger, view, lines)
                found.elsewhere += elsewhere
                found.wrong += [f"{where}, and {device}: {what}" for what in wrong]
            found.paged += len(lines)
            found.edited += sum(line.edit is not None for line in lines)
            found.erased += sum(line.erased for line in lines)
    return found


def _amiss(ledger: Ledger, lines: Sequence[Line], expected: set[Name]) -> list[str]:
    """What is wrong with a conversation, whoever reads it."""
    names = [line.name for line in lines]
    wrong = [f"{name} comes {times} times" for name, times in Counter(names).items() if times > 1]
    wrong += [f"{name} was not written here" for name in set(names) - expected]
    # Of what was erased before it came nobody is shown even that.
    wrong += [f"{name} is lost" for name in expected - set(names) if not _written(ledger, name).erased]
    stamps = [line.stamp for line in lines]
    if stamps != sorted(stamps):
        wrong.append("not in the order of stamps")
    highest: dict[tuple[str, str, int], int] = {}
    for line in lines:
        if line.name not in expected:
            continue
        written = _written(ledger, line.name)
        if line.erased != written.erased or (line.erased and line.text):
            wrong.append(f"{line.name} has {line.text!r}, erased: {line.erased} and not {written.erased}")
        if line.name not in ledger.again:
            if line.name[3] < highest.get(line.name[:3], 0):
                wrong.append(f"{line.name} comes before an earlier one of its author")
            highest[line.name[:3]] = line.name[3]
    return wrong


def _written(ledger: Ledger, name: Name) -> Written:
    return ledger.written[ledger.names[name]]


def _differences(ledger: Ledger, view: View, lines: Sequence[Line]) -> tuple[int, list[str]]:
    """How often a device has a message elsewhere for a good reason, and what else differs."""
    elsewhere, wrong = 0, []
    for line in lines:
        stamp = view.stamps.get(line.name)
        if stamp is None:
            if not line.erased:
                wrong.append(f"{line.name} was not shown")
            continue
        if stamp != line.stamp:
            elsewhere += 1
            if line.name not in ledger.again:
                wrong.append(f"{line.name} stands at {line.stamp}, and was told at {stamp}")
        edit = view.edits.get(line.name)
        text = edit[2] if edit else ledger.names.get(line.name, b"")
        if not line.erased and (line.text != text or line.edit != (edit[:2] if edit else None)):
            wrong.append(f"{line.name} reads {line.text!r} by {line.edit}, and was told as {text!r} by {edit}")
        if line.erased and line.name not in view.erased:
            wrong.append(f"{line.name} is erased, and that was not told")
    return elsewhere, wrong
