"""The way of a log's lines out of the process: a thread writes them, and nobody who logs ever waits for it.

Owns what waits to be written, within bounds, and the count of what found no room. Knows no format.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

Line: TypeAlias = tuple[logging.LogRecord, str]
Write: TypeAlias = Callable[[Sequence[Line]], int]
"""Writes lines, and may take as long as it wants; returns how many could not be written."""

MAX_WAITING_BYTES = 4 * 1024 * 1024
_BYTES_BESIDE = 1024
"""What a record takes beside its text."""
END_S = 1.0
"""A process that ends waits so long for its last lines."""


class BackgroundHandler(logging.Handler):
    """Hands records to a thread. While what takes them stands still (a journal, or whoever should read standard error),
    so many bytes wait; whatever finds no room is dropped and counted, and the log says so as soon as it can."""

    def __init__(self, write: Write) -> None:
        super().__init__()
        self._write = write
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        """With nothing in hand, as in a new process: what waits in the one before is that one's to write."""
        self.dropped = self._told = 0
        """Lines that were not written; of how many the log has told."""
        self._changed = threading.Condition()
        self._waiting: list[Line] = []
        self._bytes = 0
        self._busy = False
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; what it is made of may change from now on."""
        try:
            text = self.format(record)
        except Exception:
            return self.handleError(record)
        size = len(text) + _BYTES_BESIDE
        with self._changed:
            if self._bytes + size > MAX_WAITING_BYTES:
                self.dropped += 1
                return None
            self._bytes += size
            self._waiting.append((record, text))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            self._changed.notify()
        return None

    def _run(self) -> None:
        me = threading.current_thread()
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                while not self._waiting:
                    if self._thread is not me:
                        return
                    self._changed.wait()
                lines, self._waiting, self._busy = self._waiting, [], True
            self._write_out(lines)

    def _write_out(self, lines: list[Line]) -> None:
        lost = self._write(lines)
        with self._changed:
            # Room is made when they are out: until then they are in memory.
            self._bytes -= sum(len(text) + _BYTES_BESIDE for _, text in lines)
            self.dropped += lost
            dropped = self._told if lost or self._waiting else self.dropped
        if dropped > self._told:
            record = _record(f"{dropped - self._told} lines of the log were dropped: nobody took them")
            self._told = dropped
            self._write([(record, self.format(record))])

    def flush(self) -> None:
        """Return when all is written, or after a second."""
        until = time.monotonic() + END_S
        with self._changed:
            while (self._waiting or self._busy) and (left_s := until - time.monotonic()) > 0:
                self._changed.wait(left_s)

    def close(self) -> None:
        """Write what waits, if it can be written."""
        self.flush()
        with self._changed:
            self._thread = None
            self._changed.notify_all()
        super().close()


def dropped() -> int:
    """Lines of this process's log that were not written."""
    return sum(each.dropped for each in logging.getLogger().handlers if isinstance(each, BackgroundHandler))


def write_to_stderr(lines: Sequence[Line]) -> int:
    """Write lines to standard error, past Python's buffers: a thread that waited with one of these in hand would hold
    up whoever else prints there, and the end of the process. Returns how many could not be written."""
    data = memoryview("".join(f"{text}\n" for _, text in lines).encode(errors="backslashreplace"))
    try:
        file = sys.stderr.fileno()
        while data:
            try:
                data = data[os.write(file, data) :]
            except BlockingIOError:
                select.select((), (file,), ())
    except (AttributeError, OSError, ValueError):  # there is none, it is closed, or its disk is full
        return len(lines)
    return 0


def _record(text: str) -> logging.LogRecord:
    return logging.LogRecord("sparrow", logging.WARNING, __file__, 0, text, (), None)
