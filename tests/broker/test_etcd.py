"""Presence and membership when etcd misbehaves: compacted, restarted, without a leader, wiped, full, or locked."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
import urllib.request
from pathlib import Path

import pytest

from broker.cluster import Together
from broker.core.state import Location, Swapped
from broker.etcd import Etcd
from broker.etcd import api_pb2 as api
from broker.etcd import client as etcd_client
from broker.etcd.client import PUT, RANGE, TXN
from broker.presence.etcd import EtcdPresence
from broker.presence.swaps import decode_location, encode_location
from broker.settings import EtcdSettings
from protocol.errors import ConfigError, LeaseLostError, UnavailableError
from tests.broker.presences import COMPACT, LEASE_S, A, B, Presences, presence, reads, until
from tests.certificates import Authority
from tests.ports import free_port
from tests.services.etcd import EtcdCluster

QUICK = {"try_timeout_s": 0.5, "call_timeout_s": 1.5}


def mirror(node: Presences):  # type: ignore[no-untyped-def]
    """What feeds the map."""
    assert isinstance(node.cluster, Together)
    return node.cluster._mirror


async def test_places_are_kept_as_text_that_says_what_it_is() -> None:
    location = Location(2**64 - 1, 7)
    assert encode_location(location) == b"ffffffffffffffff 0000000000000007"
    assert decode_location(encode_location(location)) == location
    assert decode_location(b"anything") is None
    assert decode_location(b"") is None
    assert decode_location(encode_location(location) + b" and more") == location  # of a later release


async def test_two_brokers_see_the_same_and_each_tells_whom_the_other_superseded(etcd_settings: EtcdSettings) -> None:
    async with presence(etcd_settings, A, B) as one, presence(etcd_settings) as two:
        two.leases = one.leases
        await one.online("b1", Location(A, 1))
        assert await two.where() == {"b1": Location(A, 1)}
        assert await two.online("b1", Location(B, 2)) == Swapped(Location(A, 1))
        assert await one.where() == {"b1": Location(B, 2)}
        assert one.superseded == [("bob", "b1", Location(A, 1))]
        two.presence.offline("bob", "b1", Location(B, 2))
        await one.sees({})
        assert one.superseded == [("bob", "b1", Location(A, 1))]


async def test_a_broker_whose_map_lags_swaps_what_is_there_all_the_same(etcd_settings: EtcdSettings) -> None:
    async with presence(etcd_settings, A, B) as one, presence(etcd_settings) as two:
        two.leases = one.leases
        assert isinstance(two.cluster, Together)
        assert two.cluster._following is not None
        two.cluster._following.cancel()  # its map stands still
        await one.online("b1", Location(A, 1))
        assert await two.online("b1", Location(A, 2), again=True) == Swapped(Location(A, 1), taken=True)
        assert await two.online("b1", Location(B, 3)) == Swapped(Location(A, 1))
        assert await one.where() == {"b1": Location(B, 3)}


async def test_a_barrier_waits_for_the_watch_and_gives_up_in_the_end(
    etcd_settings: EtcdSettings, caplog: pytest.LogCaptureFixture
) -> None:
    settings = EtcdSettings(endpoints=etcd_settings.endpoints, prefix=etcd_settings.prefix, **QUICK)  # type: ignore[arg-type]
    async with presence(settings, A) as one, presence(settings) as two:
        assert isinstance(two.cluster, Together)
        assert two.cluster._following is not None
        two.cluster._following.cancel()
        assert await two.barrier()  # nothing has been written
        await one.online("b1", Location(A, 1))
        assert not await two.barrier()
        assert two.seen() == {}
        two.cluster._following = asyncio.create_task(mirror(two).run())
        assert await two.where() == {"b1": Location(A, 1)}


async def test_a_broker_that_stood_still_does_not_blame_the_watch(
    etcd_settings: EtcdSettings, caplog: pytest.LogCaptureFixture
) -> None:
    settings = EtcdSettings(endpoints=etcd_settings.endpoints, prefix=etcd_settings.prefix, **QUICK)  # type: ignore[arg-type]
    async with presence(settings, A) as one, presence(settings) as two:
        assert isinstance(two.cluster, Together)
        there = two.presence
        assert isinstance(there, EtcdPresence)
        assert two.cluster._following is not None
        two.cluster._following.cancel()
        await one.online("b1", Location(A, 1))
        passing = asyncio.create_task(two.barrier())
        await until(lambda: bool(there._passing), "the mark")
        time.sleep(QUICK["call_timeout_s"] + 0.3)
        two.cluster._following = asyncio.create_task(mirror(two).run())
        assert await passing
        assert "fell behind" not in caplog.text


async def test_what_comes_while_etcd_answers_does_not_blame_the_watch(
    etcd_settings: EtcdSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer that is older than the map by when it comes is no etcd that has lost its data."""
    async with presence(etcd_settings, A) as one, presence(etcd_settings) as two:
        there = two.presence
        assert isinstance(there, EtcdPresence)
        await one.online("b1", Location(A, 1))
        await two.sees({"b1": Location(A, 1)})
        ask = there._etcd.call

        async def answer_late(method: object, request: object) -> object:
            response = await ask(method, request)  # type: ignore[arg-type]
            if method is TXN:
                await one.online("b1", Location(A, 2))
                await two.sees({"b1": Location(A, 2)})
            return response

        there._etcd.call = answer_late  # type: ignore[method-assign, assignment]
        assert await two.barrier()
        there._etcd.call = ask  # type: ignore[method-assign]
        assert "fell behind" not in caplog.text


