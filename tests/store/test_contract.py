"""What every engine must do: `store.interface`, sentence by sentence."""

import asyncio
import time

import pytest

from protocol.errors import AlreadyExistsError, NotFoundError, StoreError
from store.interface import COMMON, Account, PageQuery, Removal
from store.sessions import NoSession, SessionStart, Standing
from tests.store.conftest import OpenEngine
from tests.store.helpers import bodies, make_user, read_all, remove, row


async def test_accounts(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        before = int(time.time() * 1000)
        made = await store.create_account("alice", "hash")
        assert made == Account("alice", "hash", made.created_ms)
        assert before <= made.created_ms <= time.time() * 1000
        assert await store.account("alice") == made
        assert await store.account("bob") is None


async def test_a_taken_name_is_refused_and_the_same_call_repeated_is_not(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        made = await store.create_account("alice", "hash")
        assert await store.create_account("alice", "hash") == made
        with pytest.raises(AlreadyExistsError, match="alice"):
            await store.create_account("alice", "another hash")
        assert await store.account("alice") == made


async def test_one_of_many_at_once_gets_the_name(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        tries = [store.create_account("alice", f"hash {number}") for number in range(20)]
        others = [store.append([row("bob", "b1", bytes([number]))]) for number in range(20)]
        results = await asyncio.gather(*tries, *others, return_exceptions=True)
        winners = [result for result in results[:20] if isinstance(result, Account)]
        assert len(winners) == 1
        assert sum(isinstance(result, AlreadyExistsError) for result in results) == 19
        assert results[20:] == [None] * 20
        assert await store.account("alice") == winners[0]
        assert sorted(await bodies(store, "bob", "b1")) == [bytes([number]) for number in range(20)]


async def test_a_disabled_account_begins_no_session(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "alice", "d")
        await make_user(store, "bob", "d")
        assert list(await store.begin_sessions([SessionStart("alice", "d", 1)])) == [0]
        for _ in range(2):
            await store.set_disabled("alice", True)
        account = await store.account("alice")
        assert account is not None
        assert account.disabled
        assert await store.create_account("alice", account.password_hash) == account
        starts = [SessionStart("alice", "d", 2), SessionStart("bob", "d", 3), SessionStart("alice", "d", 1)]
        assert list(await store.begin_sessions(starts)) == [NoSession.DISABLED, 0, NoSession.DISABLED]
        # What is written to it is kept all the same.
        assert await store.devices(["alice"]) == {"alice": ("d",)}
        for _ in range(2):
            await store.set_disabled("alice", False)
        account = await store.account("alice")
        assert account is not None
        assert not account.disabled
        assert list(await store.begin_sessions([SessionStart("alice", "d", 2)])) == [1]
        for disabled in (True, False):
            with pytest.raises(NotFoundError, match="nobody"):
                await store.set_disabled("nobody", disabled)
        assert await store.account("nobody") is None


async def test_counts(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "alice", "d", "e")
        await store.remove_device("alice", "e")
        await store.append([row("alice", "d", b"1"), row("alice", COMMON, b"2")])
        counts = await store.counts()
        assert counts.accounts in (1, None)
        assert counts.devices in (1, None)
        assert counts.inbox_rows in (2, None)


async def test_devices(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "alice", "z", "a", "m")
        await make_user(store, "bob")
        assert [device.device for device in await store.list_devices("alice")] == ["z", "a", "m"]
        assert (await store.list_devices("alice"))[0].label == "alice's z"
        assert await store.list_devices("bob") == []
        assert await store.list_devices("nobody") == []
        assert await store.devices(["alice", "bob", "nobody"]) == {"alice": ("z", "a", "m"), "bob": (), "nobody": None}
        assert await store.devices([]) == {}
        with pytest.raises(NotFoundError, match="nobody"):
            await store.add_device("nobody", "d", "")


async def test_how_long_a_row_waits(open_engine: OpenEngine) -> None:
    async with open_engine(inbox_ttl_days=1.5) as store:
        assert store.inbox_ttl_ms == 36 * 3600 * 1000


async def test_adding_a_device_twice_is_a_repeat(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "alice")
        made = await store.add_device("alice", "d", "phone")
        assert await store.add_device("alice", "d", "phone") == made
        assert await store.devices(["alice"]) == {"alice": ("d",)}
        await store.remove_device("alice", "d")
        with pytest.raises(AlreadyExistsError, match="mint"):
            await store.add_device("alice", "d", "phone")


async def test_two_users_may_have_devices_of_one_name(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "alice", "d")
        await make_user(store, "bob", "d")
        await store.append([row("alice", "d", b"for alice"), row("bob", "d", b"for bob")])
        await store.begin_sessions([SessionStart("alice", "d", 1)])
        assert await bodies(store, "alice", "d") == [b"for alice"]
        assert await bodies(store, "bob", "d") == [b"for bob"]
        assert await store.begin_sessions([SessionStart("bob", "d", 2)]) == [0]


async def test_a_session_is_of_the_login_that_stands(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "alice", "d", "e")
        await store.begin_login("alice", "d", "l1")
        of = [
            SessionStart("alice", "d", 1, "l1"),
            SessionStart("alice", "d", 2, "l0"),
            SessionStart("alice", "e", 3, "l1"),
        ]
        assert list(await store.begin_sessions(of)) == [0, NoSession.LOGGED_OUT, NoSession.LOGGED_OUT]
        assert await store.standing(["alice", "nobody"]) == {
            "alice": Standing(False, {"d": "l1", "e": ""}),
            "nobody": None,
        }
        await store.begin_login("alice", "d", "l2")
        late, next_one, old = (
            SessionStart("alice", "d", number, login) for number, login in ((1, "l1"), (4, "l2"), (5, ""))
        )
        # Also a repeat of what was taken; a connector of 0.1 tells no login.
        assert list(await store.begin_sessions([late, next_one, old])) == [NoSession.LOGGED_OUT, 1, 4]
        await store.end_login("alice", "d")
        assert list(await store.begin_sessions([next_one])) == [NoSession.LOGGED_OUT]
        await store.set_disabled("alice", True)
        assert await store.standing(["alice"]) == {"alice": Standing(True, {"d": "", "e": ""})}
        await store.remove_device("alice", "d")
        assert await store.standing(["alice"]) == {"alice": Standing(True, {"e": ""})}
        assert list(await store.begin_sessions([next_one])) == [NoSession.NO_DEVICE]


async def test_of_one_start_the_lower_try_loses(open_engine: OpenEngine) -> None:
    high = (1 << 64) - 1
    async with open_engine() as store:
        await make_user(store, "alice", "d")

        async def begin(session: int, start: int, tries: int) -> int | NoSession:
            (answer,) = await store.begin_sessions([SessionStart("alice", "d", session, "", start, tries)])
            return answer

        assert await begin(1, high, 1) == 0
        assert await begin(2, high, 3) == 1
        assert await begin(3, high, 2) is NoSession.LATE
        assert await begin(2, high, 3) == 1, "a repeat is none"
        assert await begin(1, high, 1) == 0, "nor is one that comes late and changes nothing"
        # Between two starts, or without one, the later counts.
        assert await begin(4, 77, 1) == 2
        assert await begin(5, high, 1) == 4
        assert await begin(6, 0, 0) == 5
        assert await begin(7, 0, 0) == 6
    async with open_engine() as store:
        starts = [SessionStart("alice", "d", number, "", 9, tries) for number, tries in ((20, 5), (21, 4), (22, 5))]
        assert list(await store.begin_sessions(starts)) == [7, NoSession.LATE, 20]


async def test_sessions_form_a_chain(open_engine: OpenEngine) -> None:
    high = (1 << 64) - 1
    async with open_engine() as store:
        await make_user(store, "alice", "d", "e")
        assert await store.begin_sessions([]) == []
        assert await store.begin_sessions([SessionStart("alice", "d", high)]) == [0]
        starts = [
            SessionStart("alice", "d", 1 << 63),
            SessionStart("alice", "nothing", 5),
            SessionStart("nobody", "d", 6),
            SessionStart("alice", "e", 7),
            SessionStart("alice", "d", 8),
        ]
        assert list(await store.begin_sessions(starts)) == [high, NoSession.NO_DEVICE, NoSession.NO_DEVICE, 0, 1 << 63]
    async with open_engine() as store:
        assert list(await store.begin_sessions([SessionStart("alice", "d", 9)])) == [8]
        late, again, after = (SessionStart("alice", "d", session) for session in (8, 9, 10))
        assert list(await store.begin_sessions([late])) == [0]
        assert list(await store.begin_sessions([again, late, after, again])) == [8, 0, 9, 0]


async def test_a_repeated_session_start_gets_the_same_answer(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "alice", "d")
        await store.begin_sessions([SessionStart("alice", "d", 1)])
        for _ in range(3):
            assert list(await store.begin_sessions([SessionStart("alice", "d", 2)])) == [1]
        assert list(await store.begin_sessions([SessionStart("alice", "d", 3)])) == [2]


async def test_rows_come_back_as_they_went_in(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        contents = [b"", b"\0", b"\0,;'\xff" * 20, bytes(range(256)) * 256]
        await store.append([row("alice", "d", body, kind=number % 2 + 1) for number, body in enumerate(contents)])
        rows = await read_all(store, "alice", "d")
        assert sorted((found.body, found.kind) for found in rows) == sorted(
            (body, number % 2 + 1) for number, body in enumerate(contents)
        )
        assert len({found.key for found in rows}) == len(rows)
        assert all(len(found.key) <= 64 for found in rows)
        assert await store.append([]) is None
        assert await store.page([]) == []


async def test_pages_follow_one_another(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        sent = [b"%d" % number for number in range(25)]
        for body in sent:
            await store.append([row("alice", "d", body), row("alice", "other", b"x"), row("bob", "d", b"y")])
        assert await bodies(store, "alice", "d", limit=10) == sent
        assert await bodies(store, "alice", "d", limit=25) == sent
        assert await bodies(store, "alice", "d", limit=1) == sent
        pages = await store.page(
            [
                PageQuery("alice", "d", b"", True, 10),
                PageQuery("bob", "d", b"", True, 30),
                PageQuery("c", "d", b"", True, 1),
            ]
        )
        assert [len(page.rows) for page in pages] == [10, 25, 0]
        assert [page.end for page in pages] == [False, True, True]
        assert all(len(page.next) <= 64 for page in pages)


async def test_a_pass_goes_on_where_it_was_and_a_fresh_one_shows_what_is_new(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await store.append([row("alice", "d", b"1"), row("alice", "d", b"2")])
        (first,) = await store.page([PageQuery("alice", "d", b"", True, 1)])
        (second,) = await store.page([PageQuery("alice", "d", first.next, False, 9)])
        assert [found.body for found in (*first.rows, *second.rows)] == [b"1", b"2"]
        assert second.end
        (empty,) = await store.page([PageQuery("alice", "d", second.next, False, 9)])
        assert (empty.rows, empty.end) == ((), True)
        await store.append([row("alice", "d", b"3")])
        (third,) = await store.page([PageQuery("alice", "d", empty.next, True, 9)])
        assert b"3" in [found.body for found in third.rows]


async def test_a_cursor_that_is_not_ours_begins_anew(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await store.append([row("alice", "d", b"1")])
        (page,) = await store.page([PageQuery("alice", "d", b"not a cursor of this engine", True, 9)])
        assert [found.body for found in page.rows] == [b"1"]


async def test_the_common_queue_is_in_everybodys_view(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await store.append([row("alice", "d", b"1")])
        await store.append([row("alice", COMMON, b"2"), row("bob", COMMON, b"not alice's")])
        await store.append([row("alice", "d", b"3")])
        await store.append([row("alice", "e", b"4")])
        assert await bodies(store, "alice", "d", limit=2) == [b"1", b"2", b"3"]
        assert await bodies(store, "alice", "e", limit=2) == [b"2", b"4"]
        assert await bodies(store, "alice", COMMON) == [b"2"]
        (common,) = await read_all(store, "alice", COMMON)
        await remove(store, "alice", "e", common)
        assert await bodies(store, "alice", "d") == [b"1", b"3"]


async def test_removal_is_exact(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await store.append([row("alice", "d", b"%d" % number) for number in range(10)])
        await store.append([row("alice", "e", b"e"), row("bob", "d", b"b")])
        rows = await read_all(store, "alice", "d")
        (other,) = await read_all(store, "alice", "e")
        (foreign,) = await read_all(store, "bob", "d")
        await remove(store, "alice", "d", rows[3], rows[7], other, foreign)
        await store.remove([Removal("alice", "d", (rows[3].key, b"", b"\xff" * 8, b"x" * 64)), Removal("x", "y", ())])
        assert await bodies(store, "alice", "d") == [b"0", b"1", b"2", b"4", b"5", b"6", b"8", b"9"]
        assert await bodies(store, "alice", "e") == [b"e"]
        assert await bodies(store, "bob", "d") == [b"b"]
        await store.append([row("alice", "d", b"new")])
        await remove(store, "alice", "d", *rows)
        assert await bodies(store, "alice", "d") == [b"new"]


async def test_a_removed_devices_rows_move_to_the_common_queue(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "alice", "old", "new")
        await store.append([row("alice", "old", b"%d" % number) for number in range(20)])
        await store.append([row("alice", "new", b"n")])
        (page,) = await store.page([PageQuery("alice", "new", b"", True, 100)])
        assert [found.body for found in page.rows] == [b"n"]
        await store.remove_device("alice", "old")
        # A scan that has gone past the old positions comes to the moved rows all the same.
        (page,) = await store.page([PageQuery("alice", "new", page.next, True, 100)])
        assert [found.body for found in page.rows if found.body != b"n"] == [b"%d" % number for number in range(20)]
        assert await bodies(store, "alice", COMMON) == [b"%d" % number for number in range(20)]
        assert await store.devices(["alice"]) == {"alice": ("new",)}
        assert [device.device for device in await store.list_devices("alice")] == ["new"]
        assert list(await store.begin_sessions([SessionStart("alice", "old", 4)])) == [NoSession.NO_DEVICE]


async def test_removing_a_device_may_be_repeated(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "alice", "old")
        await store.remove_device("alice", "old")
        await store.append([row("alice", "old", b"came late")])
        await store.remove_device("alice", "old")
        assert await bodies(store, "alice", COMMON) == [b"came late"]
        with pytest.raises(NotFoundError, match="never"):
            await store.remove_device("alice", "never")


async def test_rows_expire(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await store.append([row("alice", "d", b"stays")])
    async with open_engine(inbox_ttl_days=3 / 86400) as store:
        began = time.monotonic()
        await store.append([row("alice", "d", b"goes %d" % number) for number in range(30)])
        count = len(await bodies(store, "alice", "d"))
        assert count == 31 or time.monotonic() - began > 1.9  # an engine may count whole seconds
        async with asyncio.timeout(60):
            while await bodies(store, "alice", "d") != [b"stays"]:
                await asyncio.sleep(0.1)
        await store.purge()
        assert await store.purge() == 0
        assert await bodies(store, "alice", "d") == [b"stays"]


async def test_it_opens_again_with_everything(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "alice", "d")
        await store.append([row("alice", "d", b"1"), row("alice", COMMON, b"2")])
        (page,) = await store.page([PageQuery("alice", "d", b"", True, 1)])
    async with open_engine() as store:
        assert (await store.account("alice")) is not None
        assert await store.devices(["alice"]) == {"alice": ("d",)}
        (rest,) = await store.page([PageQuery("alice", "d", page.next, False, 9)])
        assert [found.body for found in (*page.rows, *rest.rows)] == [b"1", b"2"]
        await remove(store, "alice", "d", *page.rows)
        await store.append([row("alice", "d", b"3")])
    async with open_engine() as store:
        assert await bodies(store, "alice", "d") == [b"2", b"3"]


async def test_two_may_have_it_open(open_engine: OpenEngine) -> None:
    async with open_engine() as one, open_engine() as two:
        await make_user(one, "alice", "d")
        await asyncio.gather(
            *(store.append([row("alice", "d", b"%d" % number)]) for number in range(50) for store in (one, two))
        )
        assert len(await bodies(one, "alice", "d", limit=7)) == 100
        await two.remove_device("alice", "d")
        assert await one.devices(["alice"]) == {"alice": ()}
        assert len(await bodies(one, "alice", COMMON)) == 100


async def test_a_pass_misses_nothing_while_others_append_and_move(open_engine: OpenEngine) -> None:
    async with open_engine() as one, open_engine() as two:
        await make_user(one, "alice", "d", *(f"old{number}" for number in range(5)))
        sent = set()

        async def append(store: object, name: str, device: str) -> None:
            for number in range(40):
                body = f"{name} {number}".encode()
                sent.add(body)
                await (one if store is one else two).append([row("alice", device, body)])

        async def drop() -> None:
            for number in range(5):
                await append(two, f"old{number}", f"old{number}")
                await two.remove_device("alice", f"old{number}")

        seen: set[bytes] = set()
        after, fresh, over = b"", True, False
        work = asyncio.gather(append(one, "one", "d"), append(two, "two", COMMON), append(one, "three", COMMON), drop())
        while not (over and fresh):
            over = work.done() if fresh else over
            (page,) = await one.page([PageQuery("alice", "d", after, fresh, 50)])
            seen |= {found.body for found in page.rows}
            after, fresh = page.next, page.end
        await work
        assert seen == sent


async def test_used_while_closed(open_engine: OpenEngine) -> None:
    store = open_engine()
    with pytest.raises(StoreError, match="not open"):
        await store.account("alice")
    async with store:
        await store.create_account("alice", "hash")
    with pytest.raises(StoreError, match="not open"):
        await store.account("alice")
