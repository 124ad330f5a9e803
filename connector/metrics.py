"""A connector's metrics, for Prometheus.

Owns their names and meanings (docs/metrics.md). Reads the core, counts nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from connector.core import ConnectorCore
from protocol.sparrow_pb2 import Failed, Goodbye

_P = "sparrow_connector_"


def metrics(core: ConnectorCore) -> Iterator[Metric]:
    """All metrics of a connector, as they are now. Call it in the core's event loop."""
    attempts, delivery, catchup, logins, links = core.attempts, core.delivery, core.catchup, core.logins, core.links
    yield _gauge("connections", "Client connections, those without a login among them.", len(core.connections))
    yield _gauge("sessions", "Sessions that are logged in, or about to be.", len(core.sessions))
    yield _gauge("sessions_behind", "Sessions that read their inbox and are not live.", catchup.behind)
    unsure = len(core.doubts.unsure)
    yield _gauge("sessions_unsure", "Connections that are not heard until it is known that they go on.", unsure)
    yield _gauge("attempts", "Messages that were taken and have no outcome yet.", len(attempts))
    buffered = delivery.buffered_bytes
    yield _gauge("buffered_bytes", "Bodies of copies that were written to a device and not acked.", buffered)
    yield _gauge("held_bytes", "Deprecated, goes with 0.3: buffered_bytes.", buffered)
    yield _counter("messages", "Messages taken from clients, repeats among them.", attempts.begun)
    yield _counter("repeats", "Of these, repeats that were seen on the same connection.", core.repeats)
    yield _counter("sent", "Messages whose author was told SENT.", attempts.sent)
    yield _counter("delivered", "Of these, told DELIVERED in the same receipt.", attempts.delivered)
    yield _counter("delivered_early", "Messages whose author was told DELIVERED before SENT.", attempts.early)
    yield _by_name("failed", "Messages whose author was told Failed, by code.", "code", attempts.failed, Failed.Code)
    yield _counter("copies", "Live copies of messages and receipts written to devices.", delivery.copies)
    groups = core.groups
    yield _counter("group_copies", "Live messages of groups written to devices.", groups.copies)
    yield _counter("group_rows", "Rows of groups written to devices that catch up.", groups.rows_sent)
    yield _gauge("group_sessions_behind", "Sessions that have rows of groups to read.", groups.reading)
    signals = core.signals
    yield _counter("signals", "Signals of clients that were handed to brokers.", signals.taken)
    yield _counter(
        "signals_dropped", "Signals of clients that were not: too many, or nobody to take them.", signals.dropped
    )
    yield _counter("signal_copies", "Signals written to devices.", signals.copies)
    text = "Signals for devices that do not know them, are gone, or are behind."
    yield _counter("signal_copies_dropped", text, signals.copies_dropped)
    yield _counter("rows", "Inbox rows written to devices.", catchup.rows_sent)
    yield _counter("rows_unreadable", "Inbox rows that could not be read.", catchup.rows_unreadable)
    yield _counter("records_unreadable", "Records of brokers that could not be read.", core.records_unreadable)
    yield _counter("requeued", "Copies that went back to a broker to be stored.", delivery.requeued)
    yield _counter("given_back", "Deprecated, goes with 0.3: requeued_total.", delivery.requeued)
    yield _counter("logins", "Sessions that were told LoggedIn.", logins.begun)
    yield _by_name("goodbyes", "Sessions that were told Goodbye, by code.", "code", logins.goodbyes, Goodbye.Code)
    yield _counter("batches", "Batches sent to brokers.", links.batches)
    yield _counter("records", "Records in these.", links.records)
    yield _gauge("clocks_apart", "Brokers whose clock is more than 60 s from ours.", len(links.apart))
    up = GaugeMetricFamily(_P + "broker_up", "Whether the broker at this endpoint is up.", labels=("endpoint",))
    for endpoint, is_up in links.up.items():
        up.add_metric((endpoint,), float(is_up))
    yield up


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(_P + name, text, value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(_P + name, text, value)


def _by_name(
    name: str, text: str, label: str, values: Mapping[int, int], names: type[Failed.Code | Goodbye.Code]
) -> Metric:
    family = CounterMetricFamily(_P + name, text, labels=(label,))
    for number in names.values():
        if number:
            family.add_metric((names.Name(number),), values.get(number, 0))
    return family
