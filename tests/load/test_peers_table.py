"""`scripts/peers`: who begins which round, the table, the page, and the account of a replay."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import pytest

from client.connection import Address
from load.histogram import Histogram, summary_ms
from load.ledger import Verdict
from load.peers import __main__ as peers
from load.peers.plot import page
from load.peers.replay import Replayers
from load.peers.table import markdown, number, rows, told
from load.report import Report, settings
from load.spec import Account, Options, Spec
from load.streams import Group, Out
from load.wire import head, padding


def report(server: str = "sparrow", options: Options | None = None, **figures: float | None) -> Report:
    options = options or Options()
    made = Report(options.scenario, server, "one", settings(options), {"cpus": 2, "load_average": 0.5}, figures)
    made.latency_ms = {"one_way": summary_ms(Histogram())}
    return made


# Who is measured when.


def test_each_round_begins_with_the_next_server(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def started(server: str, history: bool) -> Iterator[tuple[str, bool]]:
        yield server, history

    def run(running: tuple[str, bool], options: Options, quiet: bool) -> tuple[str, str, bool]:
        return options.scenario, *running

    monkeypatch.setattr(peers, "target", started)
    monkeypatch.setattr(peers, "run_against", run)
    chosen = peers.parse(["--rounds", "3", "--shapes", "rate,history", "--servers", "sparrow,mosquitto,nats"])
    order: list[Any] = list(peers.runs(chosen))
    assert [server for scenario, server, _ in order if scenario == "rate"] == [
        "sparrow", "mosquitto", "nats", "mosquitto", "nats", "sparrow", "nats", "sparrow", "mosquitto",
    ]  # fmt: skip
    assert [server for scenario, server, _ in order if scenario == "history"] == [
        "sparrow", "nats", "nats", "sparrow", "nats", "sparrow",
    ]  # fmt: skip
    assert all(history == (scenario == "history") for scenario, _, history in order)


def test_five_rounds_are_usual_and_nats_that_does_not_sync_is_not() -> None:
    chosen = peers.parse([])
    assert chosen.rounds == 5
    assert chosen.servers == "sparrow,mosquitto,ejabberd,nats"


# The table.


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "–"),
        ([7.38], "7.38"),
        ([31.4, 30.28, 1234.5], "31.4 (30.3–1,234)"),
        ([0.0, 0.456], "0.23 (0.00–0.46)"),
    ],
)
def test_medians_and_ranges(values: list[float], text: str) -> None:
    assert told(values) == text


def test_as_many_digits_as_can_be_trusted() -> None:
    assert [number(value) for value in (0.5, 9.994, 12.34, 99.94, 123.4, 45_678.9)] == [
        "0.50", "9.99", "12.3", "99.9", "123", "45,679",
    ]  # fmt: skip


def test_what_a_server_does_not_have_is_a_dash() -> None:
    history = Options("history")
    table = markdown(
        [
            report("mosquitto", server_cpu_us_per_message=12.0),
            report("sparrow", history, fetch_cpu_us_per_message_by_500=6.0),
            report("nats", history, replay_cpu_us_per_message=2.0),
        ]
    )
    title = report("nats", history).title
    assert f"| {title} | µs CPU, read back | – | 6.00 | 2.00 |" in table
    assert f"| {title} | lost / twice / out of order | – | 0 / 0 / 0 | 0 / 0 / 0 |" in table
    assert "| µs CPU a message | 12.0 | – | – |" in table
    assert "one way" not in table  # nobody measured any


def test_groups_are_told_by_delivery() -> None:
    (row,) = rows([report("nats", Options("groups"), server_cpu_us_per_message=2.5)])
    assert (row.figure, row.cells) == ("µs CPU a delivery", {"nats": [2.5]})


# The page.


def test_the_page_is_well_formed_and_holds_all_it_needs() -> None:
    measured = (("sparrow", 6.0), ("<b>", 12.0), ("<b>", 0.0))
    html = page([report(name, server_cpu_us_per_message=us) for name, us in measured], "how it was <made>")
    root = ElementTree.fromstring(html.removeprefix("<!DOCTYPE html>"))
    assert not {"script", "link", "img", "iframe", "object"} & {each.tag for each in root.iter()}
    assert not re.search(r"url\(|@import|https?://", html)
    assert "prefers-color-scheme: dark" in html
    assert "how it was &lt;made&gt;" in html
    assert "Every message of all 3 runs was accounted for." in html
    dots = [each for each in root.iter() if each.tag == "circle"]
    assert [dot.get("class") for dot in dots] == ["ours", "theirs"]
    assert dots[0].get("cx") == dots[1].get("cx")  # the median of 12 and 0 is 6
    assert not re.search(r"\bnan\b|None", html)


def test_a_broken_promise_stands_on_top() -> None:
    broken = report("nats")
    broken.promise = Verdict(lost=1)
    html = page([report(), broken], "")
    assert f"The promise was broken: nats, {broken.title}." in html
    assert "accounted for" not in html


# What a replay has brought.


class Replayed(Replayers):
    """It is brought what the test wants."""

    contents: list[bytes]

    async def _replayed(self, newcomer: Account, group: Group) -> AsyncIterator[bytes]:
        for content in self.contents:
            yield content


async def judged(change: Any = None) -> Verdict:
    """Of two people, who have said two texts each; `change`: of the list of what is brought."""
    accounts = [Account(user, "load", "") for user in ("alice", "bob")]
    crowd = Replayed(Spec(Options("history", drain_s=0.01), accounts, [Address("127.0.0.1", 1)], "nats"))
    await crowd.converse()
    outs: list[Out] = crowd.outs
    crowd.contents = [head(0.0, n, out.number) + padding(100) for n in (1, 2) for out in outs]
    for out in outs:
        out.next = 3
    if change is not None:
        change(crowd.contents)
    await crowd.meet([("alice", "new", "")])
    answer = await crowd.replay()
    assert answer["verified"] == 4 - crowd._judged.lost
    await crowd.close()
    return crowd._judged


def forge(contents: list[bytes]) -> None:
    contents[3] = contents[3][:-1] + b"!"


async def test_a_replay_that_is_whole() -> None:
    assert await judged() == Verdict()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (list.pop, Verdict(lost=1)),
        (lambda contents: contents.append(contents[0]), Verdict(twice=1)),
        (list.reverse, Verdict(out_of_order=2)),
        (forge, Verdict(lost=1, mixed_up=1)),
    ],
    ids=["lost", "twice", "out of order", "another body"],
)
async def test_a_replay_with_a_fault(change: Any, fault: Verdict) -> None:
    assert await judged(change) == fault
