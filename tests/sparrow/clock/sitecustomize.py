"""Put this folder on PYTHONPATH, and Python's wall clock is ahead by as many seconds as the file says that
SPARROW_TEST_CLOCK names. Steady clocks, and the machine's, stay as they are."""

import os
import time
from pathlib import Path

_FILE = Path(os.environ["SPARROW_TEST_CLOCK"])
_real, _real_ns = time.time, time.time_ns


def _ahead_s() -> int:
    return int(_FILE.read_text())


time.time = lambda: _real() + _ahead_s()
time.time_ns = lambda: _real_ns() + _ahead_s() * 1_000_000_000
