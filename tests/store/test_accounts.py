"""Profiles, passwords, the search, logins, and the end of an account: what every engine must do."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from protocol.errors import AlreadyExistsError, NotFoundError, OutdatedError
from store import Store, StoreSettings, open_store
from store.interface import COMMON, Account
from store.logins import Login, Refresh, refresh
from store.sessions import NoSession, SessionStart
from tests.store.conftest import OpenEngine
from tests.store.helpers import bodies, make_user, row

GRACE_MS, LIFETIME_MS = 60_000, 86_400_000


async def present(store: Store, generation: int, login: str = "l1", grace_ms: int = GRACE_MS) -> Refresh:
    return await store.refresh_login("alice", "phone", login, generation, grace_ms, LIFETIME_MS)


async def test_a_profile(open_engine: OpenEngine) -> None:
    async with open_engine() as store, open_engine() as other:
        made = await store.create_account("alice", "hash")
        found = (await store.profiles(["alice", "nobody", ""]))["alice"]
        assert (found.user, found.display_name, found.hides_presence) == ("alice", "", False)
        assert found.created_ms == made.created_ms
        assert await store.profiles(["nobody", ""]) == {}
        assert await store.profiles([]) == {}
        named = await store.change_profile("alice", display_name="Alice 🐦")
        assert (named.display_name, named.hides_presence) == ("Alice 🐦", False)
        hidden = await other.change_profile("alice", hides_presence=True)
        assert (hidden.display_name, hidden.hides_presence) == ("Alice 🐦", True)
        assert await store.profiles(["alice"]) == {"alice": hidden}
        open_to_friends = await store.change_profile("alice", friends_may_add_me=True)
        assert open_to_friends.friends_may_add_me
        assert not hidden.friends_may_add_me
        assert (open_to_friends.display_name, open_to_friends.hides_presence) == ("Alice 🐦", True)
        both = await store.change_profile("alice", display_name="", hides_presence=False, friends_may_add_me=False)
        assert both == found == await store.change_profile("alice")
        with pytest.raises(NotFoundError, match="nobody"):
            await store.change_profile("nobody", display_name="x")
        assert await store.account("nobody") is None


async def test_a_password_is_changed_by_whoever_knows_the_old_one(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await store.create_account("alice", "old")
        await store.change_password("alice", "old", "new")
        await store.change_password("alice", "old", "new")
        with pytest.raises(AlreadyExistsError, match="meanwhile"):
            await store.change_password("alice", "old", "another")
        with pytest.raises(NotFoundError):
            await store.change_password("nobody", "old", "new")
        account = await store.account("alice")
        assert account is not None
        assert account.password_hash == "new"
        tries = [store.change_password("alice", "new", f"hash {number}") for number in range(8)]
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert results.count(None) == 1


async def test_the_search(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        users = ["ab", "ab-1", "ab.x", "ab1", "ab_", "abc", "abcd", "ac", "a", "b"]
        await asyncio.gather(*(store.create_account(user, "hash") for user in users))
        wanted = sorted(user for user in users if user.startswith("ab"))
        for limit in (1, 2, 3, 100):
            found: list[str] = []
            while True:
                page = await store.search("ab", found[-1] if found else "", limit)
                found += [profile.user for profile in page]
                if len(page) < limit:
                    break
            assert found == wanted
        assert [profile.user for profile in await store.search("abc", "", 9)] == ["abc", "abcd"]
        assert await store.search("zz", "", 9) == []
        for user in ("ab-1", "ab.x", "ab1"):
            await store.delete_account(user)
        assert [profile.user for profile in await store.search("ab", "", 2)] == ["ab", "ab_"]


async def test_the_first_device_is_known_as_such(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "alice")
        assert (await store.add_device("alice", "d1", "")).first
        assert (await store.add_device("alice", "d1", "")).first
        assert not (await store.add_device("alice", "d2", "")).first
        await make_user(store, "bob")
        assert (await store.add_device("bob", "d1", "")).first
        await store.remove_device("bob", "d1")
        assert not (await store.add_device("bob", "d2", "")).first
        await make_user(store, "carol")
        made = await asyncio.gather(*(store.add_device("carol", f"d{number}", "") for number in range(5)))
        assert sum(device.first for device in made) <= 1


async def test_renaming_a_device(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "alice", "d1", "d2")
        await store.rename_device("alice", "d1", "phone")
        assert [device.label for device in await store.list_devices("alice")] == ["phone", "alice's d2"]
        await store.remove_device("alice", "d2")
        for user, device in (("alice", "d2"), ("alice", "d3"), ("nobody", "d1")):
            with pytest.raises(NotFoundError):
                await store.rename_device(user, device, "x")
        assert await store.devices(["alice", "nobody"]) == {"alice": ("d1",), "nobody": None}


async def test_a_login_and_its_refreshes(open_engine: OpenEngine) -> None:
    async with open_engine() as store, open_engine() as other:
        await make_user(store, "alice", "phone")
        assert await store.login("alice", "phone") == Login("", 0, 0)
        assert await present(store, 0, "") is Refresh.UNKNOWN
        await store.begin_login("alice", "phone", "l1")
        (device,) = await store.list_devices("alice")
        assert device.logged_in
        assert await present(store, 2) is Refresh.UNKNOWN
        assert await present(store, 1) is Refresh.DONE
        assert await present(other, 1) is Refresh.REPEATED
        assert await present(other, 2) is Refresh.DONE
        assert await present(store, 2) is Refresh.REPEATED
        found = await store.login("alice", "phone")
        assert found is not None
        assert (found.id, found.generation) == ("l1", 3)
        assert await present(store, 1) is Refresh.REUSED
        assert await present(store, 3) is Refresh.UNKNOWN
        (device,) = await store.list_devices("alice")
        assert not device.logged_in


async def test_a_refresh_after_the_grace_is_theft(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "alice", "phone")
        await store.begin_login("alice", "phone", "l1")
        assert await present(store, 1) is Refresh.DONE
        await asyncio.sleep(0.02)
        assert await present(store, 1, grace_ms=1) is Refresh.REUSED
        assert await present(store, 2) is Refresh.UNKNOWN


async def test_of_many_who_present_one_token_one_is_the_first(open_engine: OpenEngine) -> None:
    async with open_engine() as store, open_engine() as other:
        await make_user(store, "alice", "phone")
        await store.begin_login("alice", "phone", "l1")
        outcomes = await asyncio.gather(*(present(one, 1) for one in [store, other] * 5))
        assert sorted(outcome.value for outcome in outcomes) == ["done"] + ["repeated"] * 9
        found = await store.login("alice", "phone")
        assert found is not None
        assert found.generation == 2


async def test_the_end_of_a_login(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "alice", "phone", "pad")
        await store.begin_login("alice", "phone", "l1")
        await store.begin_login("alice", "phone", "l2")
        assert await present(store, 1, "l1") is Refresh.UNKNOWN
        assert await present(store, 1, "l2") is Refresh.DONE
        for _ in range(2):
            await store.end_login("alice", "phone")
        assert await present(store, 2, "l2") is Refresh.UNKNOWN
        await store.begin_login("alice", "phone", "l3")
        await store.remove_device("alice", "phone")
        assert await store.login("alice", "phone") is None
        assert await present(store, 1, "l3") is Refresh.UNKNOWN
        for user, device in (("alice", "phone"), ("alice", "x"), ("nobody", "phone")):
            await store.end_login(user, device)
            assert await store.login(user, device) is None
            with pytest.raises(NotFoundError):
                await store.begin_login(user, device, "l4")
        assert await store.devices(["alice", "nobody"]) == {"alice": ("pad",), "nobody": None}


async def test_the_end_of_an_account(open_engine: OpenEngine) -> None:
    async with open_engine() as store, open_engine() as other:
        await make_user(store, "alice", "phone", "pad", "old")
        await make_user(store, "bob", "phone")
        await store.remove_device("alice", "old")
        await store.begin_login("alice", "phone", "l1")
        await store.change_profile("alice", display_name="Alice")
        await store.append([row("alice", device, b"x") for device in ("phone", "pad", COMMON) for _ in range(9)])
        await store.append([row("bob", "phone", b"stays")])
        for _ in range(2):
            await store.delete_account("alice")
        for one in (store, other):
            assert await one.account("alice") is None
            assert await one.profiles(["alice"]) == {}
            assert await one.search("al", "", 9) == []
            assert await one.devices(["alice"]) == {"alice": None}
            assert await one.list_devices("alice") == []
            assert await one.login("alice", "phone") is None
            assert await one.begin_sessions([SessionStart("alice", "phone", 7)]) == [NoSession.NO_DEVICE]
            for device in ("phone", "pad", COMMON):
                assert await bodies(one, "alice", device) == []
            with pytest.raises(AlreadyExistsError):
                await one.create_account("alice", "hash of alice")
            for refused in (
                one.change_profile("alice", display_name="x"),
                one.change_password("alice", "", "x"),
                one.add_device("alice", "new", ""),
                one.rename_device("alice", "pad", "x"),
                one.begin_login("alice", "pad", "l2"),
            ):
                with pytest.raises(NotFoundError):
                    await refused
            assert await one.profiles(["alice"]) == {}
        assert await bodies(store, "bob", "phone") == [b"stays"]
        with pytest.raises(NotFoundError):
            await store.delete_account("nobody")


@pytest.mark.parametrize(
    ("generation", "age_ms", "outcome"),
    [
        (3, 0, Refresh.DONE),
        (3, LIFETIME_MS, Refresh.DONE),
        (3, LIFETIME_MS + 1, Refresh.UNKNOWN),
        (2, GRACE_MS, Refresh.REPEATED),
        (2, GRACE_MS + 1, Refresh.REUSED),
        (1, 0, Refresh.REUSED),
        (4, 0, Refresh.UNKNOWN),
    ],
)
def test_what_comes_of_a_token(generation: int, age_ms: int, outcome: Refresh) -> None:
    kept = Login("l1", 3, 1_000)
    assert refresh(kept, "l1", generation, 1_000 + age_ms, GRACE_MS, LIFETIME_MS) is outcome
    assert refresh(kept, "l0", generation, 1_000 + age_ms, GRACE_MS, LIFETIME_MS) is Refresh.UNKNOWN
    assert refresh(Login("", 3, 1_000), "", generation, 1_000 + age_ms, GRACE_MS, LIFETIME_MS) is Refresh.UNKNOWN


async def test_a_database_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    from store.sqlite.schema_steps import STEPS

    path = tmp_path / "old.db"
    with sqlite3.connect(path, isolation_level=None) as old:
        for statement in STEPS[0].split(";\n"):
            old.execute(statement)
        old.execute("PRAGMA user_version = 1")
        old.execute("INSERT INTO accounts VALUES ('alice', 'hash', 5)")
        old.execute("INSERT INTO devices (user, device, label, created_ms) VALUES ('alice', 'phone', 'p', 6)")
    old.close()
    async with open_store(StoreSettings(path=str(path))) as store:
        assert (await store.profiles(["alice"]))["alice"].created_ms == 5
        assert await store.login("alice", "phone") == Login("", 0, 0)
        assert [profile.user for profile in await store.search("al", "", 9)] == ["alice"]


async def test_a_login_begins_only_while_what_was_checked_stands(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        await make_user(store, "alice", "phone", "pad")
        await make_user(store, "bob", "phone")

        async def checked() -> Account:
            account = await store.account("alice")
            assert account is not None
            return account

        for change in (
            store.change_password("alice", "hash of alice", "new"),
            store.set_disabled("alice", True),
            store.set_disabled("alice", False),
            store.end_logins("alice"),
        ):
            before = await checked()
            await store.begin_login("alice", "phone", "a", before) if not before.disabled else None
            await change
            with pytest.raises(OutdatedError, match="alice"):
                await store.begin_login("alice", "phone", "b", before)
        kept = await store.login("alice", "phone")
        assert kept is not None
        assert kept.id == "", "they were ended"
        await store.begin_login("alice", "phone", "c", await checked())
        with pytest.raises(NotFoundError, match="nothing"):
            await store.begin_login("alice", "nothing", "d", await checked())
        # Another user's change is none.
        before = await checked()
        await store.end_logins("bob")
        await store.begin_login("alice", "pad", "e", before)
        await store.delete_account("alice")
        with pytest.raises((OutdatedError, NotFoundError)):
            await store.begin_login("alice", "pad", "f", before)
        for user in ("alice", "nobody"):
            with pytest.raises(NotFoundError):
                await store.end_logins(user)


async def test_all_users_are_found_a_few_at_a_time(open_engine: OpenEngine) -> None:
    async with open_engine() as store:
        assert await store.users("", 3) == []
        names = {f"user{number}" for number in range(8)}
        for name in names:
            await make_user(store, name)
        found: list[str] = []
        while some := await store.users(found[-1] if found else "", 3):
            found += some
        assert sorted(found) == sorted(names)


async def test_a_repeat_needs_the_nonce_of_the_first(open_engine: OpenEngine) -> None:
    long, short = 10_000_000, -1
    async with open_engine() as store:
        await make_user(store, "alice", "phone")

        async def refresh(generation: int, nonce: str, bare_ms: int = short) -> Refresh:
            return await store.refresh_login("alice", "phone", "l", generation, long, LIFETIME_MS, nonce, bare_ms)

        async def after(*presented: tuple[int, str]) -> Refresh:
            await store.begin_login("alice", "phone", "l")
            return [await refresh(*one) for one in presented][-1]

        assert await after((1, "x"), (1, "x")) is Refresh.REPEATED
        assert await after((1, "x"), (1, "x"), (1, "x"), (2, "y")) is Refresh.DONE
        assert await after((1, "x"), (1, "y")) is Refresh.REUSED
        assert await after((1, "x"), (1, "")) is Refresh.REUSED
        assert await after((1, "x"), (1, "y"), (2, "x")) is Refresh.UNKNOWN
        # A client of 0.1 sends none, and has less time.
        assert await after((1, ""), (1, "")) is Refresh.REUSED
        assert await after((1, ""), (1, "x")) is Refresh.REUSED
        await store.begin_login("alice", "phone", "l")
        assert await refresh(1, "x") is Refresh.DONE
        assert await refresh(2, "") is Refresh.DONE
        assert await refresh(2, "", long) is Refresh.REPEATED, "the nonce of an earlier generation says nothing"