async def test_a_watch_that_broke_goes_on_where_it_was(etcd_settings: EtcdSettings) -> None:
    async with presence(etcd_settings, A) as one, presence(etcd_settings) as two:
        for number in range(1, 4):
            mirror(two).restart("a test")
            await one.online("b1", Location(A, number))
            assert await two.where() == {"b1": Location(A, number)}
        assert reads(two) == 1


async def test_after_a_compaction_everything_is_read_again_and_the_differences_are_told(
    etcd_settings: EtcdSettings,
) -> None:
    async with presence(etcd_settings, A, B) as one, presence(etcd_settings) as two:
        for device, session in (("b1", 1), ("b2", 2), ("b3", 3)):
            await one.online(device, Location(A, session))
        await two.where()
        assert isinstance(two.cluster, Together)
        assert two.cluster._following is not None
        two.cluster._following.cancel()
        await one.online("b1", Location(B, 4))
        await one.online("b4", Location(B, 5))
        one.presence.offline("bob", "b2", Location(A, 2))
        expected = {"b1": Location(B, 4), "b3": Location(A, 3), "b4": Location(B, 5)}
        await one.sees(expected)
        client = Etcd(etcd_settings)
        revision = (await client.call(RANGE, api.RangeRequest(key=b"x"))).header.revision
        await client.call(COMPACT, api.CompactionRequest(revision=revision))
        await client.close()
        two.cluster._following = asyncio.create_task(mirror(two).run())
        await two.sees(expected)
        assert reads(two) == 2
        assert two.superseded == [("bob", "b1", Location(A, 1))]
        await one.online("b9", Location(A, 9))
        assert (await two.where())["b9"] == Location(A, 9)


async def test_two_brokers_keep_one_lease_and_either_may_go_on(etcd_settings: EtcdSettings) -> None:
    async with presence(etcd_settings, A) as one:
        await one.online("b1", Location(A, 1))
        async with presence(etcd_settings) as two:
            two.leases[A] = one.leases[A]
            await two.beats(A)
            one.falls_silent(A)
            await asyncio.sleep(1.5 * LEASE_S)
            assert two.leases[A] == one.leases[A]
            assert await two.where() == {"b1": Location(A, 1)}


async def test_foreign_values_are_nobody(etcd_settings: EtcdSettings) -> None:
    async with presence(etcd_settings, A) as node:
        client = Etcd(etcd_settings)
        prefix = etcd_settings.prefix.encode()
        await client.call(PUT, api.PutRequest(key=prefix + b"place/bob/b1", value=b"hello"))
        await client.call(PUT, api.PutRequest(key=prefix + b"broker/hello", value=b"\xff"))
        await client.close()
        assert await node.online("b1", Location(A, 1)) == Swapped(None)
        assert await node.where() == {"b1": Location(A, 1)}


