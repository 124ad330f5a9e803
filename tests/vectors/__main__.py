"""Writes anew what follows from the vectors' meanings: hex of canonical frames, answers in dialogues, the example.

Outcomes, streams and bad frames are what the protocol says, not what our code does: they are written by hand.
"""

from __future__ import annotations

from tests.vectors import example
from tests.vectors.dialogues import play
from tests.vectors.files import Json, delimited, dump, load

LONG = 200
"""A byte repeated more often than this is written as such."""


def main() -> None:
    """Rewrite the files; `git diff` then shows what changed."""
    frames = load("frames")
    for vector in frames:
        if vector.get("canonical", True):
            vector["hex"] = _hex(delimited(vector["frame"]))
    dump("frames", frames)
    for name in ("bad_frames", "refused_frames", "unreadable_frames", "streams"):
        dump(name, load(name))
    dump("dialogues", [{**dialogue, "steps": play(dialogue)} for dialogue in load("dialogues")])
    example.write()


def _hex(data: bytes) -> Json:
    """Hex, with one long run of a byte, if there is one, as a repetition."""
    for byte in set(data) if len(data) > LONG else ():
        run = bytes([byte]) * LONG
        start = data.find(run)
        if start >= 0:
            end = len(data) - len(data[start:].lstrip(bytes([byte])))
            head, tail = data[:start].hex(), data[end:].hex()
            repeated: Json = {"repeat": f"{byte:02x}", "times": end - start}
            return [head, repeated, *([tail] if tail else [])]
    return data.hex()


if __name__ == "__main__":
    main()
