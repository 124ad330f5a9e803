"""The note of the newest good backup, in the folder of backups: `sparrow backup` writes it, monitors read it.

Owns its name and form.
"""

from __future__ import annotations

import json
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
