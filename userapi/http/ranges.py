"""Which part of a file a request wants: `Range` and `If-Range`, as RFC 9110 has them.

Owns what werkzeug's reading of them leaves open. Knows no file.
"""

from __future__ import annotations

import re

from flask import request

from userapi.http.problems import ProblemError

_NOTHING = re.compile(r"\s*bytes\s*=\s*-0+\s*", re.IGNORECASE)
"""A range of the last 0 bytes, which werkzeug takes for none."""


def wanted_span(size: int, etag: str) -> tuple[int, int] | None:
    """From where to before where; None: all. `etag` is that of the content, `size` its bytes.

    Raises `ProblemError` ("wrong_range").
    """
    # 13.1.5: a strong comparison, and a date is no validator of ours. What they have is no part of this file.
    if request.headers.get("If-Range", etag).strip() != etag:
        return None
    wanted = request.range
    span = None
    if not _NOTHING.fullmatch(request.headers.get("Range", "")):
        if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1:
            return None
        span = _span(*wanted.ranges[0], size)
    if span is None:
        raise ProblemError("wrong_range", headers={"Content-Range": f"bytes */{size}"})
    return span


def _span(first: int, end: int | None, size: int) -> tuple[int, int] | None:
    """None if there is nothing of it."""
    if first < 0:
        # The last so many, and all if there are not so many (14.1.2).
        return (max(0, size + first), size) if size else None
    return (first, min(size if end is None else end, size)) if first < size else None
