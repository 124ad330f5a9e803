"""Limits: how often an address, or an account, may ask.

Owns the counting, which is each worker process's own: with four workers up to four times as much passes. Nothing is
kept on disk. (The library `limits` was looked at: in memory it keeps every address for ever, and starts a thread for
each sweep.)
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from flask import Flask, request

from fabric.networks import Address, among, as_key, parse_networks
from userapi.http.addresses import client_address
from userapi.http.handover import CONTINUED
from userapi.http.page import is_of_page
from userapi.http.problems import ProblemError
from userapi.settings import UserApiSettings

_MAX_KEYS = 100_000
"""How many addresses or accounts each limit remembers, at 100 bytes or so each."""
_ADMIN_FAILURES = 60
"""How many wrong administrator's tokens an address may send in an hour."""
_REPORTS = 30
"""How many messages an account may report in an hour: each is kept as a copy."""
_HISTORY_S = 10
"""What may be read of conversations in so long, may be read at once: a device that catches up."""
_PAGE_S = 10
"""As many files of the page as an address may ask for in so long, it may ask for at once: an office in the morning."""
_HOME_S = 30 * 86400.0
_MAX_USER = 65
"""A user id with more characters is nobody's."""
_FREE = ("/healthz", "/readyz")
"""Paths that load balancers ask for."""