async def test_what_a_later_release_has_written_is_understood_and_removed(etcd_settings: EtcdSettings) -> None:
    async with presence(etcd_settings, A, B) as node:
        client = Etcd(etcd_settings)
        key = etcd_settings.prefix.encode() + b"place/bob/b1"
        for location, replaced in ((Location(A, 1), None), (Location(B, 2), Location(A, 1))):
            value = encode_location(location) + b" since=today"
            await client.call(PUT, api.PutRequest(key=key, value=value, lease=node.leases[location.connector]))
            await node.sees({"b1": location})
            assert node.superseded == ([] if replaced is None else [("bob", "b1", replaced)])
        node.presence.offline("bob", "b1", Location(A, 1))  # no more
        assert await node.where() == {"b1": Location(B, 2)}
        node.presence.offline("bob", "b1", Location(B, 2))
        await node.sees({})
        await client.call(PUT, api.PutRequest(key=key, value=encode_location(Location(A, 3)) + b" since=today"))
        await node.sees({"b1": Location(A, 3)})
        assert await node.online("b1", Location(B, 4)) == Swapped(Location(A, 3))
        await client.close()


# Members.


async def test_a_broker_of_a_later_release_is_known_by_its_endpoint(etcd_settings: EtcdSettings) -> None:
    async with presence(etcd_settings) as node:
        client = Etcd(etcd_settings)
        prefix = etcd_settings.prefix.encode() + b"broker/"
        own = b"%016x" % node.incarnation
        await client.call(PUT, api.PutRequest(key=prefix + own + b"/release", value=b"9.9"))
        await client.call(PUT, api.PutRequest(key=prefix + b"%016x" % 0xABC, value=b"tcp://there:1 release=9.9"))
        await client.close()
        await until(lambda: 0xABC in node.cluster.members(), "the other")
        assert node.cluster.members() == {
            0xABC: "tcp://there:1",
            node.incarnation: f"tcp://127.0.0.1:{node.incarnation}",
        }


async def test_brokers_see_one_another_come_and_go(etcd_settings: EtcdSettings) -> None:
    async with presence(etcd_settings) as one:
        one.cluster.announce()
        assert one.cluster.members() == {one.incarnation: f"tcp://127.0.0.1:{one.incarnation}"}
        async with presence(etcd_settings) as two:
            two.cluster.announce()
            both = {one.incarnation, two.incarnation}
            await until(lambda: one.cluster.members().keys() == two.cluster.members().keys() == both, "both")
            await two.cluster.withdraw()
            assert two.cluster.members().keys() == {one.incarnation}
            await until(lambda: one.cluster.members().keys() == {one.incarnation}, "one alone")
        async with presence(etcd_settings) as three:
            three.cluster.announce()
            await until(lambda: three.incarnation in one.cluster.members(), "the third")
            assert isinstance(three.cluster, Together)
            task = three.cluster._members._task
            assert task is not None
            task.cancel()  # as if it had died
            await until(lambda: three.incarnation not in one.cluster.members(), "its lease to run out")


# etcd in trouble.


async def test_etcd_stops_and_starts_and_all_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with EtcdCluster(tmp_path) as etcd:
        await etcd.healthy()
        async with presence(etcd.settings(**QUICK), A, B) as node:
            node.cluster.announce()
            await node.online("b1", Location(A, 1))
            await node.where()
            etcd.stop()
            assert await node.online("b2", Location(A, 2)) is None
            assert not await node.barrier()
            assert node.seen() == {"b1": Location(A, 1)}
            node.presence.offline("bob", "b1", Location(A, 1))
            node.presence.offline("bob", "b3", Location(A, 3))
            assert await node.online("b3", Location(A, 4)) is None  # behind a removal that cannot be told
            await until(lambda: "trying again" in caplog.text, "the removals were tried")
            etcd.start()
            await etcd.healthy()
            await node.sees({})  # what could not be told has been told
            await until(lambda: node.leases.keys() == {A, B}, "leases")
            for _ in range(100):
                if await node.online("b2", Location(A, 2)) is not None:
                    break
                await asyncio.sleep(0.1)
            assert await node.where() == {"b2": Location(A, 2)}
    assert sum("trying again" in line for line in caplog.messages) <= 3
    assert "etcd works again" in caplog.messages


