"""The tests' own eyes: what goes wrong in a browser is seen, and fails a test that does not expect it."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest

from tests.sparrow.serving import PASSWORD, Node
from tests.web.browsing import SERVER_AWAY, PersonFactory, crash
from tests.web.conftest import Cluster


async def test_what_goes_wrong_in_a_page_is_seen(node: Node, person: PersonFactory) -> None:
    alice, bob = await person(), await person(phone=True)
    await alice.tab(f"{node.api}/healthz")
    page = await bob.tab(f"{node.api}/healthz")
    await page.evaluate("setTimeout(() => { throw new Error('nobody catches this') })")
    await page.evaluate("console.error('said')")
    # The node's answers allow no script at all (`default-src 'none'`).
    await page.evaluate("document.head.append(Object.assign(document.createElement('script'), { src: '/x.js' }))")
    await (await bob.tab()).evaluate("fetch('http://example.invalid/').catch(() => 0)")
    assert alice.troubles == []
    expected = (
        "not caught: .*nobody catches this",
        "console: said",
        "securitypolicyviolation: script-src-elem",
        "console: Loading the script .* violates the following",
        "a third party was asked: http://example.invalid/",
        SERVER_AWAY,
    )
    assert all(sum(re.search(what, trouble) is not None for trouble in bob.unexpected) == 1 for what in expected)
    bob.expects(*expected)
    assert bob.unexpected == []
    assert await page.evaluate("[screen.width, matchMedia('(pointer: coarse)').matches]") == [360, True]


async def test_a_crash_is_seen(node: Node, person: PersonFactory) -> None:
    alice = await person()
    page = await alice.tab(f"{node.api}/healthz")
    await crash(alice, page)
    assert [each.split(":")[0] for each in alice.unexpected] == ["crashed"]
    alice.expects("^crashed")


async def test_a_node_is_killed_and_comes_back(node: Node, person: PersonFactory) -> None:
    node.kill()
    alice = await person()
    with pytest.raises(Exception, match="net::ERR_CONNECTION_REFUSED"):
        await alice.tab(f"{node.api}/healthz")
    node.start()
    page = await alice.tab(f"{node.api}/healthz")
    assert "ok" in await page.inner_text("body")


async def test_a_cluster_has_connectors_of_its_own(cluster: Cluster, user: Callable[[str], str]) -> None:
    alice = user("alice")
    async with httpx.AsyncClient(base_url=cluster.api, trust_env=False) as client:
        assert (await client.post("/v1/accounts", json={"user": alice, "password": PASSWORD})).status_code == 201
        told = (await client.post("/v1/login", json={"user": alice, "password": PASSWORD, "label": ""})).json()
    assert told["connectors"] == [each.websocket for each in cluster.connectors]
