"""The chain of each device's sessions, kept without Paxos.

A device has a row for each session that no later one has followed yet: one, but for logins at the same moment. A login

1. reads the device's rows (and whether the device exists), and draws a time above all that it sees;
2. writes its own row;
3. reads the rows again: with exactly one other, that is the session before; with several, nobody can say which;
4. in one batch writes the answer into its own row and deletes the others that are older than itself.

All at QUORUM. What must hold is: of all logins that began after session k was answered, at most one is told "k", for
whoever is told so goes on giving ids in k's streams (docs/protocol.md, K4). Say a and b both were told k. The one whose
step 2 ended later, b, must have seen a in step 3, or that somebody, e, had deleted a. Whoever sees that sees the whole
batch: not k, if e deleted k as well; and e, or that somebody later deleted e, and so on. Times rise along that line, so
it ends with a row that b saw besides k. So b was not told k.

Where nobody can say, the answer is the login's own session: no client has kept that, so it draws new streams, which is
always right. Conditional updates would do as well, at about six times the cost.

Owns these statements and the decision, `decide`, which tests run on simulated replicas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from cassandra.query import BatchStatement, BatchType

from store.cassandra.batches import Bound, batches
from store.cassandra.connecting import Connection
from store.cassandra.requests import Requests
from store.interface import SessionStart

_READ = "SELECT user, device, session, at_us, previous_session FROM sessions WHERE user IN ?"
_BEGIN = "INSERT INTO sessions (user, device, session, at_us) VALUES (?, ?, ?, ?) USING TIMESTAMP ?"
_ANSWER = "INSERT INTO sessions (user, device, session, previous_session) VALUES (?, ?, ?, ?) USING TIMESTAMP ?"
_FOLLOWED = "DELETE FROM sessions USING TIMESTAMP ? WHERE user = ? AND device = ? AND session = ?"

_USERS_AT_ONCE = 10
_ROWS_AT_ONCE = 20
_BATCH_BYTES = 4096
_U64 = 1 << 64
_I63 = 1 << 63

Key = tuple[str, str]
"""User and device."""


class SessionRow(NamedTuple):
    """A session that nobody has followed yet, as far as the reader saw."""

    session: int
    at_us: int
    previous: int | None
    """What it was told, once it was."""


class Decision(NamedTuple):
    """What a login is told, and which rows it deletes."""

    previous: int
    followed: tuple[SessionRow, ...]


BEGIN_TS, ANSWER_TS, FOLLOWED_TS = 0, 1, 2
"""Write timestamps of steps 2 and 4, counted from the row's `at_us`: so a write that happens late changes nothing."""


def draw_time(rows: Iterable[SessionRow], now_us: int) -> int:
    """A time for a new session, later than all that it follows, whatever the clocks of brokers say."""
    return max([now_us, *(row.at_us + FOLLOWED_TS + 1 for row in rows)])


def told_before(session: int, rows: Sequence[SessionRow]) -> int | None:
    """What the newest session was told, if that is `session`; None if the login must go on."""
    if len(rows) == 1 and rows[0].session == session:
        return rows[0].previous
    return None


def decide(session: int, rows: Sequence[SessionRow]) -> Decision:
    """Step 3: from the rows of the device, read after the own one was written."""
    mine = next((row for row in rows if row.session == session), None)
    if mine is None:
        return Decision(session, ())  # followed already
    others = [row for row in rows if row.session != session]
    older = tuple([row for row in others if (row.at_us, row.session) < (mine.at_us, mine.session)])
    if not others:
        return Decision(mine.previous or 0, ())
    return Decision(others[0].session if len(others) == 1 else session, older)


class Sessions:
    """The operations on the table `sessions`."""

    def __init__(self, connection: Connection, requests: Requests, clock: Callable[[], float]) -> None:
        self._requests = requests
        self._clock = clock
        self._read = connection.prepare(_READ)
        self._begin = connection.prepare(_BEGIN)
        self._answer = connection.prepare(_ANSWER)
        self._followed = connection.prepare(_FOLLOWED)

    async def begin(self, starts: Sequence[SessionStart]) -> list[int]:
        """Name the newest session of devices that exist; returns the one before of each (0: none)."""
        answers = [0] * len(starts)
        rest = list(enumerate(starts))
        while rest:
            # Of several of one device, one after the other, in their order.
            now: dict[Key, tuple[int, SessionStart]] = {}
            for at, start in rest:
                now.setdefault((start.user, start.device), (at, start))
            told = await self._log_in({key: start.session for key, (_, start) in now.items()})
            for key, (at, _) in now.items():
                answers[at] = told[key]
            done = {at for at, _ in now.values()}
            rest = [entry for entry in rest if entry[0] not in done]
        return answers

    async def _log_in(self, logins: dict[Key, int]) -> dict[Key, int]:
        told: dict[Key, int] = {}
        before = await self._rows(logins)
        begun: dict[Key, int] = {}
        for key, session in logins.items():
            previous = told_before(session, before.get(key, ()))
            if previous is None:
                begun[key] = session
            else:
                told[key] = previous
        now_us = int(self._clock() * 1_000_000)
        times = {key: draw_time(before.get(key, ()), now_us) for key in begun}
        await self._write_begun(begun, times)
        rows = await self._rows(begun)
        decisions = {key: decide(session, rows.get(key, ())) for key, session in begun.items()}
        await self._requests.run(
            [self._deciding(key, session, times[key], decisions[key]) for key, session in begun.items()]
        )
        return told | {key: decision.previous for key, decision in decisions.items()}

    async def _rows(self, keys: Iterable[Key]) -> dict[Key, list[SessionRow]]:
        users = list({user for user, _ in keys})
        chunks = [users[start : start + _USERS_AT_ONCE] for start in range(0, len(users), _USERS_AT_ONCE)]
        found: dict[Key, list[SessionRow]] = {}
        for rows in await self._requests.run([self._read.bind((chunk,)) for chunk in chunks]):
            for user, device, session, at_us, previous in rows:
                before = None if previous is None else previous % _U64
                # Without a time it is a late answer to a session that was followed long ago and forgotten.
                if at_us is not None:
                    found.setdefault((user, device), []).append(SessionRow(session % _U64, at_us, before))
        return found

    async def _write_begun(self, begun: dict[Key, int], times: dict[Key, int]) -> None:
        bound: list[Bound] = [
            ((user, ""), 0, (user, device, _signed(session), at_us, at_us + BEGIN_TS))
            for (user, device), session in begun.items()
            for at_us in (times[user, device],)
        ]
        await self._requests.run(list(batches(self._begin, bound, _ROWS_AT_ONCE, _BATCH_BYTES)))

    def _deciding(self, key: Key, session: int, at_us: int, decision: Decision) -> Any:
        answer = (*key, _signed(session), _signed(decision.previous), at_us + ANSWER_TS)
        batch = BatchStatement(BatchType.UNLOGGED)
        batch.is_idempotent = True
        batch.add(self._answer, answer)
        for row in decision.followed:
            batch.add(self._followed, (row.at_us + FOLLOWED_TS, *key, _signed(row.session)))
        return batch


def _signed(session: int) -> int:
    return session - _U64 if session >= _I63 else session
