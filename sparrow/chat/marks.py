"""How far messages of ours have come that are not here yet: another device has sent them, and its copy is on its way.

Owns their bound: who tells of many loses their own, not what others have told.
"""

from __future__ import annotations

from client import State

MAX_MARKS = 1000


class Marks:
    """Which messages somebody has told of, by who told; the server's own marks are those of ""."""

    def __init__(self) -> None:
        self._by_peer: dict[str, dict[tuple[int, int], State]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, peer: str, stream: int, number: int, state: State) -> None:
        """`peer` says that this message has come so far; it may have said so before."""
        told = self._by_peer.setdefault(peer, {})
        known = told.pop((stream, number), None)
        self._count += known is None
        told[stream, number] = state if known is None else max(state, known)
        if self._count > MAX_MARKS:
            self._drop(max(self._by_peer, key=lambda each: len(self._by_peer[each])))

    def take(self, peer: str, stream: int, number: int) -> State:
        """How far this message to `peer` has come, as far as anybody has said who may."""
        found = [self._pop(each, (stream, number)) for each in ("", peer)]
        return max(found)

    def _pop(self, peer: str, name: tuple[int, int]) -> State:
        told = self._by_peer.get(peer)
        state = told.pop(name, None) if told is not None else None
        if state is None:
            return State.FAILED
        self._count -= 1
        if not told:
            del self._by_peer[peer]
        return state

    def _drop(self, peer: str) -> None:
        self._pop(peer, next(iter(self._by_peer[peer])))
