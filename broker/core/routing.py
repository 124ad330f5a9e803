"""From one message to its copies: one for each device of the destination and each other device of the author.

Owns what waits for a list of devices, or for a verdict on who may write to whom. Message bodies are never parsed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from broker.core.archive import Archive, change_of, read_message
from broker.core.devices import DeviceList, Devices
from broker.core.group_routing import GroupRouting
from broker.core.hiding import Hiding
from broker.core.policy import Policy
from broker.core.state import Location, Presence, Storing, Turn
from broker.core.storing import Storage
from broker.settings import BrokerSettings
from fabric.records import (
    ATTEMPT,
    BODY,
    BY,
    CHANGE,
    COPY,
    FLAGS,
    HEADER,
    NO_SUCH_USER,
    OTHERS,
    OUTCOME,
    OUTCOMES,
    OWN,
    QUIET,
    RECEIPT,
    SAFE,
    TO,
    TRACED,
    UNAVAILABLE,
    UNSEEN,
    Record,
    record,
)
from protocol.ids import address, split_address
from store.contacts import Verdict
from store.interface import COMMON
from store.timelines import Audience, Edit

_RARE = RECEIPT | CHANGE
_KINDS = RECEIPT | QUIET | CHANGE
_UNKEPT = RECEIPT | QUIET
"""READ and changes are quiet, and stand in no timeline as messages."""
_OF_COPIES = RECEIPT | QUIET | TRACED
"""Flags that go along with each copy."""


class Plan(NamedTuple):
    """Who gets copies of what one device writes to one user."""

    renew_at: float
    user: str
    devices: DeviceList
    author: str
    others: DeviceList
    """The author's other devices."""
    friends: bool = True
    """What is unseen is told of: author and user are friends, or one person."""
    audience: Audience = Audience.BOTH
    """For whom it is kept: what a silent block swallows, for its author alone."""


