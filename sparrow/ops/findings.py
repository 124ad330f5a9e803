"""What is wrong in a cluster, from what its processes tell of themselves.

Owns the judgement: `sparrow status`, `sparrow top` and the operator's page say what is found here, in these words. A
finding has the name of the alarm (scripts/monitoring/alerts.yml) that is raised for the same, where there is one, and
the same bound; docs/operations.md, "Alarms", says more of each. Asks nobody, and reads no clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sparrow.ops.seen import Seen, duration

DAY_S = 86400.0
SOON_S, VERY_SOON_S = 21 * DAY_S, 7 * DAY_S
"""Before the end of a certificate."""
BACKUP_S = 36 * 3600.0
FREE_BYTES = 2e9
STORING_ROWS = 10_000
OPEN_FILES = 0.8
LATE_S = 0.1
FOR_PEOPLE = {"log_in": "log in", "deliver": "deliver", "store": "store", "serve": "serve", "notify": "notify brokers"}
_GIB = 2**30


class Severity(StrEnum):
    """How soon somebody has to look."""

    CRITICAL = "critical"
    """Now: an alarm of this name pages."""
    WARNING = "warning"
    """In working hours."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong."""

    severity: Severity
    name: str
    """Of the alarm, where there is one."""
    where: str
    """The process; empty: the cluster."""
    text: str
    cure: str

    @property
    def line(self) -> str:
        """All of it."""
        return f"{self.severity.upper()}  {f'{self.where}: ' if self.where else ''}{self.text}: {self.cure}"


def findings(now: Sequence[Seen], before: Sequence[Seen] = (), *, unix_s: float) -> list[Finding]:
    """What is wrong, critical things first. `before`: an earlier look at the same processes, in the same order, a
    minute ago or so; without it what shows by its pace alone is not found. `unix_s`: the time of day."""
    earlier = before if len(before) == len(now) else [None] * len(now)
    found = [each for new, old in zip(now, earlier, strict=True) for each in _of_one(new, _same(new, old), unix_s)]
    found += _versions(now)
    return sorted(found, key=lambda each: each.severity is not Severity.CRITICAL)


def _same(new: Seen, old: Seen | None) -> Seen | None:
    """`old`, if what has happened since can be told from it."""
    return old if old is not None and not old.trouble and new.at > old.at else None


def _of_one(new: Seen, old: Seen | None, unix_s: float) -> Iterator[Finding]:
    if new.trouble:
        cure = "look at its log and its unit; if it runs and does not answer, restart it"
        yield _critical("SparrowProcessDown", new, f"does not tell of itself: {new.trouble}", cure)
        return
    for why, abilities in by_reason(new.not_ready).items():
        cure = "what it lacks is away, or full; docs/operations.md, Alarms"
        yield _critical("SparrowUnable", new, f"cannot {', '.join(abilities)}: {why}", cure)
    yield from _links(new)
    yield from _space(new)
    yield from _certificates(new, unix_s)
    yield from _backups(new, unix_s)
    yield from _clock(new)
    if old is not None:
        yield from _going_on(new, old)


def by_reason(not_ready: Mapping[str, str]) -> dict[str, list[str]]:
    """Why → what cannot be done, as people say it."""
    found: dict[str, list[str]] = defaultdict(list)
    for ability, why in not_ready.items():
        found[why].append(FOR_PEOPLE.get(ability, ability))
    return dict(found)


def _links(seen: Seen) -> Iterator[Finding]:
    brokers = dict(seen.labelled("connector_broker_up"))
    down = [_label(labels) for labels, up in brokers.items() if not up]
    if brokers and len(down) == len(brokers):
        cure = "are brokers up? Its log says why a link fails: key, firewall, address"
        yield _critical("SparrowNoBrokers", seen, "reaches no broker: nobody there can log in or write", cure)
    else:
        for endpoint in down:
            cure = "is that broker up? Nobody is hurt while another one is"
            yield _warning("SparrowBrokerUnreached", seen, f"does not reach the broker {endpoint}", cure)


def _space(seen: Seen) -> Iterator[Finding]:
    if seen.value("broker_no_space"):
        cure = "make room on that disk (store.min_free_bytes)"
        yield _critical("SparrowNoSpace", seen, "refuses messages, as the store's disk is nearly full", cure)
    elif seen.has("store_free_bytes") and seen.value("store_free_bytes") < FREE_BYTES:
        free = f"the store's disk takes {seen.value('store_free_bytes') / _GIB:.1f} GiB more"
        yield _warning("SparrowDiskNearlyFull", seen, free, "make room, before messages are refused")
    if (rows := seen.value("broker_storing_rows")) > STORING_ROWS:
        cure = "look at the store's load and disks"
        yield _warning("SparrowStoringBehind", seen, f"{rows:,.0f} copies wait for the store", cure)
    most = seen.values.get("process_max_fds", 0)
    if most and (used := seen.values.get("process_open_fds", 0) / most) > OPEN_FILES:
        cure = "raise LimitNOFILE, or add a connector"
        yield _warning("SparrowFilesRunOut", seen, f"has used {100 * used:.0f} % of its file descriptors", cure)


