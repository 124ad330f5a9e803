"""What the rows of an inbox are, for who keeps them (the store) and who gives them to devices (the connector).

Owns these numbers, which stand in databases and in ROWS records (docs/design.md, "Versions").
"""

from __future__ import annotations

from enum import IntEnum


class RowKind(IntEnum):
    """What a row's body is."""

    MESSAGE = 1  # an encoded `Message`
    RECEIPT = 2  # an encoded `Receipt`
