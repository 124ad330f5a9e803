"""Fuzzes inbound streams: any arrivals, waits, Syncs, breaks and restarts keep order and once, and little is held.

An input is a program: one byte says what happens, the ones behind it how.
"""

from __future__ import annotations

from collections.abc import Iterator

from protocol.inbound import InboundStream, Shown
from tests.fuzz import runner
from tests.vectors.files import load

WAIT_S = 10.0
ARRIVES, LIVE, SYNCED, RECONNECTS, RESTARTS = range(5)


def corpus() -> list[bytes]:
    """The stream vectors, as programs."""
    return [b"".join(_steps(vector["steps"])) for vector in load("streams")]


def _steps(steps: list[dict[str, object]]) -> Iterator[bytes]:
    kinds = {"live_s": LIVE, "synced": SYNCED, "reconnects": RECONNECTS, "restarts": RESTARTS}
    for step in steps:
        match step.get("arrives"):
            case [int(number), int(settled)]:
                yield bytes((ARRIVES, number % 65536 >> 8, number % 256, min(255, number - settled)))
            case _:
                yield from (bytes((kind, 250)) for key, kind in kinds.items() if key in step)


def one(data: bytes) -> None:
    """One input."""
    receiver = _Receiver()
    at = 0
    while at < len(data):
        operands = data[at + 1 : at + 4].ljust(3, b"\x00")
        kind = data[at] % 5
        at += {ARRIVES: 4, LIVE: 2}.get(kind, 1)
        receiver.step(kind, operands)
    receiver.finish()


class _Receiver:
    def __init__(self) -> None:
        self._stream: InboundStream[int] = InboundStream()
        self._arrived: set[int] = set()
        self._shown: set[int] = set()
        self._highest = 0
        self._syncs = 0
        self._open = False

    def step(self, kind: int, operands: bytes) -> None:
        stream = self._stream
        if kind == ARRIVES:
            self._arrive(int.from_bytes(operands[:2], "big") + 1, operands[2])
        elif kind == LIVE:
            stream.blocked_s += operands[0] / 25 if stream.parked else 0.0
        elif kind == SYNCED and self._open:
            self._open = False
            self._show(stream.synced(self._syncs))
        elif kind == RECONNECTS:
            stream.disconnected()
            self._open = False
        elif kind == RESTARTS:
            self._restart()
        self._check()

    def _arrive(self, number: int, unsettled: int) -> None:
        stream = self._stream
        settled = max(1, number - unsettled)
        dealt_with = number < stream.next and number not in stream.gaps
        shown = stream.receive(number, settled, number)
        assert not dealt_with or not shown, "shows what it has dealt with"
        if not dealt_with:
            self._arrived.add(number)
        self._show(shown)

    def _restart(self) -> None:
        old = self._stream
        self._stream = InboundStream(old.next, old.settled, frozenset(old.gaps))
        for number in old.parked:
            assert self._stream.receive(number, 1, number) == [], "shows what was parked"
        self._open = False

    def _show(self, shown: list[Shown[int]]) -> None:
        for number, late in shown:
            assert number in self._arrived, "shows what never came"
            assert number not in self._shown, "shows something twice"
            assert late == (number < self._highest), "late and out of order are not the same"
            self._shown.add(number)
            self._highest = max(self._highest, number)

    def _check(self) -> None:
        stream = self._stream
        if not self._open and stream.wants_sync(WAIT_S):
            self._syncs += 1
            self._open = True
            stream.asked(self._syncs, WAIT_S)
        parked = set(stream.parked)
        assert self._arrived == self._shown | parked, "loses something"
        assert not self._shown & parked
        assert all(number > stream.next for number in parked), "does not show what it could"
        assert all(gap < stream.next for gap in stream.gaps)
        assert not stream.gaps & self._arrived, "waits for what it has"

    def finish(self) -> None:
        """Time passes, and every Sync is answered: nothing stays parked."""
        for _ in range(3):
            self.step(LIVE, b"\xff")
            self.step(SYNCED, b"")
        assert not self._stream.parked, "is stuck"


if __name__ == "__main__":
    runner.main(one, corpus())
