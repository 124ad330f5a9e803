"""A result as a run could have given it, for tests of what becomes of results."""

from __future__ import annotations

from dataclasses import replace

from load.histogram import Histogram, summary_ms
from load.report import Report, Second, settings
from load.spec import Options


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
        counters={"sent": 10, "received": 10, "sent_acks": 10, "exceptions": 1},
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