class Limit:
    """`count` at once, and after that one each `period_s / count` (the generic cell rate algorithm). 0: no limit."""

    def __init__(self, count: int, period_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._period_s = period_s
        self._step_s = period_s / count if count else 0.0
        self._clock = clock
        self._full_until: dict[str, float] = {}
        """Key → when all that it has used will be given back; one that is not there has used nothing."""
        self._lock = threading.Lock()

    def wait_s(self, key: str) -> float:
        """For how long `key` has to wait; 0 if it need not."""
        if not self._step_s:
            return 0.0
        now = self._clock()
        with self._lock:
            return self._wait_s(key, now)

    def use(self, key: str) -> float:
        """Count one for `key` if it need not wait; returns for how long it has to."""
        if not self._step_s:
            return 0.0
        now = self._clock()
        with self._lock:
            wait_s = self._wait_s(key, now)
            if not wait_s:
                self._count(key, now, 1)
            return wait_s

    def add(self, key: str, count: int) -> None:
        """Count so many for `key`, which did not have to wait when they began; they may go beyond what is allowed."""
        if self._step_s:
            now = self._clock()
            with self._lock:
                self._count(key, now, count)

    def _count(self, key: str, now: float, count: int) -> None:
        if key not in self._full_until and len(self._full_until) >= _MAX_KEYS:
            self._forget(now)
        self._full_until[key] = max(self._full_until.get(key, 0.0), now) + count * self._step_s

    def _wait_s(self, key: str, now: float) -> float:
        # The tolerance is for the rounding of what was added up.
        wait_s = self._full_until.get(key, 0.0) + self._step_s - self._period_s - now
        return wait_s if wait_s > 1e-6 else 0.0

    def _forget(self, now: float) -> None:
        """What has been given back; and if that is not half of all, those who have used least."""
        left = [(until, key) for key, until in self._full_until.items() if until > now]
        left.sort(reverse=True)
        self._full_until = {key: until for until, key in left[: _MAX_KEYS // 2]}


class Homes:
    """Where users have lately been let in: a bounded set, which forgets what it has not seen for longest."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def has(self, key: str) -> bool:
        """Whether it was added in the last `_HOME_S`."""
        return self._clock() - self._seen.get(key, -_HOME_S) < _HOME_S

    def add(self, key: str) -> None:
        """Now."""
        with self._lock:
            if key not in self._seen and len(self._seen) >= _MAX_KEYS:
                latest = sorted(self._seen.items(), key=lambda one: one[1], reverse=True)
                self._seen = dict(latest[: _MAX_KEYS // 2])
            self._seen[key] = self._clock()


class Limits:
    """All limits of one process. Each check raises `ProblemError` ("too_many_requests") with `Retry-After`."""

    def __init__(self, settings: UserApiSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is in seconds, and never steps. Raises `ConfigError`."""
        self._trusted = parse_networks("userapi.trusted_proxies", settings.trusted_proxies)
        self._unlimited = parse_networks("userapi.unlimited_addresses", settings.unlimited_addresses)
        self._requests = Limit(settings.max_requests_per_second_of_address, 1.0, clock)
        self._pages = Limit(settings.max_requests_per_second_of_address * _PAGE_S, _PAGE_S, clock)
        self._account_requests = Limit(settings.max_requests_per_second_of_account, 1.0, clock)
        self._registrations = Limit(settings.max_registrations_per_hour_of_address, 3600.0, clock)
        self._logins = Limit(settings.max_logins_per_minute_of_address, 60.0, clock)
        self._account_logins = Limit(settings.max_logins_per_minute_of_account, 60.0, clock)
        self._failures = Limit(settings.max_failed_logins_per_hour_of_account, 3600.0, clock)
        self._codes = Limit(settings.max_failed_logins_per_hour_of_account_and_address, 3600.0, clock)
        self._administrators = Limit(_ADMIN_FAILURES, 3600.0, clock)
        messages = settings.max_history_messages_per_second_of_account * _HISTORY_S
        self._history = Limit(messages, _HISTORY_S, clock)
        self._reports = Limit(_REPORTS, 3600.0, clock)
        self._group_changes = Limit(settings.max_group_changes_per_minute_of_account, 60.0, clock)
        self._changes_of_groups = Limit(settings.max_group_changes_per_minute_of_group, 60.0, clock)
        self._invitations = Limit(settings.max_group_invitations_per_hour_of_account, 3600.0, clock)
        self._homes = Homes(clock)
        self._failures_here = Limit(settings.max_failed_logins_per_hour_of_account_and_address, 3600.0, clock)

    def address(self) -> Address | None:
        """Where this request comes from."""
        return client_address(self._trusted)

    def check_request(self) -> None:
        """Count a request of any kind against its address. Raises `ProblemError` when there were too many."""
        self._use_here(self._requests)

    def check_page(self) -> None:
        """Of a file of the page, apart from other requests. Raises `ProblemError` when there were too many."""
        self._use_here(self._pages)

    def check_account(self, user: str) -> None:
        """Count a request by `user`, whose token is good. Raises `ProblemError` when there were too many."""
        _refuse(self._account_requests.use(user), "requests of this account")

    def check_history(self, user: str) -> None:
        """Of what reads messages that are kept. Raises `ProblemError` when there were too many."""
        _refuse(self._history.wait_s(user), "messages read by this account")

    def read_history(self, user: str, messages: int) -> None:
        """So many were read."""
        self._history.add(user, messages)

    def check_report(self, user: str) -> None:
        """Count a report by `user`. Raises `ProblemError` when there were too many."""
        _refuse(self._reports.use(user), "reports by this account")

    def check_group_change(self, user: str) -> None:
        """Count a change of a group that `user` asks for. Raises `ProblemError` when there were too many."""
        _refuse(self._group_changes.use(user), "changes of groups by this account")

    def check_changes_of(self, group: str) -> None:
        """Raises `ProblemError` when a group has changed too often."""
        _refuse(self._changes_of_groups.wait_s(group), "changes of this group")

    def group_changed(self, group: str) -> None:
        """It has; what came to nothing does not count, or one member could keep the others from changing it."""
        self._changes_of_groups.add(group, 1)

    def check_invitation(self, user: str) -> None:
        """Count an invitation by `user`. Raises `ProblemError` when there were too many."""
        _refuse(self._invitations.use(user), "invitations by this account")

    def check_registration(self) -> None:
        """Count a registration against its address. Raises `ProblemError` when there were too many."""
        self._use_here(self._registrations)

    def check_administrator(self) -> None:
        """Of whoever shows an administrator's token: after some wrong ones of an address none is looked at."""
        here = self._here()
        if here is not None:
            _refuse(self._administrators.wait_s(here), "wrong administrator's tokens")

    def administrator_failed(self) -> None:
        """It was wrong."""
        here = self._here()
        if here is not None:
            self._administrators.use(here)

    def check_login(self, user: str, device: str = "") -> None:
        """Of whatever tries a password of `user`, who need not exist.

        `device`: one of the user's, which the caller has shown to have: then only its own wrong passwords count, and
        nothing that strangers do.
        """
        user = user[:_MAX_USER]
        if device:
            _refuse(self._failures_here.wait_s(f"{device} {user}"), "wrong passwords of this device")
            return
        self._use_here(self._logins)
        here = self._here()
        if here is not None:
            _refuse(self._failures_here.wait_s(f"{here} {user}"), "wrong passwords for this account")
        if here is None or not self._homes.has(f"{here} {user}"):
            _refuse(self._failures.wait_s(user), "wrong passwords for this account")

    def check_code(self) -> None:
        """Of whatever tries a code: as often as a password, by address. By account nobody could be kept from theirs,
        and 128 bits need no such bound."""
        self._use_here(self._logins)
        here = self._here()
        if here is not None:
            _refuse(self._codes.wait_s(here), "wrong codes from this address")

    def check_vouching(self) -> None:
        """Of whatever has an OpenID provider asked about somebody: as often as a password is tried, by address."""
        self._use_here(self._logins)

    def code_failed(self) -> None:
        """It was wrong."""
        here = self._here()
        if here is not None:
            self._codes.use(here)

    def at_home(self, user: str) -> None:
        """The user is known to be where this request comes from: strangers elsewhere do not keep them out here."""
        here = self._here()
        if here is not None:
            self._homes.add(f"{here} {user}")

    def check_new_login(self, user: str, device: str = "") -> None:
        """Of a login whose password was right, or of a refresh by that device: each is written down."""
        _refuse(self._account_logins.use(f"{user} {device}"), "logins of this account")

    def login_failed(self, user: str, device: str = "") -> None:
        """The password was wrong; `device` as above."""
        user = user[:_MAX_USER]
        if device:
            self._failures_here.use(f"{device} {user}")
            return
        here = self._here()
        if here is None or not self._homes.has(f"{here} {user}"):
            self._failures.use(user)
        if here is not None:
            self._failures_here.use(f"{here} {user}")

    def _here(self) -> str | None:
        """What the address counts as; None if it is not counted."""
        address = self.address()
        if address is not None and among(address, self._unlimited):
            return None
        return as_key(address)

    def _use_here(self, limit: Limit) -> None:
        here = self._here()
        if here is not None:
            _refuse(limit.use(here), "requests from this address")


def install(app: Flask, limits: Limits) -> None:
    """Count every request."""

    def count() -> None:
        if is_of_page(request.path):
            limits.check_page()
        elif request.path not in _FREE and not request.environ.get(CONTINUED):
            limits.check_request()

    app.before_request(count)


def _refuse(wait_s: float, what: str) -> None:
    if wait_s:
        seconds = math.ceil(wait_s)
        detail = f"too many {what}: try again in {seconds} s"
        raise ProblemError("too_many_requests", detail, headers={"Retry-After": str(seconds)})
