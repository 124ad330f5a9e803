"""The report as a page: what stands in it, what is drawn, and that it needs nothing else. How it looks: tests/web."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from load.compare import matched
from load.histogram import Histogram, summary_ms
from load.html import COLOURS, beside, page
from load.ledger import Verdict
from load.plots import MAX_POINTS, Plot, begin, failures, percentile_curve, pictures, thin
from load.report import USED, Second
from load.scenarios import SCENARIOS
from load.spec import Options
from tests.load.results import report

ALL = ("Shown to readers", "One way", "Online", "Latency by percentile", "Server CPU", "Server memory")


def seconds(*phases: tuple[str, int], begin_s: float = 1.0, **more: Any) -> list[Second]:
    """So many of each phase."""
    found: list[Second] = []
    for phase, count in phases:
        found += [
            Second(phase=phase, **{"at": begin_s + len(found) + n, "online": 5, "received": 700, "p50_ms": 1.0} | more)
            for n in range(count)
        ]
    return found


def titled(plots: list[Plot]) -> dict[str, Plot]:
    return {plot.title: plot for plot in plots}


# What is drawn.


def test_pictures_of_a_run() -> None:
    made = report(seconds=seconds(("measuring", 3), cpu_percent=50.0, p99_ms=60.0))
    drawn = titled(pictures([made]))
    assert list(drawn) == [title for title in ALL if title != "Online"]
    assert [curve.name for curve in drawn["One way"].curves] == ["p50", "p99"]
    assert drawn["One way"].logarithmic
    assert not drawn["Server CPU"].logarithmic
    assert drawn["Server CPU"].summary == "Server CPU: servers from 50 % of a core to 50 % of a core"


def test_of_a_single_second_nothing_is_drawn_over_time() -> None:
    assert list(titled(pictures([report()]))) == ["Latency by percentile"]
    assert "It took too short" in text_of(page([report()]))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_can_be_drawn(scenario: str) -> None:
    assert set(SCENARIOS) == set(USED)
    made = report(Options(scenario), seconds=seconds(("logging in", 2), ("measuring", 3), online=1))
    html = page([made])
    assert html.count("<dt>") == 3
    assert ("Online" in titled(pictures([made]))) == (scenario in ("idle", "storm", "flap"))
    ElementTree.fromstring(body(html))


def test_time_begins_with_the_first_login() -> None:
    made = report(seconds=seconds(("accounts 5 of 9", 100), ("starting", 3), ("logging in", 2), ("measuring", 2)))
    (shown,) = titled(pictures([made]))["Shown to readers"].curves
    assert begin(made) == 103.0
    assert shown.x == [1.0, 2.0, 3.0, 4.0]
    assert titled(pictures([made]))["Shown to readers"].bands == [(0.0, 2.0, "logging in"), (2.0, 4.0, "measuring")]


def test_of_two_runs_time_begins_when_all_had_logged_in() -> None:
    slow = report(seconds=seconds(("logging in", 7), ("measuring", 2)))
    fast = report(seconds=seconds(("logging in", 1), ("measuring", 2)))
    drawn = titled(pictures([slow, fast]))
    a, b = drawn["Shown to readers"].curves
    assert (a.name, b.name) == ("A", "B")
    assert a.x[-2:] == b.x[-2:] == [1.0, 2.0]
    assert a.colour != b.colour
    assert [(curve.name, curve.colour, curve.dashed) for curve in drawn["Latency by percentile"].curves] == [
        ("A", 0, False), ("B", 1, False)
    ]  # fmt: skip
    assert not drawn["Shown to readers"].bands


def test_what_failed_when() -> None:
    made = report(seconds=seconds(("measuring", 4)))
    assert failures(made) is None
    for second, exceptions, lost in zip(made.seconds, (0, 2, 2, 5), (0, 0, 400, 0), strict=True):
        second.exceptions, second.disconnects = exceptions, lost
    plot = failures(made)
    assert plot is not None
    assert plot.bars
    assert plot.logarithmic
    assert {curve.name: curve.y for curve in plot.curves} == {
        "connections lost": [None, None, 400, None], "exceptions": [None, 2, None, 3]
    }  # fmt: skip


def test_shares_and_what_they_do_not_exceed() -> None:
    x, y = percentile_curve([(1.0, 50), (2.0, 40), (8.0, 9), (9.0, 1)])
    assert x == [0.0, 0.301, 1.0, 2.0, 2.0]
    assert y == [1.0, 1.0, 2.0, 8.0, 9.0]
    assert percentile_curve([]) == ([], [])


def test_a_night_is_as_many_points_as_a_screen_shows() -> None:
    x, y = thin(range(10 * MAX_POINTS), [None, *[1.0] * (10 * MAX_POINTS - 2), 7.0], max)
    assert len(x) == len(y) == MAX_POINTS
    assert (y[0], y[-1]) == (1.0, 7.0)
    assert thin([1.0, 2.0], [None, None], max) == ([1.0, 2.0], [None, None])
    made = report(Options("soak", seconds=28_800.0), seconds=seconds(("measuring", 28_800), p99_ms=3.0))
    drawn = titled(pictures([made]))
    assert drawn["One way"].note == "a point is 36 seconds: the highest"
    assert len(page([made])) < 256 * 1024


def test_many_processes_are_drawn_in_sums() -> None:
    memory = [
        {"pid": n, "process": process, "first_mib": 1.0, "last_mib": 1.0, "kib_per_hour": None, "samples": samples}
        for n, (process, samples) in enumerate(
            [("broker", [(1.0, 1024), (2.0, 2048)]), ("broker", [(2.0, 1024), (3.0, 1024)])]
            + [("connector", [(1.0, 1024), (2.0, 1024)])] * 3
        )
    ]
    curves = titled(pictures([report(memory=memory, seconds=seconds(("measuring", 3)))]))["Server memory"].curves
    assert [(curve.name, curve.y) for curve in curves] == [
        ("broker × 2", [1.0, 3.0, 3.0]), ("connector × 3", [3.0, 3.0])
    ]  # fmt: skip


# What stands there.


class _Looker(HTMLParser):
    """What a page names that is not in it."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        named = (str(value) for name, value in attrs if name in ("src", "href", "srcset", "data", "action"))
        self.outside += [value for value in named if not value.startswith("#")]


