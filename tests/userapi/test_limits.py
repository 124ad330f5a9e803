"""How often one may ask, and who is believed about addresses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from fabric.networks import parse_networks
from protocol.errors import ConfigError
from tests.userapi.conftest import Api
from tests.userapi.test_accounts import problem
from userapi.app import create_app
from userapi.http import limits
from userapi.http.limits import Limit

GOOD = {"user": "alice", "password": "correct horse"}
FAR = "192.0.2.7"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_limit() -> None:
    clock = Clock()
    limit = Limit(3, 60.0, clock)
    assert limit.wait_s("a") == 0
    assert [limit.use("a") for _ in range(3)] == [0, 0, 0]
    assert limit.wait_s("a") == pytest.approx(20)
    assert limit.use("a") == pytest.approx(20)
    assert limit.use("b") == 0
    clock.now += 20
    assert limit.use("a") == 0
    assert limit.use("a") == pytest.approx(20)
    clock.now += 1000
    assert [bool(limit.use("a")) for _ in range(4)] == [False, False, False, True]
    off = Limit(0, 60.0, clock)
    assert [off.use("a") for _ in range(1000)] == [0] * 1000
    assert off.wait_s("a") == 0


def test_a_limit_keeps_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MAX_KEYS", 10)
    clock = Clock()
    limit = Limit(2, 60.0, clock)
    for _ in range(2):
        limit.use("greedy")
    for number in range(1000):
        limit.use(str(number))
    assert len(limit._full_until) <= 10
    assert limit.wait_s("greedy") > 0
    clock.now += 60
    limit.use("x")
    assert limit.wait_s("greedy") == 0


def client(api: Api, **changes: object) -> FlaskClient:
    """Of an API with other settings, for which no time passes between requests."""
    import dataclasses

    settings = dataclasses.replace(api.settings, **changes)  # type: ignore[arg-type]
    return create_app(settings, api.bridge, api.fabric, steady=lambda: 1000.0, sleep=lambda _: None).test_client()


def too_many(answer: TestResponse) -> None:
    problem(answer, 429, "too_many_requests")
    assert int(answer.headers["Retry-After"]) >= 1


def of(address: str) -> dict[str, dict[str, str]]:
    return {"environ_base": {"REMOTE_ADDR": address}}


def test_requests(api: Api) -> None:
    asked = client(api, max_requests_per_second_of_address=5)
    answers = [asked.get("/v1/openapi.json", **of(FAR)) for _ in range(50)]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) == 45
    too_many(refused[-1])
    # Somebody else, and whoever looks after the service.
    assert asked.get("/v1/openapi.json", **of("192.0.2.8")).status_code == 200
    for _ in range(50):
        assert asked.get("/healthz", **of(FAR)).status_code == 200
        assert asked.get("/v1/openapi.json", **of("127.0.0.1")).status_code == 200


def signed(api: Api, asked: FlaskClient, user: str = "alice") -> Callable[..., TestResponse]:
    """Requests of a new device of a new user's."""
    api.register(user)
    headers = {"Authorization": f"Bearer {api.log_in(user)['access_token']}"}
    return lambda method, path, **more: asked.open(path, method=method, headers=headers, **more)