async def test_etcd_that_lost_its_data_is_read_anew(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path) as etcd:
        await etcd.healthy()
        async with presence(etcd.settings(**QUICK), A) as node:
            node.cluster.announce()
            for number in range(1, 20):
                await node.online("b1", Location(A, number))
            await node.where()
            old = node.leases[A]
            etcd.stop()
            etcd.wipe()
            etcd.start()
            await etcd.healthy()
            await node.sees({})
            await until(lambda: node.leases[A] != old, "a new lease")
            assert await node.online("b1", Location(A, 19), again=True) == Swapped(None)
            assert await node.where() == {"b1": Location(A, 19)}
            client = Etcd(etcd.settings())
            key = b"sparrow/broker/%016x" % node.incarnation
            for _ in range(100):
                if (await client.call(RANGE, api.RangeRequest(key=key))).kvs:
                    break
                await asyncio.sleep(0.1)
            else:
                pytest.fail("the broker did not announce itself again")
            await client.close()


async def test_the_leader_is_killed(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path, members=3) as etcd:
        await etcd.healthy()
        async with presence(etcd.settings(), A, B) as one, presence(etcd.settings()) as two:
            two.leases = one.leases
            await one.online("b1", Location(A, 1))
            await two.where()
            leases = dict(one.leases)
            etcd.leader.kill()
            session = 1
            answered = None
            while answered is None:
                session += 1
                answered = await one.online("b1", Location(A, session))
            assert await one.where() == {"b1": Location(A, session)}
            for _ in range(20):
                if await two.barrier():
                    break
            assert await two.where() == {"b1": Location(A, session)}
            await asyncio.sleep(1.5 * LEASE_S)
            assert one.leases == leases


async def test_a_member_that_stands_still_is_left(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path, members=3) as etcd:
        await etcd.healthy()
        still = next(member for member in etcd.members if not member.is_leader())
        still.pause()
        for _ in range(6):  # the first member is chosen by chance
            async with presence(etcd.settings(**QUICK), A) as node:
                assert await node.online("b1", Location(A, 1)) is not None
                assert "b1" in await node.where()


async def test_nobody_there_is_told_with_endpoints_and_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    etcd = EtcdCluster(tmp_path)
    node = Presences(etcd.settings(**QUICK))
    starting = asyncio.ensure_future(node.cluster.start())
    await until(lambda: "trying again" in caplog.text, "a line in the log")
    assert etcd.urls[0] in caplog.text
    assert await node.online("b1", Location(A, 1), lease=1) is None
    assert not await node.barrier()
    with etcd:
        await starting
        await node.beats(A)
        assert await node.online("b1", Location(A, 1)) == Swapped(None)
        await node.close()
    assert caplog.text.count("trying again") == 1


async def test_at_its_quota_etcd_takes_no_logins_and_the_log_says_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with EtcdCluster(tmp_path, arguments=["--quota-backend-bytes", "200000"]) as etcd:
        await etcd.healthy()
        async with presence(etcd.settings(), A) as node:
            await node.online("b1", Location(A, 1))
            await node.where()
            client = Etcd(etcd.settings())
            with pytest.raises(UnavailableError, match="quota"):
                for number in range(100):
                    await client.call(PUT, api.PutRequest(key=b"%d" % number, value=b"x" * 50_000), writes=True)
            await client.close()
            caplog.clear()
            for number in range(2, 5):
                assert await node.online("b1", Location(A, number)) is None
            assert sum("quota-backend-bytes" in line for line in caplog.messages) == 1
            assert await node.where() == {"b1": Location(A, 1)}  # the barrier only reads
            node.presence.offline("bob", "b1", Location(A, 1))
            await node.sees({})


def ask(url: str, call: str, token: str = "", **body: object) -> dict[str, str]:
    """A call of etcd's JSON gateway."""
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": token} if token else {})
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v3/{call}", data, headers), timeout=30) as answer:
        return dict(json.load(answer))


