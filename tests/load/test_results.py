"""Results: the JSON file's shape, comparing two, the text, what is shown while it runs."""

from __future__ import annotations

import io
import json
import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from load import words
from load.compare import compare, matched
from load.ledger import Verdict
from load.live import Live
from load.measure import machine, slope_kib_per_hour
from load.peers.table import markdown
from load.report import USED, Report, read, text, write
from load.spec import LATENCIES, Options
from load.world import Counts
from protocol.errors import ConfigError
from tests.load.results import report


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
        ("[" * 100_000, "not JSON"),
        ("\x89PNG\r\n", "not JSON"),
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


def test_a_file_of_another_version_is_read(tmp_path: Path) -> None:
    """Older ones lack what came since; of newer ones, what is not known is passed over."""
    values = json.loads(json.dumps(report().as_json()))
    for second in values["seconds"]:
        for name in ("logins", "refused", "refused_for_now", "resent", "repeated_on_the_wire", "disconnects", "errors"):
            del second[name]
        second["of_tomorrow"] = 1
    values["promise"]["of_tomorrow"] = values["of_tomorrow"] = 1
    file = tmp_path / "a.json"
    file.write_text(json.dumps(values))
    (found,) = read(file)
    assert asdict(found) == asdict(_as_lists(report())[0])


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("figures", [], "figures: Not a valid mapping type."),
        ("figures", {"texts": "1x"}, "figures.texts: Not a valid number."),
        ("latency_ms", None, "latency_ms: Field may not be null."),
        ("latency_ms", {"one_way": {"p50": []}}, "latency_ms.one_way.p50: Not a valid number."),
        ("seconds", "abc", "seconds: Not a valid list."),
        ("seconds", [7], "seconds.0: Invalid input type."),
        ("seconds", [{"at": "soon", "phase": "", "online": 0}], "seconds.0.at: Not a valid number."),
        ("seconds", [{"at": 1.0, "online": 0}], "seconds.0.phase: Missing data for required field."),
        ("promise", {"lost": "x"}, "promise.lost: Not a valid integer."),
        ("promise", 1, "promise: Invalid input type."),
        ("scenario", "juggling", "scenario: this version does not know 'juggling'"),
        ("format", 7, "format 7, and this version reads format 1"),
        ("histograms", {"one_way": [[1]]}, "histograms.one_way.0: Length must be 2."),
        ("histograms", {"one_way": [[1, None]]}, "histograms"),
        ("settings", {"seconds": "long"}, "settings are no numbers"),
        ("settings", {"pairs": "many"}, "settings are no numbers"),
        ("settings", {"pairs": []}, "settings.pairs: Neither a number nor words."),
        ("memory", [{}], "memory.0.pid: Missing data for required field."),
        ("memory", [{**report().memory[0], "samples": [7]}], "memory.0.samples.0: Not a valid tuple."),
    ],
)
def test_a_result_that_was_changed_is_refused(tmp_path: Path, name: str, value: object, complaint: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps({**report().as_json(), name: value}))
    with pytest.raises(ConfigError, match=re.escape(str(file))) as error:
        read(file)
    assert complaint in str(error.value)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name another file"):
        write(tmp_path / "no" / "a.json", [report()])


# Comparing.


def test_two_results_beside_each_other() -> None:
    second = report(Options(in_flight=16, processes=2), shape="cluster", figures={"delivered_per_second": 1500})
    lines = compare(matched([report()], [second])).splitlines()
    assert any("differs: in flight per pair or group: 32 texts → 16 texts" in line for line in lines)
    assert any("differs: shape: one <node> → cluster" in line for line in lines)
    assert any(re.fullmatch(r"\s+delivered\s+1,000\s+1,500\s+1\.50  texts a second", line) for line in lines)
    assert any(re.fullmatch(r"\s+server CPU per message\s+12\.5\s+–\s+–  µs", line) for line in lines)
    assert any(re.fullmatch(r"\s+one way, p99\s+99\.3\s+99\.3\s+1\.00  ms", line) for line in lines)
    assert "broken" not in "\n".join(lines)


def test_a_result_that_broke_the_promise_counts_for_nothing() -> None:
    said = compare(matched([report()], [report(promise=Verdict(lost=1))]))
    assert "B: The promise was broken. Texts: 1 lost. Its figures count for nothing." in said


def test_different_scenarios_cannot_be_compared() -> None:
    with pytest.raises(ConfigError, match="no scenario in common"):
        matched([report()], [report(Options("idle"))])