def body(html: str) -> str:
    """What Python has written of it."""
    return html[html.index("<main>") : html.index("</main>") + len("</main>")]


def text_of(html: str) -> str:
    """As it is read, without what is drawn."""
    return " ".join("".join(ElementTree.fromstring(re.sub(r"<script.*?</script>", "", body(html))).itertext()).split())


def test_the_page_holds_all_it_needs() -> None:
    html = page([report(), report(Options("offline"), promise=Verdict(lost=1))])
    looker = _Looker()
    looker.feed(html)
    assert looker.outside == []
    assert not {"link", "img", "iframe", "object"} & looker.tags
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'; script-src 'sha256-" in html
    assert "light-dark(" in html
    assert len(html) < 128 * 1024
    assert "__TITLE__" not in html


def test_the_page_is_well_formed_and_says_what_is_so() -> None:
    html = page([report(), report(Options("offline"), promise=Verdict(lost=1))])
    said = text_of(html)
    assert "✓ The promise was kept. All 10 texts that the servers took were shown once each" in said
    assert "✗ The promise was broken. Texts: 1 lost." in said
    assert "delivered1,000 texts a second" in said
    assert "server CPU per message12.5 µs" in said
    assert "one way50.2 ms p5099.3 ms p99" in said
    assert "Goodbye: <MALFORMED>: 1" in said
    assert not re.search(r"\bnan\b|None\b(?!:)|_per_|_us\b", said)
    assert body(html).count("<h2>") == 2
    assert len(re.findall(r'href="#run-\d"', html)) == 2


def test_names_of_others_cannot_end_what_is_drawn() -> None:
    evil = "</script><b>&amp;"
    made = report(seconds=seconds(("logging in", 1), (evil, 2)), errors={evil: 1}, server=evil)
    html = page([made])
    ElementTree.fromstring(body(html))
    drawn = [json.loads(each) for each in re.findall(r'<script type="application/json">(.*?)</script>', html)]
    assert len(drawn) == len([*pictures([made]), *filter(None, [failures(made)])])
    assert drawn[0]["bands"][-1][-1] == evil
    assert f"{evil}: pairs" in text_of(html)


def test_a_page_of_a_run_that_measured_nothing() -> None:
    empty = report(
        histograms={"one_way": []}, latency_ms={"one_way": summary_ms(Histogram())}, seconds=[], memory=[], figures={},
        counters={}, errors={},
    )  # fmt: skip
    said = text_of(page([empty]))
    assert "delivered– not measured" in said
    assert "It took too short" in said
    assert "Nothing failed" in said
    assert page([]).count("<section") == 0


def test_how_memory_grows_is_told_of_a_long_run_only() -> None:
    def said(seconds: float) -> str:
        return text_of(page([report(Options("soak", seconds=seconds))]))

    assert "memory grows by" not in said(8.0)
    assert "memory grows by0 MiB an hour" in said(3600.0)


def test_two_in_the_same_pictures() -> None:
    second = report(figures={"delivered_per_second": 1500}, server="mosquitto", promise=Verdict(lost=2))
    html = beside(matched([report(seconds=seconds(("measuring", 3)))], [second]))
    said = text_of(html)
    assert "✓ A: The promise was kept." in said
    assert "✗ B: The promise was broken." in said
    assert "1,000" in said
    assert "texts a second, B / A 1.50" in said
    assert "Differs: server sparrow → mosquitto." in said
    ElementTree.fromstring(body(html))
    assert '"name":"A, p50"' in html


def test_the_page_has_as_many_colours() -> None:
    html = page([report()])
    assert all(f"--line-{n}:" in html for n in range(COLOURS))
    assert f"--line-{COLOURS}:" not in html
