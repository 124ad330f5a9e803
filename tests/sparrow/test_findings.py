"""What is found wrong in a cluster from what its processes tell, each by the bound of its alarm."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sparrow.ops.figures import comparable, figures
from sparrow.ops.findings import Finding, Severity, findings
from sparrow.ops.seen import Seen

ALARMS = (Path(__file__).parents[2] / "scripts" / "monitoring" / "alerts.yml").read_text()
NOW_S = 1_800_000_000.0
DAY_S = 86400.0
END = "certificate_expiration_timestamp_seconds{setting=connector.tls_certificate_file}"
NOT_SEEN = {"SparrowInboxesGrow"}
"""Shows over a day."""


def seen(at: float = 70.0, name: str = "b-1", version: str = "0.2", **changes: object) -> Seen:
    return Seen(f"{name}:1", at, name=name, role="broker", version=version, **changes)  # type: ignore[arg-type]


def with_values(at: float = 70.0, **values: float) -> Seen:
    return seen(at, values={f"sparrow_{key}": value for key, value in values.items()})


def found(**values: float) -> list[Finding]:
    return findings([with_values(**values)], [seen(10.0)], unix_s=NOW_S)


LOOKS: dict[str, list[tuple[dict[str, float], bool]]] = {
    "SparrowNoBrokers": [
        ({"connector_broker_up{endpoint=a}": 0}, True),
        ({"connector_broker_up{endpoint=a}": 1}, False),
    ],
    "SparrowBrokerUnreached": [
        ({"connector_broker_up{endpoint=a}": 0, "connector_broker_up{endpoint=b}": 1}, True),
        ({"connector_broker_up{endpoint=a}": 0, "connector_broker_up{endpoint=b}": 0}, False),
    ],
    "SparrowStoreFailing": [({"broker_store_failures_total{call=append}": 1}, True), ({}, False)],
    "SparrowEtcdFailing": [({"broker_etcd_failures_total{call=put}": 1}, True)],
    "SparrowMessagesWait": [
        ({"connector_failed_total{code=UNAVAILABLE}": 61}, True),
        ({"connector_failed_total{code=UNAVAILABLE}": 59}, False),
        ({"connector_failed_total{code=TOO_FAST}": 1000}, False),
    ],
    "SparrowHistoryFails": [({"broker_not_archived_total{outcome=UNAVAILABLE}": 61}, True)],
    "SparrowStoringBehind": [({"broker_storing_rows": 10_001}, True), ({"broker_storing_rows": 10_000}, False)],
    "SparrowLoopLag": [
        ({"event_loop_lag_seconds_sum": 3.0, "event_loop_lag_seconds_count": 20}, True),
        ({"event_loop_lag_seconds_sum": 1.0, "event_loop_lag_seconds_count": 20}, False),
    ],
    "SparrowLogDropped": [({"log_lines_dropped_total": 1}, True), ({"log_lines_dropped_total": 0}, False)],
    "SparrowClientsBreakProtocol": [
        ({"connector_goodbyes_total{code=MALFORMED}": 7}, True),
        ({"connector_goodbyes_total{code=REPLACED}": 100}, False),
    ],
    "SparrowDiskNearlyFull": [
        ({"store_free_bytes": 1.9e9}, True),
        ({"store_free_bytes": 2.1e9}, False),
        ({"store_free_bytes": 0.0, "broker_no_space": 1}, False),
    ],
    "SparrowNoSpace": [({"broker_no_space": 1}, True), ({"broker_no_space": 0}, False)],
    "SparrowCertificateExpiresSoon": [
        ({END: NOW_S + 20 * DAY_S}, True),
        ({END: NOW_S + 22 * DAY_S}, False),
        ({END: NOW_S + 6 * DAY_S}, False),
    ],
    "SparrowCertificateExpires": [
        ({END: NOW_S + 6 * DAY_S}, True),
        ({END: NOW_S - 1}, True),
        ({END: NOW_S + 8 * DAY_S}, False),
    ],
    "SparrowClocksApart": [({"connector_clocks_apart": 1}, True), ({"connector_clocks_apart": 0}, False)],
    "SparrowClockJumped": [({"clock_jumps_total": 1}, True)],
    "SparrowBackupOld": [
        ({"backup_timestamp_seconds": NOW_S - 37 * 3600}, True),
        ({"backup_timestamp_seconds": 0}, True),
        ({"backup_timestamp_seconds": NOW_S - 35 * 3600}, False),
        ({}, False),
    ],
}


@pytest.mark.parametrize("name", LOOKS)
def test_what_each_looks_at(name: str) -> None:
    for values, wrong in LOOKS[name]:
        assert (name in [each.name for each in found(**values)]) == wrong, values


def test_what_the_process_itself_says() -> None:
    away = seen(not_ready={"log_in": "no etcd", "store": "no etcd", "deliver": "no broker"})
    lines = [each.line for each in findings([away, Seen("b-2:1", 70.0, "refused")], unix_s=NOW_S)]
    assert lines[0].startswith("CRITICAL  b-1: cannot log in, store: no etcd: ")
    assert lines[1].startswith("CRITICAL  b-1: cannot deliver: no broker: ")
    assert lines[2].startswith("CRITICAL  b-2:1: does not tell of itself: refused: ")
    text = found(**{END: NOW_S - 90})[0].text
    assert text == "connector.tls_certificate_file has expired, 1m 30s ago"
    files = seen(values={"process_open_fds": 90.0, "process_max_fds": 100.0})
    assert [each.name for each in findings([files], unix_s=NOW_S)] == ["SparrowFilesRunOut"]


def test_of_several_releases() -> None:
    looked = [seen(), seen(name="b-2", version="0.1"), Seen("b-3:1", 70.0, "down")]
    (differ,) = [each for each in findings(looked, unix_s=NOW_S) if each.name == "VersionsDiffer"]
    assert differ.line.startswith("WARNING  not all are of one release: 0.1: b-2; 0.2: b-1: ")
    assert findings([seen(), seen(name="b-2")], unix_s=NOW_S) == []


def test_without_an_earlier_look_nothing_is_made_of_counters() -> None:
    values = with_values(**{"clock_jumps_total": 5.0})
    assert findings([values], unix_s=NOW_S) == []
    assert findings([values], [values], unix_s=NOW_S) == []  # not a look before
    assert findings([values], [Seen("b-1:1", 10.0, "down")], unix_s=NOW_S) == []
    assert [each.name for each in findings([values], [with_values(10.0)], unix_s=NOW_S)] == ["SparrowClockJumped"]


def test_critical_things_come_first() -> None:
    told = found(**{"store_free_bytes": 1.0, "connector_clocks_apart": 1.0})
    assert [each.severity for each in told] == [Severity.CRITICAL, Severity.WARNING]


def test_names_and_urgency_are_those_of_the_alarms() -> None:
    alarms = dict(re.findall(r"alert: (\w+)\n(?:.*\n)*?.*severity: (\w+)", ALARMS))
    severities = {"page": Severity.CRITICAL, "ticket": Severity.WARNING}
    down = findings([Seen("b:1", 70.0, "down"), seen(not_ready={"store": "full"})], unix_s=NOW_S)
    full = findings([seen(values={"process_open_fds": 90.0, "process_max_fds": 100.0})], unix_s=NOW_S)
    told = [each for looks in LOOKS.values() for values, wrong in looks if wrong for each in found(**values)]
    made = {each.name: each.severity for each in [*down, *full, *told]}
    assert made == {name: severities[severity] for name, severity in alarms.items() if name not in NOT_SEEN}


def test_figures_of_all_together() -> None:
    before = [
        with_values(10.0, **{"broker_store_seconds_sum{call=a}": 1.0, "broker_store_seconds_count{call=a}": 10})
    ] * 2
    now = [
        with_values(20.0, **{"broker_store_seconds_sum{call=a}": 2.0, "broker_store_seconds_count{call=a}": 20}),
        with_values(20.0, **{"broker_store_seconds_sum{call=a}": 1.3, "broker_store_seconds_count{call=a}": 40}),
    ]
    told = figures(comparable(before, now))
    assert told.times_ms == {"store": pytest.approx(1000 * 1.3 / 40)}
    requests = {
        "userapi_requests_total{operation=log_in,status=2xx}": 30.0,
        "userapi_requests_total{operation=log_in,status=5xx}": 20.0,
    }
    rates = figures([(with_values(10.0), with_values(20.0, **requests))]).rates
    assert (rates["requests"], rates["errors"]) == (5.0, 2.0)
    assert comparable([with_values(10.0)], [Seen("b-1:1", 20.0, "down")]) == []