def test_files_of_several_are_matched_by_server_and_settings() -> None:
    first = [report(), report(server="mosquitto")]
    second = [report(server="mosquitto", figures={"delivered_per_second": 10}), report(Options("offline"))]
    table = compare(matched(first, second))
    assert "mosquitto" in table
    assert "sparrow" not in table
    assert "0.01" in table


# For people.


def test_the_text_has_words_and_units_and_the_verdict() -> None:
    said = text(report())
    assert re.search(r"texts sent +10\n", said)
    assert re.search(r"delivered +1,000 texts a second\n", said)
    assert re.search(r"memory per session +–\n", said)
    assert re.search(r"milliseconds +p50 +p90 +p99 +p99.9 +max\n +one way +50\.2", said)
    assert "until SENT" not in said
    assert "1 × Goodbye" in said
    assert " ".join(said.split()).endswith(
        "The promise was kept. All 10 texts that the servers took were shown once each, in order and unchanged."
    )
    assert text(report(promise=Verdict(twice=1))).endswith("Texts: 1 shown twice. Its figures count for nothing.")


def test_zeros_are_apart() -> None:
    said = text(report(counters={"sent": 1, "read_acks": 0, "refused": 0}))
    assert "none: texts with READ; refused for good" in said
    assert "none" not in text(report(counters={"sent": 1}))


@pytest.mark.parametrize(
    ("promise", "counters", "how", "told"),
    [
        (
            Verdict(),
            {"sent_acks": 1200, "received": 1200},
            "kept",
            "All 1,200 texts that the servers took were shown once each",
        ),
        (Verdict(), {"sent_acks": 12, "received": 60}, "kept", "once to each reader, 60 times in all"),
        (Verdict(late=3), {"sent_acks": 12, "received": 12}, "kept", "3 came late and were marked so"),
        (Verdict(), {}, "kept", "No texts were sent"),
        (Verdict(absent=2, waiting=35), {}, "unsure", "2 never did, and 35 texts wait"),
        (Verdict(lost=1, mixed_up=4, absent=2), {}, "broken", "Texts: 1 lost, 4 mixed up."),
    ],
)
def test_verdicts_in_words(promise: Verdict, counters: dict[str, int], how: str, told: str) -> None:
    said = words.verdict(promise, counters)
    assert said[0] == how
    assert told in said[1]


def test_everything_has_words() -> None:
    """Figures: `kept` of test_scenarios.py."""
    assert {each.name for each in fields(Counts)} == set(words.COUNTERS)
    assert set(words.TROUBLES) < set(words.COUNTERS)
    assert {each.name for each in fields(Verdict)} == set(words.PROMISE)
    assert set(LATENCIES) == set(words.LATENCIES)
    assert {name for each in USED for name in report(Options(each)).settings} | {"websocket"} <= set(words.SETTINGS)
    assert set(machine()) == set(words.MACHINE)
    assert words.figure("of_tomorrow_us") == ("of tomorrow us", "")


@pytest.mark.parametrize(
    ("value", "said"),
    [(1234, "1,234"), (1234.5, "1,234"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.0123"), (5.0, "5"),
     (0, "0"), (None, "–"), (True, "yes"), ("3.11", "3.11")],
)  # fmt: skip
def test_numbers_are_as_fine_as_matters(value: Any, said: str) -> None:
    assert words.number(value) == said


@pytest.mark.parametrize(("seconds", "said"), [(8.0, "8 s"), (90.0, "90 s"), (600.0, "10 min"), (28_800.0, "8 h")])
def test_durations(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


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
    assert "700 shown/s" in shown
    assert "p50 1.00 ms, p99 2.00 ms" in shown
    assert re.search(r"measuring █*░* +10%", shown)


def test_on_a_pipe_each_second_is_a_line() -> None:
    pipe = io.StringIO()
    live = Live(10.0, pipe)
    for second in report().seconds:
        live.show(second)
    lines = pipe.getvalue().splitlines()
    assert len(lines) == 2
    assert "measuring: 5 online, 0 sent, 700 shown, SENT 0," in lines[1]
    assert lines[1].endswith("p50 1.00 ms, p99 2.00 ms, 0 exceptions, servers 50 % CPU, 60 MiB")
    assert "\x1b" not in pipe.getvalue()


def test_a_slope() -> None:
    assert slope_kib_per_hour([(float(n), 1000 + 2 * n) for n in range(10)]) == pytest.approx(7200)
    assert slope_kib_per_hour([(0.0, 1), (1.0, 2)]) is None
    assert slope_kib_per_hour([(1.0, 1)] * 5) is None
