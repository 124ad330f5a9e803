"""Logging of a process: one line an event, on the standard error stream.

Owns the format. What is worth a line is decided where it happens.
"""

from __future__ import annotations

import logging

from sparrow.settings import LogSettings


def set_up(settings: LogSettings) -> None:
    """Call once, at the start of a process."""
    logging.basicConfig(
        level=settings.level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
