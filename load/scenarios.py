"""The scenarios: which phases each has, and which figures come of it.

Owns the story of a load test. Who the clients are and what they write is `load.crowd`'s.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from load.conductor import Conductor, Stretch
from load.histogram import Histogram, summary_ms
from load.measure import resident_kib
from load.spec import Account
from protocol.errors import ConfigError

PAGES = (50, 500)
"""Messages on a page."""


def _traffic(conductor: Conductor, stretch: Stretch) -> None:
    """The figures of a stretch with traffic."""
    received = stretch.counts["received"]
    conductor.report.figures |= {
        "delivered": received,
        "delivered_per_second": round(received / stretch.seconds),
        "server_cpu_us_per_message": stretch.cpu_us_per(received),
        "generator_cpu_us_per_message": round(stretch.counts["generator_cpu_us"] / max(1, received), 2),
    }


async def pairs(conductor: Conductor) -> None:
    """Pairs of a writer and a reader, so many texts of each in flight."""
    await conductor.gather(2 * conductor.options.pairs)
    await conductor.log_in("log_in_pairs")
    await conductor.crew.do("pair_up")
    await conductor.crew.do("keep_in_flight")
    _traffic(conductor, await conductor.measure(conductor.options.seconds))
    await conductor.finish()


async def rate(conductor: Conductor) -> None:
    """Pairs that write at a rate, however the server does."""
    await conductor.gather(2 * conductor.options.pairs)
    await conductor.log_in("log_in_pairs")
    await conductor.crew.do("pair_up")
    await conductor.crew.do("open_loop")
    _traffic(conductor, await conductor.measure(conductor.options.seconds))
    await conductor.finish()


async def flap(conductor: Conductor) -> None:
    """Pairs as in `pairs`, while clients come and go."""
    await conductor.gather(2 * conductor.options.pairs)
    await conductor.log_in("log_in_pairs")
    await conductor.crew.do("pair_up")
    await conductor.crew.do("open_loop")
    await conductor.crew.do("flap")
    stretch = await conductor.measure(conductor.options.seconds)
    _traffic(conductor, stretch)
    conductor.report.figures["returns_per_second"] = round(stretch.counts["logins"] / stretch.seconds, 1)
    await conductor.finish()


async def mixed(conductor: Conductor) -> None:
    """A day of a messenger."""
    options = conductor.options
    await conductor.gather(options.users)
    await _mingle(conductor, options.users)
    await conductor.log_in()
    await conductor.crew.do("live")
    _traffic(conductor, await conductor.measure(options.seconds))
    await conductor.finish()
    await conductor.disband()


async def groups(conductor: Conductor) -> None:
    """Groups in which so many texts are in flight; some of who was away comes back, and catches up."""
    options, figures = conductor.options, conductor.report.figures
    await conductor.gather(options.groups * options.members)
    size = options.members
    await conductor.found(lambda people: [people[at : at + size] for at in range(0, len(people), size)])
    await conductor.log_in()
    await conductor.crew.do("keep_talking")
    stretch = await conductor.measure(options.seconds)
    _traffic(conductor, stretch)
    texts = stretch.counts["sent_acks"]
    if not stretch.counts["received"]:
        figures["server_cpu_us_per_message"] = figures["generator_cpu_us_per_message"] = None
    figures |= {
        "texts": texts,
        "texts_per_second": round(texts / stretch.seconds),
        "server_cpu_us_per_text": stretch.cpu_us_per(texts),
    }
    conductor.phase("draining")
    await conductor.crew.do("quiet")
    conductor.phase("catching up")
    async with conductor.stretch(latencies=False) as catching:
        answers = await conductor.crew.do("catch_up")
    if caught := sum(int(answer["messages"]) for answer in answers):
        figures |= {
            "latecomers": sum(int(answer["latecomers"]) for answer in answers),
            "caught_up_per_second": round(caught / catching.seconds),
            "catch_up_cpu_us_per_message": catching.cpu_us_per(caught),
        }
    await conductor.finish()
    await conductor.disband()


async def _mingle(conductor: Conductor, everybody: int) -> None:
    """Groups, if any are wanted, of whomever chance picks."""
    options = conductor.options
    if not options.groups:
        return
    chance, share = random.Random(options.seed or None), options.groups / everybody

    def some(people: Sequence[Account]) -> list[list[Account]]:
        size = min(options.members, len(people))
        return [chance.sample(list(people), size) for _ in range(max(1, round(len(people) * share)))]

    await conductor.found(some)


async def idle(conductor: Conductor) -> None:
    """Clients that only keep their sessions."""
    holders = conductor.target.connector_pids()
    before = resident_kib(holders)
    await conductor.gather(conductor.options.sessions)
    await conductor.log_in()
    conductor.phase("measuring")
    async with conductor.stretch() as stretch:
        await asyncio.sleep(conductor.options.seconds)
    if conductor.target.pids():
        grown = resident_kib(holders) - before
        conductor.report.figures |= {
            "kib_per_session_at_end": round(grown / conductor.options.sessions, 2),
            "idle_cpu_percent": round(stretch.cpu_s / stretch.seconds * 100, 2),
        }
    await conductor.finish()


async def storm(conductor: Conductor) -> None:
    """All connections break at once, with texts under way; of groups, each was written to."""
    await conductor.gather(conductor.options.sessions)
    await _mingle(conductor, conductor.options.sessions)
    await conductor.log_in()
    await conductor.crew.do("say_in_groups")
    await conductor.crew.do("pair_up")
    await conductor.crew.do("open_loop")
    conductor.phase("before the storm")
    await asyncio.sleep(conductor.options.warm_up_s)
    conductor.phase("storm")
    back = Histogram()
    async with conductor.stretch() as stretch:
        began = time.monotonic()
        answers = await conductor.crew.do("drop_all")
        took = time.monotonic() - began
        conductor.phase("after the storm")
        await asyncio.sleep(conductor.options.seconds)
    for answer in answers:
        back.add(Histogram.of_json(answer["back"]))
    times = summary_ms(back)
    _traffic(conductor, stretch)
    conductor.report.figures |= {
        "all_back_s": round(took, 2),
        "back_p50_ms": times["p50"],
        "back_p99_ms": times["p99"],
        "returns_per_second": round(len(back) / took),
        "server_cpu_us_per_return": stretch.cpu_us_per(len(back)),
    }
    await conductor.finish()
    await conductor.disband()


async def offline(conductor: Conductor) -> None:
    """Texts to users who are not there; then they come and pull."""
    users = conductor.options.users
    each = max(1, conductor.options.messages // users)
    await conductor.gather(2 * users)
    if not conductor.target.keeps_for_strangers:
        await conductor.crew.do("log_in", who="readers")
        await conductor.crew.do("leave", who="readers")
    await conductor.log_in(who="writers")
    await conductor.crew.do("pair_up")
    conductor.phase("storing")
    async with conductor.stretch() as storing:
        await conductor.crew.do("write_all", each=each)
    conductor.phase("pulling")
    async with conductor.stretch() as pulling:
        await conductor.crew.do("log_in", who="readers")
        await conductor.crew.do("all_shown")
    total = each * users
    conductor.report.figures |= {
        "messages": total,
        "stored_per_second": round(total / storing.seconds),
        "store_cpu_us_per_message": storing.cpu_us_per(total),
        "pulled_per_second": round(total / pulling.seconds),
        "pull_cpu_us_per_message": pulling.cpu_us_per(total),
    }
    await conductor.finish()


async def history(conductor: Conductor) -> None:
    """Conversations are filled; new devices read all back, and again after changes, and follow what goes on.

    With servers that replay, they are brought all once, and that is it.
    """
    options, figures = conductor.options, conductor.report.figures
    if not conductor.target.api and not conductor.target.replays:
        raise ConfigError("history is read over HTTP: name servers that have a user API")
    await conductor.gather(2 * options.pairs)
    await conductor.log_in("log_in_pairs")
    await conductor.crew.do("converse")
    empty = conductor.target.disk_bytes()
    conductor.phase("filling")
    each = max(1, options.messages // (2 * options.pairs))
    async with conductor.stretch() as filling:
        await conductor.crew.do("write_all", each=each)
    total = each * 2 * options.pairs
    figures |= {
        "messages": total,
        "filled_per_second": round(total / filling.seconds),
        "fill_cpu_us_per_message": filling.cpu_us_per(total),
    }
    await conductor.meet(options.devices)
    if conductor.target.replays:
        await _replay(conductor)
        await conductor.finish()
        return
    verified = 0
    for limit in PAGES:
        conductor.phase(f"pages of {limit}")
        verified += await _read_back(conductor, limit)
    full = conductor.target.disk_bytes()
    figures["disk_bytes_per_message"] = None if full is None or empty is None else round((full - empty) / total)
    await conductor.crew.do("open_loop")
    await conductor.crew.do("follow")
    conductor.phase("following")
    await asyncio.sleep(options.seconds)
    answers = await conductor.crew.do("caught_up")
    figures |= {f"followed_{how}": sum(answer[how] for answer in answers) for how in ("paged", "live")}
    verified += sum(answer["verified"] for answer in answers)
    conductor.phase("changing")
    figures["changed"] = sum(answer["changed"] for answer in await conductor.crew.do("change"))
    verified += await _read_back(conductor, max(PAGES), figures=False)
    figures["verified"] = verified
    await conductor.part()
    await conductor.finish()


async def _replay(conductor: Conductor) -> None:
    """Every new device is brought everything."""
    conductor.phase("replaying")
    async with conductor.stretch() as stretch:
        answers = await conductor.crew.do("replay")
    verified = sum(int(answer["verified"]) for answer in answers)
    conductor.report.figures |= {
        "replayed_per_second": round(verified / stretch.seconds),
        "replay_cpu_us_per_message": stretch.cpu_us_per(verified),
        "verified": verified,
    }


async def _read_back(conductor: Conductor, limit: int, *, figures: bool = True) -> int:
    """Every new device reads everything; how many messages that were."""
    took = Histogram()
    async with conductor.stretch() as stretch:
        answers = await conductor.crew.do("read_back", limit=limit)
    for answer in answers:
        took.add(Histogram.of_json(answer["took"]))
    verified = sum(int(answer["verified"]) for answer in answers)
    if figures:
        times = summary_ms(took)
        conductor.report.figures |= {
            f"page_of_{limit}_p50_ms": times["p50"],
            f"page_of_{limit}_p99_ms": times["p99"],
            f"fetched_per_second_by_{limit}": round(verified / stretch.seconds),
            f"fetch_cpu_us_per_message_by_{limit}": stretch.cpu_us_per(verified),
        }
    return verified


Scenario = Callable[[Conductor], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {
    "pairs": pairs,
    "rate": rate,
    "idle": idle,
    "storm": storm,
    "offline": offline,
    "flap": flap,
    "mixed": mixed,
    "soak": mixed,
    "history": history,
    "groups": groups,
}
