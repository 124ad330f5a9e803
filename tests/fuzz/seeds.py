"""What fuzzers begin with: the bytes of the conformance vectors.

Owns nothing but the choice.
"""

from __future__ import annotations

from tests.vectors.files import load, unhex

SHORT = 600
"""Longer vectors teach a fuzzer nothing that shorter ones do not."""
CUT = b"\x00\x00"
"""In front of each: how it is cut (`runner.cut`)."""


def frames(sender: str) -> list[bytes]:
    """Frames of `client` or of `server`, good and bad ones, and each side of each dialogue as one stream."""
    found = [
        unhex(vector["hex"])
        for file in ("frames", "bad_frames", "refused_frames", "unreadable_frames")
        for vector in load(file)
        if vector["from"] == sender
    ]
    for dialogue in load("dialogues"):
        sides: dict[str, bytes] = {}
        for step in dialogue["steps"]:
            if step["step"] == sender:
                sides[step["device"]] = sides.get(step["device"], b"") + unhex(step["hex"])
        found += sides.values()
    return [CUT + data for data in found if len(data) <= SHORT]