def test_requests_of_an_account(api: Api) -> None:
    asked = client(api, max_requests_per_second_of_account=5)
    alice, bob = signed(api, asked), signed(api, asked, "bob")
    gone = signed(api, asked, "carol")
    again = {"Authorization": f"Bearer {api.log_in('carol')['access_token']}"}
    assert gone("DELETE", "/v1/me/login").status_code == 204
    # What a device asks that was logged out is not the account's.
    for _ in range(50):
        problem(gone("GET", "/v1/me"), 401, "logged_out")
    assert asked.get("/v1/me", headers=again).status_code == 200
    answers = [alice("GET", "/v1/me") for _ in range(50)]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) == 45
    too_many(refused[-1])
    assert bob("GET", "/v1/me").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "wrong", "code"),
    [
        ("PUT", "/v1/me/password", {"old_password": "wrong horse", "new_password": "wrong staple"}, 403),
        ("POST", "/v1/me/deletion", {"password": "wrong horse"}, 403),
        ("POST", "/v1/accounts", {"user": "alice", "password": "wrong horse"}, 409),
    ],
)
def test_every_try_of_a_password_counts(
    api: Api, method: str, path: str, wrong: dict[str, str], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    asked = client(api, max_failed_logins_per_hour_of_account_and_address=4)
    alice = signed(api, asked)
    with caplog.at_level("INFO", "sparrow.audit"):
        answers = [alice(method, path, json=wrong, **of(FAR)) for _ in range(5)]
    tried = 2 if "new_password" in wrong else 4  # each of two passwords is a try
    assert [answer.status_code for answer in answers] == [code] * tried + [429] * (5 - tried)
    too_many(answers[-1])
    assert caplog.text.count("event=login_failed user=alice") == tried
    # Nor is the right one found here.
    right = {name: text if name == "user" else GOOD["password"] for name, text in wrong.items()}
    too_many(alice(method, path, json=right, **of(FAR)))
    assert alice("GET", "/v1/me", **of(FAR)).status_code == 200
    assert asked.post("/v1/login", json=GOOD, **of("192.0.2.8")).status_code == 200
    if path == "/v1/accounts":  # it counts by its address
        too_many(asked.post("/v1/login", json=GOOD, **of(FAR)))
        assert alice(method, path, json=right, **of("192.0.2.8")).status_code == 200
    else:  # by its device, and nobody else is hurt
        too_many(alice(method, path, json=right, **of("192.0.2.8")))
        assert asked.post("/v1/login", json=GOOD, **of(FAR)).status_code == 200


def test_right_passwords_do_not_count(api: Api) -> None:
    asked = client(api, max_failed_logins_per_hour_of_account_and_address=1)
    alice = signed(api, asked)
    change = {"old_password": GOOD["password"], "new_password": "battery staple"}
    for _ in range(3):  # the repeats, too
        assert alice("PUT", "/v1/me/password", json=change, **of(FAR)).status_code == 204
        assert asked.post("/v1/accounts", json={**GOOD, "password": "battery staple"}, **of(FAR)).status_code == 200


def test_a_registration_takes_as_long_whoever_has_the_name(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.register()
    api.register("bob")
    api.bridge.call(api.bridge.store.delete_account, "bob")
    passwords = api.client.application.extensions["sparrow"].passwords
    checked: list[str] = []
    verify = passwords._hasher.verify
    monkeypatch.setattr(
        type(passwords._hasher), "verify", lambda self, kept, password: checked.append(kept) or verify(kept, password)
    )
    for user in ("alice", "bob"):
        body = {"user": user, "password": "wrong horse"}
        problem(api.client.post("/v1/accounts", json=body), 409, "user_taken")
    assert [kept.split("$")[:4] for kept in checked] == [passwords.hash("x").split("$")[:4]] * 2


def test_five_hundred_behind_one_address_register_in_an_hour_if_they_may(api: Api) -> None:
    asked = client(api, max_registrations_per_hour_of_address=500, max_requests_per_second_of_address=0)
    for number in range(500):
        body = {**GOOD, "user": f"user{number}"}
        # What is mistyped first does not count.
        problem(asked.post("/v1/accounts", json={**body, "password": "short"}, **of(FAR)), 400, "password_too_short")
        problem(asked.post("/v1/accounts", json={**body, "user": "Ä"}, **of(FAR)), 400, "invalid_user_id")
        assert asked.post("/v1/accounts", json=body, **of(FAR)).status_code == 201
    too_many(asked.post("/v1/accounts", json=GOOD, **of(FAR)))


def test_registrations(api: Api) -> None:
    asked = client(api, max_registrations_per_hour_of_address=2)
    for number in range(2):
        assert asked.post("/v1/accounts", json={**GOOD, "user": f"user{number}"}, **of(FAR)).status_code == 201
    too_many(asked.post("/v1/accounts", json=GOOD, **of(FAR)))
    assert asked.post("/v1/accounts", json=GOOD, **of("192.0.2.8")).status_code == 201


def test_logins_of_an_address(api: Api) -> None:
    asked = client(api, max_logins_per_minute_of_address=3)
    for number in range(3):
        body = {**GOOD, "user": f"user{number}"}
        problem(asked.post("/v1/login", json=body, **of(FAR)), 401, "wrong_credentials")
    too_many(asked.post("/v1/login", json=GOOD, **of(FAR)))
    problem(asked.post("/v1/login", json=GOOD, **of("192.0.2.8")), 401, "wrong_credentials")


def test_wrong_passwords_from_one_address(api: Api) -> None:
    asked = client(api, max_failed_logins_per_hour_of_account_and_address=3)
    asked.post("/v1/accounts", json=GOOD)
    for _ in range(10):  # right ones do not count
        assert asked.post("/v1/login", json=GOOD, **of(FAR)).status_code == 200
    for _ in range(3):
        answer = asked.post("/v1/login", json={**GOOD, "password": "wrong"}, **of(FAR))
        problem(answer, 401, "wrong_credentials")
    # Now the right one is not even looked at, so that it cannot be found.
    too_many(asked.post("/v1/login", json=GOOD, **of(FAR)))
    assert asked.post("/v1/login", json=GOOD, **of("192.0.2.8")).status_code == 200


@pytest.mark.parametrize("user", ["alice", "nobody"])
def test_wrong_passwords_from_everywhere(api: Api, user: str) -> None:
    asked = client(api, max_failed_logins_per_hour_of_account=5)
    asked.post("/v1/accounts", json=GOOD)
    wrong = {"user": user, "password": "wrong"}
    for number in range(5):
        problem(asked.post("/v1/login", json=wrong, **of(f"192.0.2.{number}")), 401, "wrong_credentials")
    # It says nothing about whether there is such a user; and this machine is no exception.
    for address in ("192.0.2.99", "127.0.0.1"):
        too_many(asked.post("/v1/login", json=wrong, **of(address)))


def besieged(asked: FlaskClient) -> None:
    """Strangers have guessed alice's password from many networks."""
    wrong = {**GOOD, "password": "wrong horse"}
    answers = [asked.post("/v1/login", json=wrong, **of(f"198.51.100.{number}")) for number in range(40)]
    assert answers[0].status_code == 401
    too_many(answers[-1])
    too_many(asked.post("/v1/login", json=GOOD, **of("203.0.113.1")))  # the right one, from nowhere known


def test_strangers_do_not_keep_the_owner_out(api: Api) -> None:
    asked = client(api, max_failed_logins_per_hour_of_account=30)
    alice = signed(api, asked)
    tokens = api.log_in()
    besieged(asked)
    # A standing login, from wherever: the password may be changed, the account deleted.
    change = {"old_password": GOOD["password"], "new_password": "battery staple"}
    assert alice("PUT", "/v1/me/password", json=change, **of("203.0.113.2")).status_code == 204
    now = {**GOOD, "password": "battery staple"}
    # Where a device of hers has been, a new one may log in.
    assert asked.post("/v1/login", json=now, **of("203.0.113.2")).status_code == 200
    # Anywhere with what a device of hers has kept, though its login has ended.
    proof = {**now, "proof": tokens["refresh_token"]}
    assert asked.post("/v1/login", json=proof, **of("203.0.113.3")).status_code == 200
    too_many(asked.post("/v1/login", json=now, **of("203.0.113.4")))
    assert alice("POST", "/v1/me/deletion", json={"password": "battery staple"}, **of(FAR)).status_code == 204


def test_what_proves_no_device_proves_nothing(api: Api) -> None:
    asked = client(api, max_failed_logins_per_hour_of_account=30, max_failed_logins_per_hour_of_account_and_address=20)
    api.register("bob")
    api.register()
    removed = api.log_in()
    headers = {"Authorization": f"Bearer {removed['access_token']}"}
    path = f"/v1/me/devices/{removed['device']}"
    assert asked.delete(path, headers=headers).status_code == 204
    besieged(asked)
    for proof in ("nonsense", api.log_in("bob")["refresh_token"], removed["refresh_token"], removed["access_token"]):
        too_many(asked.post("/v1/login", json={**GOOD, "proof": proof}, **of("203.0.113.3")))


def test_a_device_that_guesses_is_stopped_too(api: Api) -> None:
    asked = client(api, max_failed_logins_per_hour_of_account_and_address=4)
    api.register()
    proof = api.log_in()["refresh_token"]
    wrong = {**GOOD, "password": "wrong horse", "proof": proof}
    answers = [asked.post("/v1/login", json=wrong, **of(f"192.0.2.{number}")) for number in range(8)]
    assert [answer.status_code for answer in answers] == [401] * 4 + [429] * 4
    assert asked.post("/v1/login", json=GOOD, **of("192.0.2.50")).status_code == 200


def test_homes_are_bounded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MAX_KEYS", 10)
    clock = Clock()
    homes = limits.Homes(clock)
    for number in range(1000):
        clock.now += 1
        homes.add(str(number))
    assert len(homes._seen) <= 10
    assert homes.has("999")
    assert not homes.has("0")
    clock.now += limits._HOME_S
    assert not homes.has("999")


def test_logins_and_refreshes_of_an_account(api: Api) -> None:
    asked = client(api, max_logins_per_minute_of_account=3)
    api.register()
    api.register("bob")
    answers = [asked.post("/v1/login", json=GOOD) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 2
    too_many(answers[-1])
    assert asked.post("/v1/login", json={**GOOD, "user": "bob"}).status_code == 200
    token = answers[0].json["refresh_token"]  # type: ignore[index]
    refreshed = [asked.post("/v1/token", json={"refresh_token": token}) for _ in range(5)]
    assert [answer.status_code for answer in refreshed] == [200] * 3 + [429] * 2
    other = answers[1].json["refresh_token"]  # type: ignore[index]
    assert asked.post("/v1/token", json={"refresh_token": other}).status_code == 200


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        (FAR, None, FAR),
        (FAR, "198.51.100.1", FAR),  # no proxy of ours
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "10.9.9.9, 198.51.100.1", "198.51.100.1"),  # what came in with the request is a claim
        ("127.0.0.1", "203.0.113.5, 198.51.100.1, 10.0.0.3", "198.51.100.1"),
        ("127.0.0.1", "198.51.100.1:5000", "198.51.100.1"),
        ("127.0.0.1", "[2001:db8::1]:5000", "2001:db8::1"),
        ("127.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("127.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "unknown", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1, unknown", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "," * 3000, "127.0.0.1"),
        ("", "198.51.100.1", "None"),  # a Unix socket
    ],
)
def test_whose_address_counts(api: Api, peer: str, forwarded: str | None, address: str) -> None:
    asked = client(api, trusted_proxies=("127.0.0.1", "10.0.0.0/8"))
    counted = asked.application.extensions["sparrow"].limits
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    with asked.application.test_request_context("/", headers=headers, environ_base={"REMOTE_ADDR": peer}):
        assert str(counted.address()) == address


def test_one_ipv6_customer_is_one_address(api: Api) -> None:
    asked = client(api, max_registrations_per_hour_of_address=1)
    assert asked.post("/v1/accounts", json=GOOD, **of("2001:db8::1")).status_code == 201
    too_many(asked.post("/v1/accounts", json={**GOOD, "user": "bob"}, **of("2001:db8::ffff:2")))
    assert asked.post("/v1/accounts", json={**GOOD, "user": "bob"}, **of("2001:db8:0:1::1")).status_code == 201


def test_networks() -> None:
    with pytest.raises(ConfigError, match=r"userapi\.trusted_proxies.*10\.0\.0\.1/8"):
        parse_networks("userapi.trusted_proxies", ["10.0.0.1/8"])
