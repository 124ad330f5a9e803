"""What Schemathesis cannot do by itself: bodies that are bytes. Loaded by it, in a process of its own."""

from __future__ import annotations

from typing import Any

import schemathesis

from userapi.endpoints.files import CHUNK


@schemathesis.serializer(CHUNK)
def as_bytes(context: schemathesis.SerializationContext, value: Any) -> bytes:
    """The bytes of what it has drawn for `format: binary`."""
    data = getattr(value, "data", value)
    return data if isinstance(data, bytes) else str(data).encode()