class Routing:
    """All routing of a broker."""

    def __init__(
        self,
        settings: BrokerSettings,
        turn: Turn,
        presence: Presence,
        devices: Devices,
        policy: Policy,
        hiding: Hiding,
        storage: Storage,
        archive: Archive,
        groups: GroupRouting,
    ) -> None:
        self._settings = settings
        self._turn = turn
        self._presence = presence
        self._devices = devices
        self._policy = policy
        self._hiding = hiding
        self._storage = storage
        self._archive = archive
        self._groups = groups
        self._plans: dict[tuple[bytes, bytes], Plan] = {}
        self._waiting: dict[Hashable, list[tuple[int, Record]]] = {}
        """What waits, by the key of what is being read."""
        self._waiting_count = 0
        devices.on_read = policy.on_read = self._read
        hiding.on_read = self._read_hiding
        devices.on_forgotten = policy.on_forgotten = hiding.on_forgotten = self._plans.clear
        self.routed = 0
        """Attempts of which copies were made, receipts among them."""
        self.refused: Counter[int] = Counter()
        """Attempts that came to nothing here, by the outcome's state."""

    def route(self, connector: int, rec: Record) -> None:
        """An attempt has come from a connector."""
        plan = self._plans.get((rec[TO], rec[BY]))
        if plan is not None and self._turn.now < plan[0] and not rec[FLAGS] & _RARE:
            self._copies(connector, rec, plan)
        elif rec[TO][:1] == b"~":
            self._groups.route(connector, rec)
        elif rec[FLAGS] & CHANGE and self._archive.keeps:
            self._change(connector, rec)
        else:
            self._plan(connector, rec)

    def _plan(self, connector: int, rec: Record) -> None:
        """Find out who gets copies, and remember it."""
        to, (author, author_device) = rec[TO].decode(), split_address(rec[BY])  # what cannot be read must not wait
        dest = self._devices.get(to)
        if dest is None:
            return self._wait(to, connector, rec)
        if rec[FLAGS] & RECEIPT:
            return self._route_receipt(connector, rec, to, author, dest.value)
        own = self._devices.get(author)
        if own is None:
            return self._wait(author, connector, rec)
        if dest.value is None:
            return self._answer(connector, rec[ATTEMPT], 0, NO_SUCH_USER)
        others = tuple(d for d in own.value or () if d[0] != author_device)
        devices: DeviceList = ()
        friends, audience = True, Audience.BOTH
        read_at = min(dest.read_at, own.read_at)
        if to != author:
            verdict = self._policy.get((author, to))
            if verdict is None:
                return self._wait((author, to), connector, rec)
            refused = self._policy.state(verdict.value)
            if refused not in (0, SAFE):
                return self._answer(connector, rec[ATTEMPT], 0, refused)
            friends = verdict.value is Verdict.FRIEND
            read_at = min(read_at, verdict.read_at)
            devices = () if refused else _or_common(to, dest.value)
            audience = Audience.AUTHOR if refused else Audience.BOTH
        plan = Plan(self._devices.renew_at(read_at), to, devices, author, others, friends, audience)
        if len(self._plans) >= self._settings.max_cached_users:
            self._plans.clear()
        self._plans[rec[TO], rec[BY]] = plan
        return self._copies(connector, rec, plan)

    # Changes, where conversations are kept: nobody gets one that the store has not taken.

    def _change(self, connector: int, rec: Record) -> None:
        to, (author, _) = rec[TO].decode(), split_address(rec[BY])
        dest, own = self._devices.get(to), self._devices.get(author)
        if dest is None or own is None:
            return self._wait(to if dest is None else author, connector, rec)
        if dest.value is None:
            return self._answer(connector, rec[ATTEMPT], 0, NO_SUCH_USER)
        verdict = self._policy.get((author, to)) if to != author else None
        if verdict is None and to != author:
            return self._wait((author, to), connector, rec)
        refused = self._policy.state(verdict.value) if verdict is not None else 0
        change = change_of(read_message(rec), Audience.AUTHOR if refused else Audience.BOTH)
        if refused not in (0, SAFE) and isinstance(change, Edit):
            return self._answer(connector, rec[ATTEMPT], 0, refused)
        crosses = not refused or not isinstance(change, Edit)

        def changed(state: int, visible: bool, stamp: int) -> None:
            self._changed(connector, rec, state, crosses and visible)

        return self._archive.change(connector, rec, change, changed)

    def _changed(self, connector: int, rec: Record, state: int, to_dest: bool) -> None:
        """The store has answered: whoever may know of the change gets it."""
        if state != SAFE:
            return self._answer(connector, rec[ATTEMPT], 0, state)
        to, (author, author_device) = rec[TO].decode(), split_address(rec[BY])
        # Asked again, since it may have taken long.
        dest, own = self._devices.get(to), self._devices.get(author)
        if dest is None or own is None or dest.value is None:
            return self._answer(connector, rec[ATTEMPT], 0, UNAVAILABLE)
        others = tuple(d for d in own.value or () if d[0] != author_device)
        devices = _or_common(to, dest.value) if to_dest and to != author else ()
        return self._copies(connector, rec, Plan(0.0, to, devices, author, others, False))

    def _route_receipt(self, connector: int, rec: Record, to: str, by: str, devices: DeviceList | None) -> None:
        if devices is None:
            return self._answer(connector, rec[ATTEMPT], 0, NO_SUCH_USER)
        if rec[FLAGS] & UNSEEN:
            pair = to, by
            verdict = self._policy.get(pair)
            if verdict is None:
                return self._wait(pair, connector, rec)
            if verdict.value is not Verdict.FRIEND:
                return self._answer(connector, rec[ATTEMPT], 0, SAFE)
        wanted = tuple(d for d in devices if d[1] != rec[BY])
        return self._copies(connector, rec, Plan(0.0, to, wanted, "", ()))

    def _copies(self, connector: int, rec: Record, plan: Plan) -> None:
        """Make every copy and send it on its way; with none to make, the author's own device has all there is."""
        flags = rec[FLAGS]
        if flags & _KINDS == QUIET:
            hides = self._hiding.get(plan.author)
            if hides is None:
                return self._wait(_hides(plan.author), connector, rec)
            if hides.value:
                plan = plan._replace(devices=())
            if self._archive.keeps:
                self._archive.read(rec, plan.user, bool(plan.devices))
        self.routed += 1
        _, user, devices, author, others, friends, audience = plan
        count = len(devices) + len(others)
        kept = self._archive.keeps and not flags & _UNKEPT
        if kept:
            count += 1
        if not count:
            return self._answer(connector, rec[ATTEMPT], 0, SAFE)
        if not friends and flags & UNSEEN:
            flags |= QUIET
        flags &= _OF_COPIES
        if flags & TRACED:
            self._trace(connector, rec, plan)
        index = 0
        if others:
            flags |= OTHERS
            where = self._presence.where(author)
            for device, key in others:
                self._copy(connector, rec, flags | OWN, index, count, author, device, key, where.get(device), author)
                index += 1
        where = self._presence.where(user)
        for device, key in devices:
            self._copy(connector, rec, flags, index, count, user, device, key, where.get(device), author)
            index += 1
        if kept:
            self._archive.add(connector, rec, flags, index, count, user, audience)
        return None

    def _trace(self, connector: int, rec: Record, plan: Plan) -> None:
        for user, devices in ((plan.author, plan.others), (plan.user, plan.devices)):
            where = self._presence.where(user)
            for device, key in devices:
                location = where.get(device)
                to = "the inbox" if location is None else "connector {:016x}, session {:016x}".format(*location)
                self._turn.traces.append((connector, rec[ATTEMPT], f"a copy for {key.decode()} goes to {to}"))

    def _copy(
        self,
        origin: int,
        rec: Record,
        flags: int,
        index: int,
        count: int,
        user: str,
        device: str,
        key: bytes,
        location: Location | None,
        author: str,
    ) -> None:
        attempt, body = rec[ATTEMPT], rec[BODY]
        if location is None:
            copy: Record = (COPY, flags, index, count, key, b"", origin, attempt, 0, body)
            self._storage.add(Storing(copy, user, device, 0, author))
            return
        connector, session = location
        head = HEADER.pack(COPY, flags, index, count, len(key), 0, origin, attempt, session, len(body))
        waiting = self._turn.out.get(connector)
        if waiting is None:
            waiting = self._turn.out[connector] = []
        waiting.append(b"".join((head, key, body)))

    def _answer(self, connector: int, attempt: int, count: int, state: int) -> None:
        if state != SAFE:
            self.refused[state] += 1
        body = OUTCOME.pack(attempt, 0, count, state)
        self._turn.push(connector, record(OUTCOMES, origin=connector, body=body))

    # Waiting for a list of devices, or for a verdict.

    def _wait(self, key: Hashable, connector: int, rec: Record) -> None:
        if self._waiting_count >= self._settings.max_waiting_routes:
            return self._answer(connector, rec[ATTEMPT], 0, UNAVAILABLE)
        self._waiting_count += 1
        self._waiting.setdefault(key, []).append((connector, rec))
        return None

    def _read_hiding(self, users: Iterable[str], ok: bool) -> None:
        self._read(map(_hides, users), ok)

    def _read(self, keys: Iterable[Hashable], ok: bool) -> None:
        for key in keys:
            waiting = self._waiting.pop(key, ())
            self._waiting_count -= len(waiting)
            for connector, rec in waiting:
                if ok:
                    self.route(connector, rec)
                else:
                    self._answer(connector, rec[ATTEMPT], 0, UNAVAILABLE)

    def check(self) -> None:
        """Assert that as many wait as are counted."""
        waiting = sum(len(routes) for routes in self._waiting.values())
        assert self._waiting_count == waiting, f"{self._waiting_count} routes are counted, and {waiting} wait"

    @property
    def waiting(self) -> int:
        """Messages that wait for something to be read."""
        return self._waiting_count


def _or_common(user: str, devices: DeviceList) -> DeviceList:
    """Where a message for this user goes: before there is any device, into the common queue."""
    return devices or ((COMMON, address(user, COMMON)),)


def _hides(user: str) -> Hashable:
    """The key of what waits to know whether a user hides; no pair of users, and no user."""
    return user, "hides", ""
