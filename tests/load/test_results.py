"""Results: the JSON file's shape, comparing two, the HTML page, what is shown while it runs."""

from __future__ import annotations

import io
import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from load.compare import compare
from load.histogram import Histogram, summary_ms
from load.html import page
from load.ledger import Verdict
from load.live import Live
from load.measure import slope_kib_per_hour
from load.peers.table import markdown
from load.report import Report, Second, read, settings, text, write
from load.spec import Options
from protocol.errors import ConfigError


def histogram() -> Histogram:
    made = Histogram()
    for n in range(1, 1000):
        made.record(n / 10_000)
    return made


def report(options: Options | None = None, **more: object) -> Report:
    """What a run could have given."""
    options = options or Options()
    latency = {"one_way": summary_ms(histogram()), "to_sent": summary_ms(Histogram())}
    made = Report(
        scenario=options.scenario,
        server="sparrow",
        shape="one <node>",
        settings=settings(options),
        machine={"cpus": 2, "decode_us": 0.5},
        figures={"delivered_per_second": 1000, "server_cpu_us_per_message": 12.5, "kib_per_session": None},
        counters={"sent": 10, "received": 10, "exceptions": 1},
        errors={"Goodbye: <MALFORMED>": 1},
        latency_ms=latency,
        histograms={"one_way": histogram().buckets_ms(), "to_sent": []},
        memory=[
            {
                "pid": 7, "process": "serve", "first_mib": 1.0, "last_mib": 2.0, "kib_per_hour": 5,
                "samples": [(0.0, 1024), (1.0, 2048)],
            }
        ],
        seconds=[
            Second(at=1.0, phase="starting", online=0),
            Second(
                at=2.0, phase="measuring", online=5, received=700, p50_ms=1.0, p99_ms=2.0, cpu_percent=50.0,
                resident_mib=60.0,
            ),
        ],
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    one, two = report(), report(Options("offline"), promise=Verdict(lost=2))
    write(tmp_path / "one.json", [one])
    write(tmp_path / "two.json", [one, two])
    assert [asdict(each) for each in read(tmp_path / "two.json")] == [asdict(each) for each in _as_lists(one, two)]
    assert [each.title for each in read(tmp_path / "one.json")] == [one.title]


def _as_lists(*reports: Report) -> list[Report]:
    """JSON knows no tuples."""
    return [Report.of_json(json.loads(json.dumps(each.as_json()))) for each in reports]


def test_the_shape_of_the_file_is_the_documented_one(tmp_path: Path) -> None:
    documented = (Path(__file__).parents[2] / "docs" / "load.md").read_text()
    values = report().as_json()
    names = re.findall(r"^\| `(\w+)` \|", documented, re.MULTILINE)
    assert set(values) <= set(names), set(values) - set(names)
    for part in ("promise", "settings"):
        assert set(values[part]) <= set(names), set(values[part]) - set(names)
    assert set(values["seconds"][0]) <= set(names)
    assert values["format"] == 1
    assert values["promise"]["kept"] is True


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not JSON"),
        ("{}", "not a result"),
        ('{"format": 2}', "format 1"),
        ('{"format": 1}', "not a result"),
        ("7", "not a result"),
        ("[7]", "not a result"),
        (None, "cannot read"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, content: str | None, complaint: str) -> None:
    file = tmp_path / "a.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=re.escape(str(file))) as error:
        read(file)
    assert complaint in str(error.value)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name another file"):
        write(tmp_path / "no" / "a.json", [report()])


# Comparing.


def test_two_results_beside_each_other() -> None:
    second = report(Options(in_flight=16, processes=2), shape="cluster", figures={"delivered_per_second": 1500})
    lines = compare([report()], [second]).splitlines()
    assert any(re.search(r"differs: in_flight: 32 → 16", line) for line in lines)
    assert any("differs: shape: one <node> → cluster" in line for line in lines)
    assert any(re.fullmatch(r"\s+delivered_per_second\s+1,000\s+1,500\s+1\.50", line) for line in lines)
    assert any(re.fullmatch(r"\s+server_cpu_us_per_message\s+12\.5\s+–\s+–", line) for line in lines)
    assert any("one_way p99" in line and line.endswith("1.00") for line in lines)
    assert "broke" not in "\n".join(lines)


def test_a_result_that_broke_the_promise_counts_for_nothing() -> None:
    assert "B broke the promise" in compare([report()], [report(promise=Verdict(lost=1))])


def test_different_scenarios_cannot_be_compared() -> None:
    with pytest.raises(ConfigError, match="no scenario in common"):
        compare([report()], [report(Options("idle"))])


def test_files_of_several_are_matched_by_server_and_settings() -> None:
    first = [report(), report(server="mosquitto")]
    second = [report(server="mosquitto", figures={"delivered_per_second": 10}), report(Options("offline"))]
    table = compare(first, second)
    assert "mosquitto" in table
    assert "sparrow" not in table
    assert "0.01" in table


# For people.


def test_the_text_has_the_counters_and_the_verdict() -> None:
    said = text(report())
    assert re.search(r"sent\s+10\n", said)
    assert re.search(r"read-acks\s+0\n", said)
    assert "1 × Goodbye" in said
    assert "promise was kept" in said
    assert "THE PROMISE WAS BROKEN" in text(report(promise=Verdict(twice=1)))


class _Looker(HTMLParser):
    """What a page names that is not in it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.outside += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]


def test_the_page_is_well_formed_and_holds_all_it_needs() -> None:
    html = page([report(), report(Options("offline"), promise=Verdict(lost=1))])
    ElementTree.fromstring(html.removeprefix("<!DOCTYPE html>"))
    looker = _Looker()
    looker.feed(html)
    assert looker.outside == []
    assert not {"script", "link", "img", "iframe", "object"} & looker.tags
    assert {"svg", "polyline", "rect", "table"} <= looker.tags
    assert "url(" not in html
    assert "@import" not in html
    assert "prefers-color-scheme: dark" in html
    assert "Goodbye: &lt;MALFORMED&gt;" in html
    assert "The promise was broken." in html
    assert not re.search(r"\bnan\b|None", html)


def test_a_page_of_a_run_that_measured_nothing() -> None:
    empty = report(histograms={"one_way": []}, latency_ms={"one_way": summary_ms(Histogram())}, seconds=[], memory=[])
    ElementTree.fromstring(page([empty]).removeprefix("<!DOCTYPE html>"))


def test_servers_side_by_side() -> None:
    table = markdown([report(), report(server="ejabberd", figures={}), report(Options("offline"))]).splitlines()
    assert table[0] == "| shape | figure | sparrow | ejabberd |"
    assert "| pairs (pairs 50, in flight 32) | µs CPU a message | 12.5 | – |" in table
    assert all(line.count("|") == 5 for line in table)


def test_of_several_rounds_there_are_medians_and_every_broken_promise() -> None:
    rounds = [report(figures={"delivered_per_second": rate}) for rate in (100, 900, 200)]
    rounds[0].promise.lost = rounds[1].promise.lost = 1
    table = markdown(rounds).splitlines()
    assert any(line.endswith("| delivered/s | 200 (100–900) |") for line in table)
    assert any(line.endswith("| 2 / 0 / 0 |") for line in table)


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_it_is_redrawn() -> None:
    screen = _Screen()
    live = Live(10.0, screen)
    for second in report().seconds:
        live.show(second)
    shown = screen.getvalue()
    assert shown.count("\x1b[5A") == 1
    assert "700 msg/s" in shown
    assert "p50 1.00 ms, p99 2.00 ms" in shown
    assert re.search(r"measuring █*░* +10%", shown)


def test_on_a_pipe_each_second_is_a_line() -> None:
    pipe = io.StringIO()
    live = Live(10.0, pipe)
    for second in report().seconds:
        live.show(second)
    lines = pipe.getvalue().splitlines()
    assert len(lines) == 2
    assert "received=700" in lines[1]
    assert "\x1b" not in pipe.getvalue()


def test_a_slope() -> None:
    assert slope_kib_per_hour([(float(n), 1000 + 2 * n) for n in range(10)]) == pytest.approx(7200)
    assert slope_kib_per_hour([(0.0, 1), (1.0, 2)]) is None
    assert slope_kib_per_hour([(1.0, 1)] * 5) is None
