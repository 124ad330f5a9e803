"""The scenarios: who sends what to whom, what is measured meanwhile, and the account of every message.

Owns the story of a load test. Knows servers only by their sockets and /proc.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sparrow.load.clients import LoadClient, Receiver, Sender
from sparrow.load.measure import cpu_s, decode_us, percentile, resident_kib
from sparrow.load.spawn import Spawned

DRAIN_TIMEOUT_S = 60.0
WARM_UP_S = 1.5
LOGINS_AT_ONCE = 100

AnyClient = TypeVar("AnyClient", bound=LoadClient)


@dataclass(frozen=True)
class Options:
    """What the command line chose."""

    spawn: str = "one"
    body_bytes: int = 100
    pairs: int = 50
    in_flight: int = 32
    seconds: float = 8.0
    rate: float = 0.0
    users: int = 100
    messages: int = 10_000
    sessions: int = 5_000


@dataclass
class Report:
    """The result; `values` goes into the JSON."""

    values: dict[str, Any] = field(default_factory=dict)

    @property
    def promise_kept(self) -> bool:
        """Nothing lost, repeated or out of order."""
        return not any(self.values.get(key) for key in ("lost", "repeated", "out_of_order"))


async def log_in(clients: Sequence[AnyClient], addresses: Sequence[tuple[str, int]]) -> None:
    """Connect client n to address n modulo their number."""
    gate = asyncio.Semaphore(LOGINS_AT_ONCE)
    await _until_ready(clients[0].token, addresses)

    async def one(at: int, client: AnyClient) -> None:
        async with gate:
            host, port = addresses[at % len(addresses)]
            await _connect(client, host, port)

    await asyncio.gather(*(one(at, client) for at, client in enumerate(clients)))


async def _until_ready(token: str, addresses: Sequence[tuple[str, int]]) -> None:
    """A connector that has just started says "try again" until it has found its broker."""
    for host, port in addresses:
        while True:
            probe = LoadClient(token)
            try:
                await _connect(probe, host, port)
                break
            except ConnectionError:
                await asyncio.sleep(0.05)
        probe.close()


async def _connect(client: LoadClient, host: str, port: int) -> None:
    await asyncio.get_running_loop().create_connection(lambda: client, host, port)
    await client.logged_in


async def pairs(options: Options, servers: Spawned) -> Report:
    """Pairs of a sender on the first connector and a receiver on the last."""
    count = options.pairs
    tokens = await servers.tokens([f"alice{n}" for n in range(count)] + [f"bob{n}" for n in range(count)])
    pids = servers.pids()
    before_kib = resident_kib(servers.connector_pids())
    receivers = [Receiver(token, options.body_bytes) for token in tokens[count:]]
    senders = [Sender(token, f"bob{n}", options.body_bytes) for n, token in enumerate(tokens[:count])]
    await log_in(receivers, servers.connectors[-1:])
    await log_in(senders, servers.connectors[:1])
    kib_per_session = (resident_kib(servers.connector_pids()) - before_kib) / (2 * count)

    resending = asyncio.create_task(_resend(senders))
    traffic = asyncio.create_task(_open_loop(senders, options)) if options.rate else None
    if traffic is None:
        for sender in senders:
            sender.going = True
            sender.send(options.in_flight)
            sender.flush()
    await asyncio.sleep(WARM_UP_S)
    for receiver in receivers:
        receiver.latencies = []
    shown, cpu, began = sum(r.shown for r in receivers), cpu_s(pids), time.monotonic()
    await asyncio.sleep(options.seconds)
    shown = sum(r.shown for r in receivers) - shown
    cpu, took = cpu_s(pids) - cpu, time.monotonic() - began
    latencies = sorted(value for r in receivers for value in r.latencies or ())
    for sender in senders:
        sender.going = False
    if traffic is not None:
        traffic.cancel()
    report = Report(
        {
            "scenario": "pairs",
            "shape": options.spawn,
            "pairs": count,
            "in_flight": None if options.rate else options.in_flight,
            "rate": options.rate or None,
            "seconds": round(took, 3),
            "delivered": shown,
            "delivered_per_second": round(shown / took),
            "server_cpu_us_per_message": round(cpu / max(1, shown) * 1e6, 2),
            "latency_p50_ms": _ms(percentile(latencies, 0.5)),
            "latency_p99_ms": _ms(percentile(latencies, 0.99)),
            "kib_per_session": round(kib_per_session, 2),
        }
    )
    await _account(senders, receivers, report)
    resending.cancel()
    report.values["decode_us"] = round(decode_us(), 3)
    return report


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


async def _open_loop(senders: Sequence[Sender], options: Options) -> None:
    """Messages at their time, however the server does."""
    began, number = time.monotonic(), 0
    while True:
        wait = began + number / options.rate - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        sender = senders[number % len(senders)]
        sender.send()
        sender.flush()
        number += 1


async def _resend(senders: Sequence[Sender]) -> None:
    while True:
        await asyncio.sleep(1.0)
        for sender in senders:
            sender.resend_overdue()


async def _account(senders: Sequence[Sender], receivers: Sequence[Receiver], report: Report) -> None:
    """Wait until every message has its answer, then compare both ends."""
    await _until(
        lambda: (
            not any(sender.open for sender in senders)
            and sum(r.shown for r in receivers) >= sum(sender.sent for sender in senders)
        )
    )
    sent, shown = sum(sender.sent for sender in senders), sum(r.shown for r in receivers)
    report.values |= {
        "sent": sent,
        "delivered_receipts": sum(sender.delivered for sender in senders),
        "unanswered": sum(len(sender.open) for sender in senders),
        "refused_for_now": sum(sender.failed for sender in senders),
        "repeated_on_the_wire": sum(receiver.repeated_on_wire for receiver in receivers),
        "lost": max(0, sent - shown),
        "repeated": sum(receiver.repeated for receiver in receivers),
        "out_of_order": sum(receiver.out_of_order for receiver in receivers),
    }


async def _until(done: Callable[[], bool]) -> None:
    """Give up after a while: what is missing then is told."""
    for _ in range(int(DRAIN_TIMEOUT_S / 0.01)):
        if done():
            return
        await asyncio.sleep(0.01)


async def offline(options: Options, servers: Spawned) -> Report:
    """Messages to users who are not there; then they come and pull."""
    users = [f"bob{n}" for n in range(options.users)]
    tokens = await servers.tokens([f"alice{n}" for n in range(options.users)] + users)
    pids = servers.pids()
    senders = [Sender(token, user, options.body_bytes) for token, user in zip(tokens, users, strict=False)]
    await log_in(senders, servers.connectors)
    resending = asyncio.create_task(_resend(senders))
    each = options.messages // options.users
    cpu, began = cpu_s(pids), time.monotonic()
    await asyncio.gather(*(_send_windowed(sender, each) for sender in senders))
    stored_s, stored_cpu = time.monotonic() - began, cpu_s(pids) - cpu
    total = each * options.users

    receivers = [Receiver(token, options.body_bytes) for token in tokens[options.users :]]
    cpu, began = cpu_s(pids), time.monotonic()
    await log_in(receivers, servers.connectors)
    await _until(lambda: sum(receiver.shown for receiver in receivers) >= total)
    pulled_s, pulled_cpu = time.monotonic() - began, cpu_s(pids) - cpu
    report = Report(
        {
            "scenario": "offline",
            "shape": options.spawn,
            "users": options.users,
            "messages": total,
            "stored_per_second": round(total / stored_s),
            "store_cpu_us_per_message": round(stored_cpu / total * 1e6, 1),
            "pulled_per_second": round(total / pulled_s),
            "pull_cpu_us_per_message": round(pulled_cpu / total * 1e6, 1),
        }
    )
    await _account(senders, receivers, report)
    resending.cancel()
    return report


async def _send_windowed(sender: Sender, count: int) -> None:
    """Send so many, never more than a stream's window at once, and wait for SENT of all."""
    left = count
    while left or sender.open:
        if left and len(sender.open) < 128:
            burst = min(left, 200 - len(sender.open))
            sender.send(burst)
            sender.flush()
            left -= burst
        await asyncio.sleep(0.001)


async def idle(options: Options, servers: Spawned) -> Report:
    """Sessions that only keep alive."""
    tokens = await servers.tokens([f"user{n}" for n in range(options.sessions)])
    pids, holders = servers.pids(), servers.connector_pids()
    before = resident_kib(holders)
    clients = [LoadClient(token) for token in tokens]
    began = time.monotonic()
    await log_in(clients, servers.connectors)
    logins_s = time.monotonic() - began
    after = resident_kib(holders)
    cpu, began = cpu_s(pids), time.monotonic()
    await asyncio.sleep(options.seconds)
    return Report(
        {
            "scenario": "idle",
            "shape": options.spawn,
            "sessions": options.sessions,
            "logins_per_second": round(options.sessions / logins_s),
            "kib_per_session": round((after - before) / options.sessions, 2),
            "kib_per_session_at_end": round((resident_kib(holders) - before) / options.sessions, 2),
            "idle_cpu_percent": round((cpu_s(pids) - cpu) / (time.monotonic() - began) * 100, 2),
            "still_logged_in": sum(not client.goodbye for client in clients),
        }
    )
