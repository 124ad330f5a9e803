"""A generator process: a crowd that is told what to do by lines of JSON on standard input.

Owns the process. The first line is a `Spec`; each further one names a method of `Crowd` and its arguments, and is
answered by one line. Once a second a line tells how it goes.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from typing import Any

import uvloop

from load.crowd import Crowd
from load.dialects import DIALECTS
from load.groups import GroupCrowd
from load.limits import raise_descriptors
from load.peers.replay import Replayers
from load.readers import Readers
from load.spec import LINE_BYTES, Spec
from protocol.errors import SparrowError

_CROWDS: dict[tuple[str, str], type[Crowd]] = {
    ("history", "sparrow"): Readers,
    ("history", "nats"): Replayers,
    **{("groups", dialect): GroupCrowd for dialect in DIALECTS},
}
"""By scenario and dialect, where it is another than `Crowd`."""


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def _tell(crowd: Crowd) -> None:
    while True:
        await asyncio.sleep(1.0)
        _say({"second": crowd.second()})


async def _listen(reader: asyncio.StreamReader, asked: asyncio.Queue[bytes]) -> None:
    while line := await reader.readline():
        asked.put_nowait(line)


async def _work(crowd: Crowd, asked: asyncio.Queue[bytes]) -> None:
    while True:
        what = json.loads(await asked.get())
        _say({"answer": await getattr(crowd, what.pop("do"))(**what)})


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    spec = Spec.of_json(await reader.readline())
    raise_descriptors(len(spec.accounts))
    crowd = _CROWDS.get((spec.options.scenario, spec.dialect), Crowd)(spec)
    # What lives as long as the run need not be looked through again and again.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    asked: asyncio.Queue[bytes] = asyncio.Queue()
    telling, working = asyncio.create_task(_tell(crowd)), asyncio.create_task(_work(crowd, asked))
    # Nobody waits for an answer any more when the input ends; nor if there cannot be one.
    listening = asyncio.create_task(_listen(reader, asked))
    await asyncio.wait((working, listening), return_when=asyncio.FIRST_COMPLETED)
    for task in (telling, working, listening):
        task.cancel()
    await crowd.close()
    if working.done() and not working.cancelled():
        working.result()


def main() -> int:
    """Run until standard input ends."""
    try:
        uvloop.run(_serve())
    except SparrowError as error:
        _say({"error": str(error)})
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
