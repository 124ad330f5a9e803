"""What folders of backups have alike, whatever is in them: the note of the newest good one, and how many stay.

Owns the note's name and form: `sparrow backup` and `sparrow snapshot` write it, monitors read it.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from sparrow.ops.newfiles import created, errors_of

NOTE = "newest-good.json"


@dataclass(frozen=True, slots=True)
class Good:
    """The newest archive that was tried out."""

    file: str
    made_s: float
    """Unix time."""
    bytes: int


def note(folder: Path, good: Good) -> None:
    """Put it in the place of the one before. Raises `LocalFileError`."""
    draft = folder / f".{NOTE}"
    draft.unlink(missing_ok=True)
    with errors_of(draft), created(draft) as out:
        out.write(json.dumps(asdict(good)).encode())
    draft.replace(folder / NOTE)


def newest_good(folder: Path) -> Good | None:
    """What was noted last; None where there is nothing that can be read."""
    try:
        found = json.loads((folder / NOTE).read_bytes())
        return Good(str(found["file"]), float(found["made_s"]), int(found["bytes"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_newest(folder: Path, ours: re.Pattern[str], keep: int) -> None:
    """Remove all but the newest of those whose names are `ours`, which say when they were made; tell which."""
    for old in sorted(path for path in folder.iterdir() if ours.fullmatch(path.name))[:-keep]:
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink()
        print(f"removed: {old}")
