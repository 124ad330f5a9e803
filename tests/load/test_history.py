"""`sparrow load history`: against real servers, and pages that are wrong in each way that there is."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from load import add_arguments, run_against, target_of
from load.clients import EDITED_AT, LoadClient
from load.ledger import Verdict
from load.peers.__main__ import parse, target
from load.readback import Readback, sent
from load.report import Report
from load.spawn import KEPT, Spawned
from load.spec import Options
from load.streams import Out
from load.targets import Target
from load.wire import head, padding
from load.world import World
from protocol.sparrow_pb2 import EDIT, ERASE, FILE, TEXT

SHORT = Options(
    "history", seconds=0.7, warm_up_s=0.1, pairs=3, messages=360, devices=5, rate=100.0, in_flight=4, body_bytes=50
)


@pytest.fixture(scope="module")
def keeping() -> Iterator[Spawned]:
    with Spawned("one", history=True) as made:
        yield made
        assert "Traceback" not in made.log()


def whole(report: Report) -> Report:
    assert report.promise == Verdict()
    assert report.errors == {}
    counters, figures = report.counters, report.figures
    assert counters["received"] == counters["sent"] == counters["sent_acks"]
    assert counters["changes_received"] == counters["changes_sent"] == figures["changed"] > 0
    assert figures["messages"] == 360
    # Each of the devices reads its conversation three times, and follows.
    assert figures["verified"] >= 5 * 120 * 4
    assert figures["followed_live"] > 0
    assert figures["followed_paged"] >= 5 * 120
    for limit in (50, 500):
        assert 0 < figures[f"page_of_{limit}_p50_ms"] <= figures[f"page_of_{limit}_p99_ms"]
        assert figures[f"fetched_per_second_by_{limit}"] > 0
    return report


def test_a_node(keeping: Spawned) -> None:
    report = whole(run_against(keeping, SHORT, quiet=True))
    assert report.shape == "one" + KEPT
    assert report.figures["disk_bytes_per_message"] > 50
    assert report.figures["fill_cpu_us_per_message"] > 0


def test_again_in_two_processes_beside_what_is_left_of_before(keeping: Spawned) -> None:
    report = run_against(keeping, replace(SHORT, processes=2), quiet=True)
    assert report.promise == Verdict()
    assert report.counters["paged"] > report.figures["verified"] - report.figures["followed_live"] - 1


def test_a_cluster_gets_a_user_api() -> None:
    commands = argparse.ArgumentParser()
    add_arguments(commands)
    servers = target_of(commands.parse_args(["history", "--spawn", "cluster"]))
    assert isinstance(servers, Spawned)
    with servers:
        whole(run_against(servers, SHORT, quiet=True))


def test_servers_that_keep_nothing_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def shape(made: Target) -> str:
        assert isinstance(made, Spawned)
        made.stop()  # its folder goes
        return made.shape

    assert shape(target("sparrow")) == "one"
    assert shape(target("sparrow", history=True)) == "one" + KEPT
    assert not parse([]).history
    assert parse(["--history"]).history
    monkeypatch.setenv("SPARROW_HISTORY__KEEP_DAYS", "0")
    assert shape(Spawned("one", history=True)) == "one"


# Pages that are wrong.


class Said:
    """Twelve texts of alice to bob, all SENT; the third edited, the fifth erased."""

    def __init__(self) -> None:
        self.world = World()
        alice = LoadClient("", "alice", 50, self.world)
        self.out: Out = alice.out_to("bob")
        self.out.next = 15
        for number, (kind, own) in {3: (EDIT, 13), 5: (ERASE, 14)}.items():
            self.world.changed[self.out.number, number] = kind, own
            self.world.changes.add((self.out.number, own))

    def message(self, number: int) -> dict[str, Any]:
        """As a page has it."""
        edited, erased = number == 3, number == 5
        at = EDITED_AT if edited else 7.5
        text = head(at, number, self.out.number).decode() + padding(50).decode()
        found: dict[str, Any] = {
            "author": "alice", "device": "d1", "stream": str(self.out.number), "id": str(number),
            "stamp": str(1000 + number), "kind": TEXT, "text": "" if erased else text, "revision": int(edited),
        }  # fmt: skip
        return found | ({"erased_by": "alice"} if erased else {})

    def newest_first(self) -> list[dict[str, Any]]:
        return [self.message(number) for number in range(12, 0, -1)]

    def judge(self, *pages: list[dict[str, Any]], settled: bool = True) -> Verdict:
        read = Readback(self.world, {"alice": "d1", "bob": "d2"}, "bob", "alice", 50)
        for page in pages:
            read.page(page, settled=settled)
        return read.verdict(len(sent(self.world, [self.out]) - read.seen))


def test_pages_that_are_right() -> None:
    said = Said()
    page = said.newest_first()
    assert said.judge(page[:5], [], page[5:]) == Verdict()
    assert said.judge(page, settled=False) == Verdict()


def test_what_is_under_way_may_be_there_or_not() -> None:
    said = Said()
    said.out.refused = {12, 14}  # a text, and the erasure of the fifth
    page = said.newest_first()
    assert said.judge(page) == said.judge(page[1:]) == Verdict()


def test_a_message_that_is_missing_is_lost() -> None:
    said = Said()
    page = said.newest_first()
    assert said.judge(page[:4], page[6:]) == Verdict(lost=2)


def test_a_message_on_two_pages_is_there_twice() -> None:
    said = Said()
    page = said.newest_first()
    assert said.judge(page[:4], page[3:]).twice == 1


def test_a_message_out_of_its_place() -> None:
    said = Said()
    page = said.newest_first()
    page[2], page[3] = page[3], page[2]
    assert said.judge(page) == Verdict(out_of_order=1)


def test_what_earlier_runs_have_left_is_passed_over() -> None:
    said = Said()
    assert said.judge([*said.newest_first(), {**said.message(1), "stream": "77", "stamp": "3"}]) == Verdict()


Wrong = Callable[[Said, dict[int, dict[str, Any]]], Any]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda said, page: page[7].update(text=page[8]["text"]),
        lambda said, page: page[7].update(text=page[7]["text"] + "."),
        lambda said, page: page[7].update(text="no base64 at all, but as long as a text of ours would be"),
        lambda said, page: page[7].update(text=""),
        lambda said, page: page[7].update(author="bob"),
        lambda said, page: page[7].update(device="d2"),
        lambda said, page: page[7].update(kind=FILE),
        lambda said, page: page[12].update(id="15"),
        lambda said, page: page[12].update(id="13"),
        lambda said, page: page[3].update(text=head(7.5, 3, said.out.number).decode() + padding(50).decode()),
        lambda said, page: page[3].update(revision=0),
        lambda said, page: page[7].update(revision=1),
        lambda said, page: page[5].update(text=page[7]["text"]),
        lambda said, page: page[5].pop("erased_by"),
        lambda said, page: page[7].update(erased_by="operator", text=""),
    ],
)
def test_a_message_that_is_not_what_was_written(wrong: Wrong) -> None:
    said = Said()
    page = {number: said.message(number) for number in range(12, 0, -1)}
    wrong(said, page)
    assert said.judge(list(page.values())).mixed_up == 1


def test_a_message_of_others_is_mixed_up() -> None:
    said = Said()
    read = Readback(said.world, {"alice": "d1"}, "carol", "alice", 50)
    read.page([said.message(2)], settled=True)
    assert read.mixed_up == 1
