"""A broker's metrics, for Prometheus.

Owns their names and meanings (docs/metrics.md). Reads the core, counts nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from broker.core import BrokerCore
from broker.core.signals import Dropped
from fabric import records
from fabric.records import outcome_name

_P = "sparrow_broker_"


def _named(*outcomes: int) -> dict[int, str]:
    return {outcome: outcome_name(outcome) for outcome in outcomes}


_REFUSALS = _named(
    records.UNAVAILABLE,
    records.NO_SUCH_USER,
    records.BLOCKED,
    records.BLOCKS,
    records.NOT_FRIEND,
    records.HISTORY_FULL,
    records.NOT_ALLOWED,
)
_GROUP_REFUSALS = _named(
    records.UNAVAILABLE,
    records.NOT_MEMBER,
    records.NOT_ALLOWED,
    records.ADMINS_ONLY,
    records.GROUP_BUSY,
    records.HISTORY_FULL,
    records.NO_SPACE,
)
_NOT_STORED = _named(
    records.UNAVAILABLE,
    records.INBOX_FULL,
    records.INBOX_BUSY,
    records.NO_SPACE,
)
_NOT_KEPT = _named(
    records.UNAVAILABLE,
    records.HISTORY_FULL,
    records.NO_SPACE,
    records.NOT_ALLOWED,
)
_RESULTS = {
    records.OK: "OK",
    records.PREDECESSOR: "PREDECESSOR",
    records.NO_DEVICE: "NO_DEVICE",
    records.TAKEN: "TAKEN",
    records.AWAY: "AWAY",
    records.LOGIN_ENDED: "LOGIN_ENDED",
    records.DISABLED: "DISABLED",
    records.LATE: "LATE",
}


def metrics(core: BrokerCore, online: int, members: int) -> Iterator[Metric]:
    """All of the core's, as they are now; `online` and `members` are what presence and membership hold.

    Call it in the core's event loop.
    """
    routing, storage, inbox, logins, archive = core.routing, core.storage, core.inbox, core.logins, core.archive
    yield _gauge("online", "Devices that are online, in the whole cluster.", online)
    yield _gauge("members", "Brokers that are alive, this one among them.", members)
    yield _gauge("waiting_routes", "Messages that wait for something to be read from the store.", routing.waiting)
    yield _gauge("storing_rows", "Copies on their way into the inbox.", storage.rows)
    yield _gauge("storing_bytes", "Bodies of these.", storage.bytes)
    yield _gauge("notifications", "Notifications that no connector has confirmed yet.", len(core.notifier))
    yield _gauge("nudges", "Deprecated, goes with 0.3: notifications.", len(core.notifier))
    yield _gauge("closings", "Sessions that are to end, which no connector has confirmed yet.", len(core.closings))
    yield _counter("routed", "Messages and receipts of which copies were made.", routing.routed)
    yield _by_name("refused", "Messages that were refused here, by outcome.", "outcome", routing.refused, _REFUSALS)
    yield _counter("stored", "Copies that became safe in an inbox.", storage.stored)
    yield _counter("store_failed", "Copies that could not be stored.", storage.failed)
    yield _by_name("not_stored", "Copies that were not stored, by outcome.", "outcome", storage.refused, _NOT_STORED)
    yield _gauge("history", "1 while conversations are kept.", archive.keeps)
    yield _gauge("archiving_rows", "Messages and changes on their way into timelines.", archive.rows)
    yield _counter("archived", "Messages and changes that came to stand in a timeline.", archive.kept)
    text = "Messages and changes that did not, by outcome."
    yield _by_name("not_archived", text, "outcome", archive.refused, _NOT_KEPT)
    yield from _of_groups(core)
    signals = core.signals
    yield _counter("signals", "Signals that were handed out.", signals.handed_out)
    yield _counter("signal_copies", "Sessions that these were handed out to.", signals.copies)
    reasons = {int(reason): reason.name for reason in Dropped}
    yield _by_name("signals_dropped", "Signals that were not, by reason.", "reason", signals.dropped, reasons)
    yield _gauge("signals_waiting", "Signals that wait for something to be read from the store.", len(signals))
    yield _gauge("watched", "Users for whom much waits, or may wait.", core.quota.watched)
    yield _gauge("no_space", "1 while no message is stored, as the disk is nearly full.", core.quota.no_space)
    yield _counter("rows", "Inbox rows given to connectors, repeats among them.", inbox.rows)
    yield _counter("removed", "Inbox rows that were acked and asked to be removed.", inbox.removed)
    yield _by_name("logins", "Logins, by what they were answered.", "result", logins.results, _RESULTS)
    yield _counter("batches", "Batches sent to connectors.", core.batches)
    yield _counter("records", "Records in these.", core.records)
    yield _counter("records_unreadable", "Records that could not be read.", core.records_unreadable)


def _of_groups(core: BrokerCore) -> Iterator[Metric]:
    groups, looks = core.groups, core.looks
    yield _counter("group_messages", "Messages to groups that were handed out to all who were online.", groups.routed)
    text = "Messages to groups that were not, by outcome."
    yield _by_name("group_messages_refused", text, "outcome", groups.refused, _GROUP_REFUSALS)
    text = "Messages to groups that wait for a membership, or for the store."
    yield _gauge("group_messages_waiting", text, groups.waiting)
    yield _counter("group_copies", "Sessions that these were handed out to.", groups.copies)
    yield _gauge("group_owed", "What connectors were handed of groups and have not confirmed.", looks.owed)
    yield _counter("group_looks", "How often connectors were told to look for rows themselves.", looks.sent)
    yield _counter("group_rows", "Rows of groups given to connectors, repeats among them.", core.group_pages.rows)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(_P + name, text, value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(_P + name, text, value)


def _by_name(name: str, text: str, label: str, values: Mapping[int, int], names: Mapping[int, str]) -> Metric:
    family = CounterMetricFamily(_P + name, text, labels=(label,))
    for number, word in names.items():
        family.add_metric((word,), values.get(number, 0))
    return family
