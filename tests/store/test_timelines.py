"""What every engine must do: `store.timelines`, sentence by sentence."""

import asyncio
import dataclasses
import random
from pathlib import Path

import pytest

from protocol.errors import MisuseError
from store import HistorySettings, Store
from store.interface import File, NewRow
from store.ledger import read_ledger
from store.timelines import (
    MAX_PAGE,
    MAX_UNREAD,
    R_B_MS,
    Archived,
    Erasure,
    HistoryQuery,
    KeptMessage,
    Mark,
    Marks,
    Name,
    Report,
    Result,
    conversation_of,
)
from tests.store.conftest import OpenEngine
from tests.store.helpers import bodies, make_user
from tests.store.timeline_helpers import (
    AB,
    AUTHOR,
    HOUR,
    KEPT,
    NOW_MS,
    SECOND,
    bodies_of,
    body_of,
    edit,
    entry,
    erasure,
    keep,
    name,
    read,
    results,
    stamp,
)

R_B = R_B_MS << 20


async def test_what_is_kept_is_paged_from_the_newest_back(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        numbers = list(range(1, 31))
        random.Random(1).shuffle(numbers)
        await keep(store, *[entry(number, author=("alice", "bob")[number % 2]) for number in numbers])
        expected = [b"%d" % number for number in range(30, 0, -1)]
        for limit in (1, 7, 29, 30, 31, 500):
            for reader in ("alice", "bob"):
                assert await bodies_of(store, reader, limit=limit) == expected
        (newest,) = (await store.timelines.page(HistoryQuery(AB, "bob", limit=1))).messages
        assert newest == KeptMessage(name(30), stamp(30), 1, b"30")


async def test_nobody_else_reads_it(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await keep(store, entry(1))
        page = await store.timelines.page(HistoryQuery(AB, "carol"))
        assert (page.messages, page.next) == ((), b"")
        assert await body_of(store, 1, "carol") is None
        assert await store.timelines.listed("carol", AB) is None
        assert await store.timelines.unread("carol", [AB]) == {AB: 0}
        assert await store.timelines.raise_marks([Mark("carol", AB, stamp(), True)]) == [False]
        await store.timelines.hide("carol", AB, stamp(9))


async def test_one_message_by_name(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await keep(store, entry(1, about=b"about it"))
        found = await store.timelines.message(AB, name(1), "bob")
        assert found == KeptMessage(name(1), stamp(1), 1, b"1", b"about it")
        assert await store.timelines.message(AB, name(2), "bob") is None
        assert await store.timelines.message(conversation_of("alice", "carol"), name(1), "alice") is None


async def test_the_first_body_stays(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        assert await results(store, entry(1), entry(1)) == [Result.KEPT, Result.KEPT]
        assert await results(store, entry(1)) == [Result.KEPT]
        (answer,) = await store.timelines.archive([entry(1, b"another", stamp=stamp(1) + SECOND)])
        assert answer.result in (Result.NOT_ALLOWED, Result.KEPT)
        assert await bodies_of(store) == [b"1"]


async def test_the_lowest_stamp_counts(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await keep(store, entry(1), entry(2))
        await keep(store, entry(1, stamp=stamp(50)), entry(2, stamp=stamp(0)))
        found = await read(store)
        assert [(one.name.id, one.stamp) for one in found] == [(1, stamp(1)), (2, stamp(0))]
        assert await bodies_of(store, limit=1) == [b"1", b"2"]


async def test_many_of_one_stamp(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await keep(store, *[entry(number, stamp=stamp()) for number in range(1, 41)])
        for limit in (1, 7, 40):
            found = await bodies_of(store, limit=limit)
            assert sorted(found) == sorted(b"%d" % number for number in range(1, 41))


async def test_all_that_a_message_may_be(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        odd = [
            entry(1, b""),
            entry(2, bytes(range(256)) * 1000, kind=2**31 - 1),
            entry(3, name=Name("alice", "phone", 0, 3)),
            entry(4, name=Name("alice", "phone", 2**63, 4)),
            entry(5, name=Name("alice", "phone", 2**63 - 1, 2**53)),
            entry(6, name=Name("alice", "phone", 2**64 - 1, 0)),
            entry(7, b"it's \0 ' \" ; --", kind=1000),
        ]
        await keep(store, *odd)
        found = {one.name: one for one in await read(store, "alice")}
        for one in odd:
            assert found[one.name] == KeptMessage(one.name, one.stamp, one.kind, one.body)


async def test_bad_ones_stop_no_others(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        bad = [
            entry(1, conversation="alice"),
            entry(1, conversation="bob+alice"),
            entry(1, conversation=conversation_of("bob", "carol")),
            entry(1, name=Name("alice", "phone", 2**64, 1)),
            entry(1, name=Name("alice", "phone", -1, 1)),
            entry(1, name=Name("alice", "phone", 1, 2**53 + 1)),
            entry(1, kind=-1),
            entry(1, stamp=2**64 - 1),
            entry(1, stamp=2**64),
            entry(1, name=Name("alice", "\ud800", 1, 1)),
            edit(1, 0, b"x"),
            edit(1, 2**20 + 1, b"x"),
            edit(1, 2**63, b"x"),
            edit(1, 1, b"x", name=name(9, "bob")),
            edit(1, 1, b"x", stamp=2**64 - 1),
            edit(1, 1, b"x", name=Name("alice", "\ud800", 1, 1)),
            erasure(1, conversation=conversation_of("bob", "carol")),
            erasure(1, stamp=2**64 - 1),
            erasure(1, by=""),
        ]
        good = [entry(number) for number in range(10, 10 + len(bad))]
        mixed = [one for pair in zip(good, bad, strict=True) for one in pair]
        answers = await results(store, *mixed)
        assert answers[::2] == [Result.KEPT] * len(good)
        assert {*answers[1::2]} == {Result.FAILED, Result.NOT_ALLOWED}
        assert len(await read(store)) == len(good)
        assert await store.timelines.archive([]) == []


async def test_notes_to_oneself(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        notes = conversation_of("alice", "alice")
        await keep(store, entry(1, conversation=notes), entry(2, conversation=notes, audience=AUTHOR))
        assert await bodies_of(store, "alice", conversation=notes) == [b"2", b"1"]
        assert [one.other for one in await store.timelines.conversations("alice", "", 10)] == ["alice"]
        assert await store.timelines.raise_marks([Mark("alice", notes, stamp(1), True)]) == [True]
        listed = await store.timelines.listed("alice", notes)
        assert listed is not None
        assert listed.mine == listed.others == Marks(stamp(1), stamp(1))
        assert await store.timelines.unread("alice", [notes]) == {notes: 0}
        await keep(store, erasure(1, conversation=notes))
        assert await bodies_of(store, "alice", conversation=notes) == [b"2", b""]


async def test_conversations_do_not_mix(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        other = conversation_of("alice", "carol")
        await keep(store, entry(1), entry(1, b"to carol", conversation=other))
        assert await bodies_of(store, "alice") == [b"1"]
        assert await bodies_of(store, "alice", conversation=other) == [b"to carol"]
        await keep(store, erasure(1, conversation=other))
        assert await bodies_of(store, "bob") == [b"1"]


# What a silent block swallows.


async def test_what_was_swallowed_stands_in_the_authors_view_alone(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await keep(store, entry(1, audience=AUTHOR))
        assert await bodies_of(store, "alice") == [b"1"]
        assert await bodies_of(store, "bob") == []
        assert await body_of(store, 1) is None
        assert [one.other for one in await store.timelines.conversations("alice", "", 9)] == ["bob"]
        assert await store.timelines.conversations("bob", "", 9) == []
        assert await store.timelines.listed("bob", AB) is None
        assert await store.timelines.unread("bob", [AB]) == {AB: 0}
        await keep(store, entry(2))
        assert await bodies_of(store, "alice", limit=1) == [b"2", b"1"]
        assert await bodies_of(store, "bob", limit=1) == [b"2"]
        (listed,) = await store.timelines.conversations("bob", "", 9)
        assert listed.newest is not None
        assert listed.newest.body == b"2"
        await keep(store, entry(3, audience=AUTHOR))
        (listed,) = await store.timelines.conversations("bob", "", 9)
        assert listed.newest is not None
        assert listed.newest.body == b"2"


async def test_an_audience_widens_only_soon(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await keep(store, entry(1, audience=AUTHOR), entry(2, audience=AUTHOR), entry(3))
        await keep(store, entry(1, stamp=stamp(1) + R_B), entry(2, stamp=stamp(2) + R_B + (1 << 20)))
        await keep(store, entry(3, audience=AUTHOR, stamp=stamp(3) + SECOND))
        # Where it stands for the other side may be the later attempt's place.
        assert sorted(await bodies_of(store, "bob")) == [b"1", b"3"]
        assert await bodies_of(store, "alice") == [b"3", b"2", b"1"]
        assert [one.other for one in await store.timelines.conversations("bob", "", 9)] == ["alice"]


async def test_a_swallowed_edit_is_its_authors_alone(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await keep(store, entry(1), edit(1, 1, b"for both"), edit(1, 2, b"swallowed", audience=AUTHOR))
        assert await body_of(store, 1, "alice") == b"swallowed"
        assert await body_of(store, 1, "bob") == b"for both"
        # A repeat after an unblock is shown to nobody.
        late = edit(1, 2, b"swallowed", stamp=stamp(1) + SECOND + R_B + (1 << 20))
        await keep(store, late)
        assert await body_of(store, 1, "bob") == b"for both"
        await keep(store, edit(1, 3, b"for both again", stamp=late.stamp))
        assert await body_of(store, 1, "bob") == b"for both again"


async def test_a_swallowed_edit_widens_soon(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await keep(store, entry(1), edit(1, 1, b"edited", audience=AUTHOR), edit(1, 1, b"edited"))
        assert await body_of(store, 1, "bob") == b"edited"


# Edits.


async def test_the_highest_revision_counts(open_engine: OpenEngine) -> None:
    edits = [
        edit(1, 1, b"first"),
        edit(1, 2, b"of the laptop", name=name(7, device="laptop")),
        edit(1, 2, b"of the phone"),
        edit(1, 2, b"of the phone, later", name=name(2**53)),
    ]
    async with open_engine() as store:
        for order in range(8):
            conversation = conversation_of("alice", f"b{order}")
            batch = [entry(1, conversation=conversation)]
            batch += [one._replace(conversation=conversation) for one in edits]
            random.Random(order).shuffle(batch)
            for start in range(0, len(batch), 1 + order % 3):
                await keep(store, *batch[start : start + 1 + order % 3])
            (found,) = await read(store, "alice", conversation)
            assert found == KeptMessage(
                name(1), stamp(1), 1, b"of the phone, later", b"", 2, edits[3].stamp, edits[3].name
            )


async def test_an_edit_of_the_same_rank_rewrites_nothing(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await keep(store, entry(1), edit(1, 1, b"edited"))
        await store.timelines.archive([edit(1, 1, b"otherwise", stamp=stamp(1) + 2 * SECOND)])
        assert await body_of(store, 1) == b"edited"


async def test_what_may_not_be_edited(open_engine: OpenEngine) -> None:
    history = HistorySettings(edit_hours=1.0)
    async with open_engine(history=history) as store:
        await keep(store, entry(1), entry(2, kind=2), entry(3), erasure(3), erasure(4))
        refused = [
            edit(1, 1, b"too late", stamp=stamp(1) + HOUR + (1 << 20)),
            edit(2, 1, b"no text"),
            edit(3, 1, b"erased"),
            edit(4, 1, b"erased before it came"),
        ]
        assert await results(store, *refused) == [Result.NOT_ALLOWED] * 4
        await keep(store, edit(1, 1, b"just in time", stamp=stamp(1) + HOUR))
        assert await bodies_of(store) == [b"", b"2", b"just in time"]


async def test_an_edit_that_came_before_its_target(open_engine: OpenEngine) -> None:
    history = HistorySettings(edit_hours=1.0)
    async with open_engine(history=history) as store:
        early = edit(1, 1, b"edited")
        (answer,) = await store.timelines.archive([early])
        assert answer == Archived(Result.KEPT, visible=True)
        await keep(store, edit(2, 1, b"of no text"), edit(3, 1, b"too late", stamp=stamp(3) + HOUR + (1 << 20)))
        assert await read(store) == []
        await keep(store, entry(1), entry(2, kind=1000), entry(3))
        assert await bodies_of(store) == [b"3", b"2", b"edited"]
    # An edit that was taken in time stays, however short the time is made.
    async with open_engine(history=dataclasses.replace(history, edit_hours=0.0)) as store:
        await keep(store, edit(3, 1, b"too late", stamp=stamp(3) + 1000 * HOUR))


async def test_whether_the_target_is_visible(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await keep(store, entry(1), entry(2, audience=AUTHOR))
        answers = await store.timelines.archive([edit(1, 1, b"x"), edit(2, 1, b"x"), erasure(1), erasure(2)])
        assert [answer.visible for answer in answers] == [True, False, True, False]
        answers = await store.timelines.archive([erasure(1), erasure(2), erasure(3)])
        assert answers == [KEPT, Archived(Result.KEPT, visible=False), KEPT]


# Erasing.


async def test_erased_stays_erased_in_any_order(open_engine: OpenEngine) -> None:
    batch = [
        entry(1, about=b"about"),
        edit(1, 1, b"edited"),
        erasure(1),
        entry(1, stamp=stamp(0), about=b"about"),
        erasure(1),
    ]
    async with open_engine() as store:
        for order in range(10):
            conversation = conversation_of("alice", f"b{order}")
            mixed = [one._replace(conversation=conversation) for one in batch]
            random.Random(order).shuffle(mixed)
            for one in mixed:
                await store.timelines.archive([one])
            for reader in ("alice", f"b{order}"):
                (found,) = await read(store, reader, conversation)
                assert found == KeptMessage(name(1), stamp(0), 1, b"", erased_by="alice")
                assert await store.timelines.message(conversation, name(1), reader) == found


async def test_a_marker_alone_is_not_shown(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await keep(store, erasure(1))
        assert await read(store, "alice") == []
        assert await store.timelines.message(AB, name(1), "alice") is None
        assert await store.timelines.conversations("alice", "", 9) == []


async def test_it_is_told_who_took_it_down(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await keep(store, entry(1), erasure(1, by="operator"), erasure(1))
        (found,) = await read(store)
        assert (found.body, found.erased_by) == (b"", "operator")


# Lists, marks, unread.


async def test_lists(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        others = [f"u{number:02}" for number in range(25)]
        await keep(store, *[entry(1, conversation=conversation_of("alice", other)) for other in others])
        found: list[str] = []
        while more := await store.timelines.conversations("alice", found[-1] if found else "", 10):
            assert all(one.conversation == conversation_of("alice", one.other) for one in more)
            assert all(one.newest is not None and one.newest.body == b"1" for one in more)
            found += [one.other for one in more]
        assert found == others
        assert [one.other for one in await store.timelines.conversations("u07", "", 10)] == ["alice"]
        assert await store.timelines.conversations("nobody", "", 10) == []


async def test_hiding(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        for number, other in enumerate(("bob", "carol", "dave"), 1):
            await keep(store, entry(number, conversation=conversation_of("alice", other)))
        await store.timelines.hide("alice", AB, stamp(5))
        await store.timelines.hide("alice", AB, stamp(1))
        assert [one.other for one in await store.timelines.conversations("alice", "", 2)] == ["carol", "dave"]
        assert [one.other for one in await store.timelines.conversations("bob", "", 9)] == ["alice"]
        listed = await store.timelines.listed("alice", AB)
        assert listed is not None
        assert listed.newest is not None
        await keep(store, entry(6, audience=AUTHOR, author="bob"))
        assert [one.other for one in await store.timelines.conversations("alice", "", 9)] == ["carol", "dave"]
        await keep(store, entry(6))
        assert [one.other for one in await store.timelines.conversations("alice", "", 9)] == ["bob", "carol", "dave"]


async def test_marks_only_rise(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await keep(store, entry(1))

        async def rise(number: int, public: bool, user: str = "bob") -> bool:
            (rose,) = await store.timelines.raise_marks([Mark(user, AB, stamp(number), public)])
            return rose

        async def marks(user: str = "bob") -> tuple[Marks, Marks]:
            listed = await store.timelines.listed(user, AB)
            assert listed is not None
            return listed.mine, listed.others

        assert await marks() == (Marks(), Marks())
        assert await rise(5, public=False)
        assert not await rise(5, public=False)
        assert not await rise(4, public=False)
        assert await marks() == (Marks(stamp(5), 0), Marks())
        assert await rise(3, public=True)
        assert await marks() == (Marks(stamp(5), stamp(3)), Marks())
        assert await rise(9, public=True)
        assert not await rise(8, public=False)
        assert await marks() == (Marks(stamp(9), stamp(9)), Marks())
        assert await marks("alice") == (Marks(), Marks(stamp(9), stamp(9)))
        assert await store.timelines.raise_marks([]) == []
        both = [Mark("alice", AB, stamp(2), True), Mark("alice", AB, stamp(4), False), Mark("bob", AB, 2**64 - 1, True)]
        assert await store.timelines.raise_marks(both) == [True, True, True]
        assert (await marks("alice"))[0] == Marks(stamp(4), stamp(2))


async def test_unread(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await keep(store, *[entry(number) for number in range(1, 6)])
        await keep(store, entry(6, kind=2), entry(7, kind=1000), entry(8, kind=7), entry(9), erasure(9))
        await keep(store, entry(10, author="bob"), entry(11, audience=AUTHOR))
        other = conversation_of("bob", "carol")
        assert await store.timelines.unread("bob", [AB, other]) == {AB: 7, other: 0}
        assert await store.timelines.unread("alice", [AB]) == {AB: 1}
        await store.timelines.raise_marks([Mark("bob", AB, stamp(3), False)])
        assert await store.timelines.unread("bob", [AB]) == {AB: 4}
        await keep(store, *[entry(number) for number in range(20, 20 + MAX_UNREAD + 5)])
        assert await store.timelines.unread("bob", [AB]) == {AB: MAX_UNREAD}
        assert await store.timelines.unread("bob", []) == {}


async def test_ones_own(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await keep(store, *[entry(number, author=("alice", "bob")[number % 4 == 0]) for number in range(1, 41)])
        await keep(store, entry(41, author="bob", audience=AUTHOR))
        expected = [b"41", *[b"%d" % number for number in range(40, 0, -4)]]
        for limit in (1, 3, 50):
            assert await bodies_of(store, "bob", own=True, limit=limit) == expected


async def test_positions(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await keep(store, *[entry(number) for number in range(1, 10)])
        for bad in (b"x", b"x" * 65):
            with pytest.raises(MisuseError, match="position"):
                await store.timelines.page(HistoryQuery(AB, "bob", before=bad))
        # Of another engine: it goes on at that stamp.
        strange = b"z" + (stamp(5)).to_bytes(8, "big") + b"whatever"
        page = await store.timelines.page(HistoryQuery(AB, "bob", before=strange))
        assert [one.body for one in page.messages] == [b"5", b"4", b"3", b"2", b"1"]
        page = await store.timelines.page(HistoryQuery(AB, "bob", before=b"z" + b"\xff" * 8, limit=MAX_PAGE + 1))
        assert len(page.messages) == 9


async def test_a_page_is_bounded_in_bytes(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        body = bytes(700_000)
        for number in range(1, 6):
            await keep(store, entry(number, body))
        page = await store.timelines.page(HistoryQuery(AB, "bob"))
        assert 1 <= len(page.messages) < 5
        assert page.next
        assert len(await read(store)) == 5


# Reports.


async def test_reports(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await keep(store, entry(1, bytes(range(256))), edit(1, 1, b"edited"))
        message = await store.timelines.message(AB, name(1), "bob")
        assert message is not None
        made = [Report(f"r{number}", "bob", 1234, AB, message, "not nice") for number in range(3)]
        made[1] = dataclasses.replace(made[1], message=KeptMessage(name(1), stamp(1), 1, bytes(range(256)), b"about"))
        for report in made:
            await store.timelines.report(report)
            await store.timelines.report(report)
        await keep(store, erasure(1))
        assert list(await store.timelines.reports("", 2)) == made[:2]
        assert list(await store.timelines.reports("r1", 2)) == made[2:]
        for _ in range(2):
            await store.timelines.drop_report("r0")
        assert list(await store.timelines.reports("", 9)) == made[1:]


# How long.


async def test_a_new_store_takes_it_from_the_settings(open_engine: OpenEngine) -> None:
    async with open_engine(history=HistorySettings(keep_days=30)) as store:
        terms = await store.timelines.terms()
        assert terms.keep_days in (30, 365)  # 365: tests share a keyspace
        assert terms.since_ms > 0
    async with open_engine(history=HistorySettings(keep_days=10)) as store:
        assert await store.timelines.terms() == terms


async def test_lowered_it_is_a_floor(open_engine: OpenEngine) -> None:
    day = 24 * HOUR
    async with open_engine() as store:
        await keep(store, entry(1, stamp=stamp() - 50 * day), entry(2, stamp=stamp() - 5 * day), entry(3))
        assert await bodies_of(store) == [b"3", b"2", b"1"]
        lowered = await store.timelines.set_keep_days(10, 1234)
        assert (lowered.keep_days, lowered.since_ms) == (10, 1234)
        assert await store.timelines.terms() == lowered
        assert await bodies_of(store) == [b"3", b"2"]
        assert await body_of(store, 1) is None
        await store.timelines.set_keep_days(365, 1234)
        assert await bodies_of(store) == [b"3", b"2"]
        await store.timelines.set_keep_days(0, 0)
        assert await bodies_of(store) == []
        (listed,) = await store.timelines.conversations("bob", "", 9)
        assert listed.newest is None
        await store.timelines.set_keep_days(365, 1234)
        assert await bodies_of(store) == []


# Quotas.


async def test_quotas(open_engine: OpenEngine) -> None:
    history = HistorySettings(max_rows_per_day_of_author=5)
    async with open_engine(history=history) as store:
        user = conversation_of("quota1", "bob")

        def mine(number: int, **changes: object) -> object:
            return entry(number, conversation=user, name=name(number, "quota1"), **changes)

        batch = [mine(number) for number in range(1, 5)]
        assert await results(store, *batch, *batch) == [Result.KEPT] * 8  # type: ignore[arg-type]
        more = [mine(number, audience=AUTHOR) for number in range(5, 8)]
        assert (await results(store, *more))[0] is Result.KEPT  # type: ignore[arg-type]
        assert await results(store, mine(9)) == [Result.FULL]  # type: ignore[arg-type]
        assert await results(store, *batch) == [Result.KEPT] * 4  # type: ignore[arg-type]
        others = entry(10, conversation=user, name=name(10, "bob"))
        assert await results(store, others, mine(11)) == [Result.KEPT, Result.FULL]  # type: ignore[arg-type]


async def test_what_erases_nothing_counts(open_engine: OpenEngine, tmp_path: Path) -> None:
    """It is in the ledger all the same; erasing what is there is for everybody, however full they are (P1)."""
    ledger = tmp_path / "erased.log"
    history = HistorySettings(max_rows_per_day_of_author=4, ledger=str(ledger))
    conversation = conversation_of("quota2", "bob")
    async with open_engine(history=history) as store:

        def end(number: int, by: str = "quota2") -> Erasure:
            return erasure(number, conversation=conversation, target=name(number, "quota2"), by=by)

        entries = [entry(number, conversation=conversation, name=name(number, "quota2")) for number in (1, 2)]
        await keep(store, *entries)
        await keep(store, end(1), end(8))
        assert await results(store, end(1), end(1), end(9)) == [Result.KEPT, Result.FULL, Result.FULL]
        assert await results(store, end(2), end(9, "operator")) == [Result.KEPT, Result.KEPT]
    assert [one.target.id for one in read_ledger(ledger)] == [1, 8, 1, 2, 9]


@pytest.mark.parametrize("limit", ["max_bytes_per_day_of_author", "max_bytes_of_author"])
async def test_quotas_of_bytes(open_engine: OpenEngine, limit: str) -> None:
    history = dataclasses.replace(HistorySettings(), **{limit: 1000})  # type: ignore[arg-type]
    author = f"quota{limit[10]}"
    conversation = conversation_of(author, "bob")
    async with open_engine(history=history) as store:
        one = entry(1, bytes(900), conversation=conversation, name=name(1, author))
        two = entry(2, bytes(200), conversation=conversation, name=name(2, author))
        assert await results(store, one, one, two) == [Result.KEPT, Result.KEPT, Result.FULL]
        change = edit(1, 1, bytes(200), conversation=conversation, target=name(1, author), name=name(3, author))
        assert await results(store, change) == [Result.FULL]
        await keep(store, erasure(1, conversation=conversation, target=name(1, author), by=author))
        assert await results(store, two) == [Result.KEPT]


async def test_many_at_once(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        batches = [[entry(number * 40 + one) for one in range(1, 41)] for number in range(10)]
        await asyncio.gather(*[keep(store, *batch) for batch in [*batches, *batches]])
        assert len(await read(store, limit=MAX_PAGE)) == 400


# Files, and accounts that end.


def file(number: int, **changes: object) -> File:
    values: dict[str, object] = {
        "file": f"file{number}",
        "owner": "alice",
        "name": "n",
        "media_type": "m",
        "size": 3,
        "created_ms": NOW_MS,
        "expires_ms": NOW_MS + 3_600_000,
        "readers": frozenset({"bob"}),
        "complete": True,
        **changes,
    }
    return File(**values)  # type: ignore[arg-type]


async def upload(store: Store, new: File) -> None:
    await store.create_file(new)
    await store.append_file(new, 0, b"abc")
    await store.finish_file(new.file, "")


async def test_a_file_lives_as_long_as_its_message(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        may = store.timelines.may_read_file
        await upload(store, file(1))
        assert not await may("file1", "bob")
        await keep(store, entry(1, kind=2, file="file1"), entry(2, kind=2, file="file1", audience=AUTHOR))
        assert await may("file1", "bob")
        assert await may("file1", "alice")
        assert not await may("file1", "carol")
        assert not await may("nothing", "bob")
        found = await store.file("file1")
        assert found is not None
        assert found.expires_ms == (stamp(2) >> 20) + 365 * 86_400_000
        assert await store.read_file("file1", 0) == b"abc"
        await keep(store, erasure(1))
        assert not await may("file1", "bob")
        assert await store.file("file1") is not None
        await keep(store, erasure(2), erasure(2))
        assert await store.file("file1") is None
        assert await store.read_file("file1", 0) == b""


async def test_a_file_that_a_block_swallowed(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await upload(store, file(1))
        await keep(store, entry(1, kind=2, file="file1", audience=AUTHOR))
        assert not await store.timelines.may_read_file("file1", "bob")


async def test_naming_somebody_elses_file_gives_no_right(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await upload(store, file(1, owner="carol"))
        await keep(store, entry(1, kind=2, file="file1"), entry(2, kind=2, file="none"))
        assert not await store.timelines.may_read_file("file1", "alice")
        assert not await store.timelines.may_read_file("file1", "bob")
        found = await store.file("file1")
        assert found is not None
        assert found.expires_ms == file(1).expires_ms
        await keep(store, erasure(1), erasure(2))
        assert await store.file("file1") is not None


async def test_a_file_of_what_was_erased_before_it_came(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await upload(store, file(1))
        await keep(store, erasure(1))
        await keep(store, entry(1, kind=2, file="file1"))
        assert not await store.timelines.may_read_file("file1", "bob")
        assert await store.file("file1") is None


@pytest.mark.parametrize("keep_words", [True, False])
async def test_an_account_ends(open_engine: OpenEngine, tmp_path: Path, keep_words: bool) -> None:
    async with open_engine() as store:
        for user in ("alice", "bob"):
            await make_user(store, user, "d")
        await upload(store, file(1))
        await keep(store, *[entry(number) for number in range(1, 20)], entry(20, kind=2, file="file1"))
        await keep(store, entry(21, author="bob"), entry(22, audience=AUTHOR), edit(1, 1, b"edited"))
        await store.append([NewRow("bob", "d", 1, b"waits", "alice"), NewRow("bob", "d", 1, b"of carol", "carol")])
        await store.timelines.raise_marks([Mark("alice", AB, stamp(5), True), Mark("bob", AB, stamp(6), True)])
        message = KeptMessage(name(21, "bob"), stamp(21), 1, b"21")
        for number, reporter in enumerate(("alice", "bob")):
            await store.timelines.report(Report(f"r{number}", reporter, 1, AB, message, ""))
        for _ in range(2):
            await store.timelines.forget_author("alice", keep_words)
        assert await store.timelines.conversations("alice", "", 9) == []
        assert [one.report for one in await store.timelines.reports("", 9)] == ["r1"]
        (listed,) = await store.timelines.conversations("bob", "", 9)
        assert (listed.mine, listed.others) == (Marks(stamp(6), stamp(6)), Marks())
        found = await bodies_of(store, "bob")
        waiting = await bodies(store, "bob", "d")
        if keep_words:
            assert found == [b"21", b"20", *[b"%d" % number for number in range(19, 1, -1)], b"edited"]
            assert waiting == [b"waits", b"of carol"]
            assert await store.file("file1") is not None
        else:
            assert found == [b"21", *[b""] * 20]
            assert {one.erased_by for one in await read(store)} == {"", "alice"}
            assert waiting == [b"of carol"]
            assert await store.file("file1") is None
            await keep(store, entry(1))
            assert await body_of(store, 1) == b""
            # A restore of an older backup erases them again.
            assert {one.target for one in read_ledger(tmp_path / "erased.log")} == {
                name(number) for number in (*range(1, 21), 22)
            }
