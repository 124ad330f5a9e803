"""A real Chromium, and servers for it. The tests are coroutines, which share one loop in each worker.

`chromium`  one browser for each worker, without a window; the first test that wants it starts it.
`node`      a running node with WebSocket, one for each module. `node.api` is the address of its page,
            `node.register(alice)` makes accounts (their password: `tests.sparrow.serving.PASSWORD`), `node.kill()` is
            kill -9, `node.start()` brings it back. A module that needs other settings overrides the fixture `settings`.
`cluster`   a broker, two connectors (`cluster.connectors`) and a user API (`cluster.api`) in processes of their own,
            for each module: `connector.kill()`, `connector.start()`, `await connector.up()`.
`user`      `user("alice")` makes up a name that nobody has yet: servers are shared by all tests of a module.
`person`    `alice = await person()`, or `await person(phone=True)`, with any option of Playwright's `new_context`, is
            somebody at a browser of their own: what one stores, no other one sees. `page = await alice.tab(node.api)`
            opens a tab, which is Playwright's `Page`; `alice.page` is the first one. `crash(alice, page)` kills a tab;
            `until(page, expression)` stands for `wait_for_function`, which does not work under a strict CSP.
`window`    a browser of one test, with a profile on the disk: `alice = await window.open()`, `window.kill()`, and open
            it again. Its tabs are in one window, where those behind are hidden, slow, and may be frozen (`freeze`,
            `thaw`). Nothing fails the test by itself: `alice.unexpected` says what went wrong.

At the end of a test all tabs are closed, and it fails for each error on a console, error that no script has caught,
violation of the CSP, tab that crashed, and request to a third party. `alice.expects(SERVER_AWAY, "status of 401")` says
which are none: patterns. A test that failed leaves a picture of each tab in var/web-failures, and what was on the
consoles in its output.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from inspect import iscoroutinefunction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio

from tests.cluster.processes import GUARD_S, Deployment, Process
from tests.ports import free_port
from tests.sparrow.serving import PASSWORD, Node, with_websocket
from tests.typescript.conftest import bin as bin
from tests.web.browsing import (
    DESKTOP,
    PHONE,
    Person,
    PersonFactory,
    Window,
    arguments,
    find_chromium,
    new_person,
    picture,
)

if TYPE_CHECKING:
    from playwright.async_api import Browser, Playwright

HERE = Path(__file__).parent
_failed = pytest.StashKey[bool]()
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and isinstance(item, pytest.Function) and iscoroutinefunction(item.obj):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            item.obj = _guarded(item.obj)


def _guarded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Not all that a tab is asked has a time-out of Playwright's."""

    @functools.wraps(test)
    async def guarded(*arguments: object, **named: object) -> None:
        async with asyncio.timeout(GUARD_S):
            await test(*arguments, **named)

    return guarded


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    item.stash[_failed] = item.stash.get(_failed, False) or report.failed
    return report


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def playwright() -> AsyncIterator[Playwright]:
    find_chromium()
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        yield playwright


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium(playwright: Playwright) -> AsyncIterator[Browser]:
    browser = await playwright.chromium.launch(**arguments())
    yield browser
    await browser.close()


@pytest.fixture
def window(playwright: Playwright, tmp_path: Path) -> Iterator[Window]:
    made = Window(playwright, tmp_path / "profile")
    yield made
    made.kill()


@pytest_asyncio.fixture(loop_scope="session")
async def person(chromium: Browser, request: pytest.FixtureRequest) -> AsyncIterator[PersonFactory]:
    people: list[Person] = []

    async def person(phone: bool = False, **options: Any) -> Person:
        made = await new_person(chromium, **(PHONE if phone else DESKTOP) | options)
        people.append(made)
        return made

    yield person
    for number, each in enumerate(people):
        if each.unexpected or request.node.stash.get(_failed, False):
            await picture(each, f"{request.node.nodeid}-{number}")
    for each in people:
        await each.context.close()
    assert [trouble for each in people for trouble in each.unexpected] == []


@pytest.fixture(scope="module")
def settings() -> dict[str, object]:
    """Settings of the node and of the cluster, as `connector__heartbeat_s`; for modules to say otherwise."""
    return {}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, object]) -> Iterator[Node]:
    find_chromium()
    made = with_websocket(tmp_path_factory.mktemp("node"), **settings).start()
    yield made
    assert made.stop() == 0, made.log
    assert "Traceback" not in made.log


class Cluster:
    """A deployment with one broker, connectors and a user API."""

    def __init__(self, deployment: Deployment) -> None:
        ports = [free_port() for _ in range(2)]
        named = [{"SPARROW_CONNECTOR__WEBSOCKET_LISTEN_PORT": str(port)} for port in ports]
        self.api = deployment.api
        self.broker = deployment.broker()
        self.connectors = [deployment.connector(**each) for each in named]
        addresses = ",".join(each.websocket for each in self.connectors)
        self.userapi = deployment.userapi(SPARROW_USERAPI__CONNECTORS=addresses)

    def register(self, *users: str) -> None:
        """Make accounts; their password: `tests.sparrow.serving.PASSWORD`."""
        with httpx.Client(base_url=self.api, trust_env=False) as client:
            for user in users:
                answer = client.post("/v1/accounts", json={"user": user, "password": PASSWORD})
                assert answer.status_code == 201, answer.text

    @property
    def processes(self) -> list[Process]:
        return [self.broker, *self.connectors, self.userapi]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, object]) -> AsyncIterator[Cluster]:
    find_chromium()
    cheap = {"userapi__argon2_memory_kib": 64, "userapi__argon2_time_cost": 1}
    with Deployment(tmp_path_factory.mktemp("cluster"), **(cheap | settings)) as deployment:
        made = Cluster(deployment)
        for process in made.processes:
            process.start()
        for process in made.processes:
            await process.up()
        yield made
        assert "Traceback" not in deployment.logs


@pytest.fixture(scope="session")
def user() -> Callable[[str], str]:
    """Names that nobody has yet."""
    return lambda name: f"{name}-{os.getpid() % 10_000}-{next(_numbers)}"
