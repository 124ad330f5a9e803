"""Logging of a process: one line an event, to the journal if that is where standard error goes, else to standard error.

Owns the format. What is worth a line is decided where it happens; writing is `log_writer`'s.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence

from logging_journald import JournaldTransport, check_journal_stream

from sparrow.config.settings import LogSettings
from sparrow.ops.log_writer import BackgroundHandler, Line, write_to_stderr

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))
"""Levels and the journal's priorities for them, as syslog(3) has them."""


class _JournalHandler(BackgroundHandler):
    """Writes to the journal: level, logger and facts are fields there (https://systemd.io/JOURNAL_NATIVE_PROTOCOL)."""

    def __init__(self) -> None:
        super().__init__(self._send)
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        # Not connected: the socket is another one after journald was started again.
        self._journal = JournaldTransport(connected=False)

    def _send(self, lines: Sequence[Line]) -> int:
        """Write lines; what the journal does not take goes to standard error. Returns how many that did not take."""
        lost = 0
        for record, text in lines:
            try:
                self._journal.send(_fields(record, text))
            except OSError:
                lost += write_to_stderr([(record, text)])
        return lost


def _fields(record: logging.LogRecord, text: str) -> Iterator[tuple[str, str | int]]:
    yield "MESSAGE", _writable(text)
    yield "PRIORITY", next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
    yield "SYSLOG_IDENTIFIER", "sparrow"
    yield "LOGGER", record.name
    yield "CODE_FILE", record.pathname
    yield "CODE_LINE", record.lineno
    yield "CODE_FUNC", record.funcName
    for name, value in getattr(record, "facts", {}).items():
        yield f"SPARROW_{name.upper()}", _writable(value) if isinstance(value, str) else value


def _writable(text: str) -> str:
    """Without half surrogates, which are no UTF-8."""
    return text.encode(errors="backslashreplace").decode()


class PerSecond(logging.Filter):
    """Lets so many records of a second pass, and counts the others: whoever may log in must not fill a disk."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._second = 0
        self._count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it may pass; the first of a second tells how many could not in the one before."""
        if int(record.created) != self._second:
            left_out = self._count - self._limit
            self._second, self._count = int(record.created), 0
            if left_out > 0:
                logging.getLogger("sparrow").info("%d lines about sessions were left out", left_out)
        self._count += 1
        return self._count <= self._limit


class PerDay(logging.Filter):
    """Lets so many bytes of a day pass, an hour's share at a time, of the lines that it is for; counts the others.

    A share at a time: whoever uses it up hides no more than an hour from who reads the log.
    """

    def __init__(
        self, limit: int, handler: logging.Handler, what: str, concerns: Callable[[logging.LogRecord], bool]
    ) -> None:
        super().__init__()
        self._share = limit // 24
        self._handler = handler
        self._what = what
        self._concerns = concerns
        self._lock = threading.Lock()
        self._hour = -1
        self._bytes = self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it may pass; the first that may not says so, and the next hour how many they were."""
        if not self._concerns(record):
            return True
        size = len(self._handler.format(record).encode(errors="replace")) + 1
        told = ""
        with self._lock:
            hour = int(record.created) // 3600
            if hour != self._hour:
                if self._left_out:
                    told = f"{self._left_out} lines about {self._what} were left out"
                self._hour, self._bytes, self._left_out = hour, 0, 0
            passes = self._bytes + size <= self._share
            if passes:
                self._bytes += size
            else:
                self._left_out += 1
                if self._left_out == 1:
                    told = f"lines about {self._what} are left out from here to the end of the hour: they are too many"
        if told:
            logging.getLogger("sparrow").warning("%s", told)
        return passes


def bound(handler: logging.Handler, settings: LogSettings) -> None:
    """Keep what others can make a handler write within bytes of a day. Its formatter is set before."""
    handler.addFilter(
        PerDay(settings.session_bytes_per_day, handler, "sessions", lambda record: record.name == "sparrow.sessions")
    )
    handler.addFilter(
        PerDay(
            settings.strangers_bytes_per_day,
            handler,
            "what strangers do",
            lambda record: getattr(record, "by_strangers", False),
        )
    )


def set_up(settings: LogSettings) -> None:
    """Call once, at the start of a process."""
    handlers = _handlers()
    logging.basicConfig(level=settings.level.upper(), format=_FORMAT, handlers=handlers, force=True)
    for handler in handlers:
        bound(handler, settings)
    sessions = logging.getLogger("sparrow.sessions")
    sessions.setLevel(logging.NOTSET if settings.session_lines_per_second else logging.WARNING)
    sessions.filters = [PerSecond(settings.session_lines_per_second)]


def fatal(text: str) -> bool:
    """Say in the journal, at its priority, why this process ends; False where the log is not the journal, and then all
    lines of before are out."""
    handlers = logging.getLogger().handlers
    if not any(isinstance(handler, _JournalHandler) for handler in handlers):
        for handler in handlers:
            handler.flush()
        return False
    logging.getLogger("sparrow").critical("%s", text)
    return True


def _handlers() -> list[logging.Handler]:
    with contextlib.suppress(OSError, ValueError):  # no standard error, or a JOURNAL_STREAM that systemd did not set
        if check_journal_stream():
            return [_JournalHandler()]
    return [BackgroundHandler(write_to_stderr)]