async def test_users_and_passwords(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path / "etcd", arguments=["--auth-token", "simple", "--auth-token-ttl", "1"]) as etcd:
        await etcd.healthy()
        url = etcd.urls[0]
        ask(url, "auth/role/add", name="root")
        ask(url, "auth/role/add", name="sparrow")
        prefix = {"key": base64.b64encode(b"sparrow/").decode(), "range_end": base64.b64encode(b"sparrow0").decode()}
        ask(url, "auth/role/grant", name="sparrow", perm={"permType": "READWRITE", **prefix})
        for user in ("root", "sparrow", "other"):
            ask(url, "auth/user/add", name=user, password="secret")
        for user in ("root", "sparrow"):
            ask(url, "auth/user/grant", user=user, role=user)
        ask(url, "auth/enable")
        right, wrong = tmp_path / "right", tmp_path / "wrong"
        right.write_text("secret\n")
        wrong.write_text("guess")
        for settings, told in (
            (etcd.settings(), "set etcd.user"),
            (etcd.settings(user="sparrow", password_file=str(wrong)), "set etcd.user"),
            (etcd.settings(user="other", password_file=str(right)), "grant"),
        ):
            node = Presences(settings)
            with pytest.raises(ConfigError, match=told):
                await node.cluster.start()
            await node.close()
        async with presence(etcd.settings(user="sparrow", password_file=str(right)), A) as node:
            await node.online("b1", Location(A, 1))
            await asyncio.sleep(2.5)  # the token runs out
            assert await node.online("b1", Location(A, 2)) == Swapped(Location(A, 1))
            assert await node.where() == {"b1": Location(A, 2)}


async def test_tls_both_ways(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    ca, (cert, key) = str(authority.file), map(str, authority.issue("etcd"))
    arguments = ["--cert-file", cert, "--key-file", key, "--trusted-ca-file", ca, "--client-cert-auth"]
    with EtcdCluster(tmp_path / "etcd", arguments=arguments, scheme="https") as etcd:
        await etcd.healthy()
        async with presence(etcd.settings(ca_file=ca, cert_file=cert, key_file=key), A) as node:
            assert await node.online("b1", Location(A, 1)) == Swapped(None)
            assert await node.where() == {"b1": Location(A, 1)}
        stranger = Etcd(etcd.settings(**QUICK))
        with pytest.raises(UnavailableError):
            await stranger.call(RANGE, api.RangeRequest(key=b"x"))
        await stranger.close()
    assert "etcd.ca_file" in caplog.text


async def test_files_that_are_not_there_are_named() -> None:
    with pytest.raises(ConfigError, match=r"etcd.password_file: cannot read /nowhere"):
        Etcd(EtcdSettings(user="sparrow", password_file="/nowhere"))


async def test_a_lease_that_is_unknown_is_told_apart(etcd_settings: EtcdSettings) -> None:
    client = Etcd(etcd_settings)
    with pytest.raises(LeaseLostError):
        await client.call(PUT, api.PutRequest(key=etcd_settings.prefix.encode(), lease=4242))
    assert await client.keep_alive([4242]) == {4242: 0}
    await client.close()


async def test_presence_has_a_length(etcd_settings: EtcdSettings) -> None:
    async with presence(etcd_settings, A) as node:
        await node.online("b1", Location(A, 1))
        await node.where()
        assert isinstance(node.presence, EtcdPresence)
        assert len(node.presence) == 1


async def test_a_swap_whose_answer_was_lost_still_tells_whom_it_replaced(
    etcd_settings: EtcdSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with presence(etcd_settings, A) as node:
        await node.online("b1", Location(A, 1))
        await node.where()
        real, lost = Etcd._try, []

        async def losing(self: Etcd, call, request, timeout_s):  # type: ignore[no-untyped-def]
            response = await real(self, call, request, timeout_s)
            if isinstance(request, api.TxnRequest) and not lost:
                lost.append(response)
                raise UnavailableError("the answer is lost")
            return response

        monkeypatch.setattr(Etcd, "_try", losing)
        assert await node.online("b1", Location(A, 2)) == Swapped(Location(A, 1))
        assert lost
        assert await node.where() == {"b1": Location(A, 2)}


async def test_trouble_is_told_when_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = EtcdSettings(endpoints=(f"http://127.0.0.1:{free_port()}",), try_timeout_s=0.1, call_timeout_s=0.2)
    client = Etcd(nobody)
    assert client.trouble == ""
    with pytest.raises(UnavailableError):
        await client.call(RANGE, api.RangeRequest(key=b"x"))
    assert client.trouble == ""  # it may be one member of three
    monkeypatch.setattr(etcd_client, "AWAY_S", 0.0)
    assert "etcd at 127.0.0.1" in client.trouble
    await client.close()