def _certificates(seen: Seen, unix_s: float) -> Iterator[Finding]:
    for labels, end in seen.labelled("certificate_expiration_timestamp_seconds"):
        left_s, setting = end - unix_s, _label(labels)
        cure = "renew it; what is read once takes a restart (docs/operations.md, TLS)"
        if left_s < 0:
            yield _critical("SparrowCertificateExpires", seen, f"{setting} has expired, {_ago(left_s)}", cure)
        elif left_s < VERY_SOON_S:
            yield _critical("SparrowCertificateExpires", seen, f"{setting} expires in {duration(left_s)}", cure)
        elif left_s < SOON_S:
            yield _warning("SparrowCertificateExpiresSoon", seen, f"{setting} expires in {duration(left_s)}", cure)


def _ago(left_s: float) -> str:
    return f"{duration(-left_s)} ago"


def _backups(seen: Seen, unix_s: float) -> Iterator[Finding]:
    if not seen.has("backup_timestamp_seconds"):
        return
    made_s = seen.value("backup_timestamp_seconds")
    cure = "journalctl -u sparrow-backup; systemctl list-timers"
    if not made_s:
        yield _warning("SparrowBackupOld", seen, "there is no backup that was found good", cure)
    elif unix_s - made_s > BACKUP_S:
        text = f"the newest good backup is {duration(unix_s - made_s)} old"
        yield _warning("SparrowBackupOld", seen, text, cure)


def _clock(seen: Seen) -> Iterator[Finding]:
    if seen.value("connector_clocks_apart"):
        cure = "which clock is wrong? Set it, and see that NTP runs on both machines"
        text = "its clock is far from a broker's: nobody can log in there"
        yield _critical("SparrowClocksApart", seen, text, cure)


def _going_on(new: Seen, old: Seen) -> Iterator[Finding]:
    """What shows between two looks."""
    passed_s = new.at - old.at
    for call, count in _risen(new, old, "broker_store_failures_total"):
        text = f"{count:.0f} calls of the store have failed lately ({call})"
        yield _critical("SparrowStoreFailing", new, text, "the broker's log names the reason")
    for call, count in _risen(new, old, "broker_etcd_failures_total"):
        text = f"{count:.0f} calls of etcd have failed lately ({call})"
        yield _critical("SparrowEtcdFailing", new, text, "is a majority of its members up, is it at its quota?")
    if _of_label(new, old, "connector_failed_total", "UNAVAILABLE") / passed_s > 1:
        cure = "something that messages need is away; nothing is lost, clients repeat"
        yield _critical("SparrowMessagesWait", new, "authors are told to try again", cure)
    if _of_label(new, old, "broker_not_archived_total", "UNAVAILABLE") / passed_s > 1:
        cure = "the store, or a connector's clock that is two minutes off"
        yield _critical("SparrowHistoryFails", new, "conversations cannot be kept: nobody is told SENT of them", cure)
    if _of_label(new, old, "connector_goodbyes_total", "MALFORMED") / passed_s > 0.1:
        cure = "a bug in a client, or somebody knocking: its log says who"
        yield _warning("SparrowClientsBreakProtocol", new, "clients break the protocol", cure)
    if sum(count for _, count in _risen(new, old, "log_lines_dropped_total")):
        cure = "does journald run, and is there room on its disk?"
        yield _warning("SparrowLogDropped", new, "nobody takes its log: lines of it are lost", cure)
    if sum(count for _, count in _risen(new, old, "clock_jumps_total")):
        cure = "who sets it beside NTP?"
        yield _warning("SparrowClockJumped", new, "its machine's clock was set by a second or more", cure)
    looks = rise(new, old, "event_loop_lag_seconds_count")
    late_s = rise(new, old, "event_loop_lag_seconds_sum") / looks if looks else 0.0
    if late_s > LATE_S:
        cure = "one core is not enough for it: add a connector or a broker"
        yield _warning("SparrowLoopLag", new, f"its event loop is {late_s * 1000:.0f} ms late on average", cure)


def rise(new: Seen, old: Seen, name: str) -> float:
    """By how much a counter has risen, over all its labels; one that began anew has risen from 0."""
    return sum(count for _, count in _risen(new, old, name))


def _risen(new: Seen, old: Seen, name: str) -> Iterator[tuple[str, float]]:
    """The value of its label, and by how much, of what has risen."""
    before = dict(old.labelled(name))
    for labels, value in new.labelled(name):
        was = before.get(labels, 0.0)
        if value > 0 and value != was:
            yield _label(labels), value - was if value > was else value


def _of_label(new: Seen, old: Seen, name: str, label: str) -> float:
    return sum(count for value, count in _risen(new, old, name) if value == label)


def _versions(now: Sequence[Seen]) -> Iterator[Finding]:
    by_version: dict[str, list[str]] = defaultdict(list)
    for seen in now:
        if not seen.trouble:
            by_version[seen.version].append(seen.shown)
    if len(by_version) > 1:
        told = "; ".join(f"{version}: {', '.join(names)}" for version, names in sorted(by_version.items()))
        cure = "neighbouring releases work together: restart what is left of the older one"
        yield Finding(Severity.WARNING, "VersionsDiffer", "", f"not all are of one release: {told}", cure)


def _label(labels: str) -> str:
    """The value of a sample's one label."""
    return labels.partition("=")[2]


def _critical(name: str, seen: Seen, text: str, cure: str) -> Finding:
    return Finding(Severity.CRITICAL, name, seen.shown, text, cure)


def _warning(name: str, seen: Seen, text: str, cure: str) -> Finding:
    return Finding(Severity.WARNING, name, seen.shown, text, cure)
