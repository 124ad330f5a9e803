"""The chat, line in and line out: for pipes, scripts, and terminals that can do no more.

Owns standard input and output. Lines that begin with `-- ` are no messages.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
import threading
import weakref

from client import State
from sparrow.chat.chat import Chat
from sparrow.chat.conversation import Conversation, Line
from sparrow.chat.text import bar, bare, date, one_line, short, who
from sparrow.chat.transfers import Transfer

RECENT_LINES = 20
"""Shown of a conversation that is opened."""
FINISH_S = 10.0
"""How long the end of the input waits for messages to become safe."""

_WORDS = {
    State.QUEUED: "waiting",
    State.SENT: "sent",
    State.DELIVERED: "delivered",
    State.READ: "read",
    State.FAILED: "failed",
}


class PlainView:
    """See `chat.View`."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()
        self._said = ""
        self._shown: weakref.WeakSet[Line] = weakref.WeakSet()
        self._quarters: weakref.WeakKeyDictionary[Transfer, int] = weakref.WeakKeyDictionary()
        """How much of a transfer was told."""
        self._top: dict[str, Line] = {}
        """The oldest line that was shown of a conversation since it was opened."""
        self._told: weakref.WeakKeyDictionary[Line, State] = weakref.WeakKeyDictionary()

    async def run(self, chat: Chat) -> None:
        """Print what comes and read what is typed, until the input ends or somebody has had enough."""
        self._chat = chat
        lines: asyncio.Queue[str | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        threading.Thread(target=_read_input, args=(loop, lines), name="chat-input", daemon=True).start()
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while not stopping.done():
                reading = asyncio.create_task(lines.get())
                await asyncio.wait([reading, stopping], return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    return
                text = reading.result()
                if text is None:
                    finishing = asyncio.create_task(chat.finish(FINISH_S))
                    await asyncio.wait([finishing, stopping], return_when=asyncio.FIRST_COMPLETED)
                    finishing.cancel()
                    await asyncio.wait([finishing])
                    return
                chat.submit(text)
        finally:
            stopping.cancel()

    def _print(self, text: str) -> None:
        # Not every output can hold every character, and none of ours may be obeyed.
        encoding = sys.stdout.encoding or "utf-8"
        try:
            print(bare(text).encode(encoding, errors="replace").decode(encoding), flush=True)
        except OSError:  # nobody reads any more
            self._stopping.set()

    def refresh(self) -> None:
        """See `View`."""
        if hasattr(self, "_chat") and self._chat.connection != self._said:
            self._said = self._chat.connection
            self._print(f"-- {one_line(self._said)}")

    def opened(self, conversation: Conversation) -> None:
        """See `View`."""
        self._print(f"-- talking to {conversation.label}")
        self._recent(conversation)

    def loaded(self, conversation: Conversation) -> None:
        """See `View`."""
        if conversation.peer not in self._top:
            self._recent(conversation)

    def _recent(self, conversation: Conversation) -> None:
        recent = conversation.lines[-RECENT_LINES:]
        for line in recent:
            if line not in self._shown:
                self.added(line)
        if recent:
            self._top[conversation.peer] = recent[0]

    def above(self, conversation: Conversation) -> int:
        """See `View`."""
        lines, top = conversation.lines, self._top.get(conversation.peer)
        return next((number for number, line in enumerate(lines) if line is top), len(lines))

    def back(self, conversation: Conversation, count: int) -> None:
        """See `View`."""
        end = self.above(conversation)
        lines = conversation.lines[max(0, end - count) : end]
        if not lines:
            self.notice("that is all")
            return
        self._print(f"-- {len(lines)} older, with {conversation.label}")
        for line in lines:
            self._shown.add(line)
            self._print(f"{date(line.at_ms)} {_said(line)}")
        self._print("-- and then what was shown")
        self._top[conversation.peer] = lines[0]

    def amended(self, line: Line) -> None:
        """See `View`."""
        if line in self._shown:
            self._print(f"-- {'erased' if line.erased else 'edited'}: {date(line.at_ms)} {_said(line)}")

    def added(self, line: Line) -> None:
        """See `View`."""
        self._shown.add(line)
        self._print(_said(line))
        if line.mine and line.state != State.QUEUED:
            self.changed(line)

    def changed(self, line: Line) -> None:
        """See `View`."""
        if line not in self._shown:
            return
        if self._told.get(line) == line.state and line.state != State.QUEUED:
            return
        self._told[line] = line.state
        why = f" ({one_line(line.note)})" if line.note else ""
        self._print(f"-- {_WORDS[line.state]}: {short(line.text)}{why}")

    def notice(self, text: str) -> None:
        """See `View`."""
        for line in text.splitlines():
            self._print(f"-- {one_line(line)}")

    def progress(self, transfer: Transfer) -> None:
        """See `View`."""
        quarter = transfer.percent // 25
        if quarter and quarter != self._quarters.get(transfer):
            self._quarters[transfer] = quarter
            self._print(f"-- {'sending' if transfer.up else 'saving'} {short(transfer.name)} {bar(25 * quarter)}")

    def stop(self) -> None:
        """See `View`."""
        self._stopping.set()


def _said(line: Line) -> str:
    late = " (late)" if line.late else ""
    late += " (edited)" if line.edited and not line.erased else ""
    if line.is_change:
        return f"-- {line.label}: {one_line(line.text)}"
    if not line.mine:
        place = f" in {line.label}" if line.author else ""
        return f"{who(line.by)}{place}{late}: {one_line(line.text)}"
    if line.device:
        return f"me, elsewhere, to {line.label}{late}: {one_line(line.text)}"
    return f"me to {line.label}{late}: {one_line(line.text)}"


def _read_input(loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[str | None]) -> None:
    """Read lines in a thread: a file can be waited for no other way."""
    # Not through `sys.stdin`: at the end of the process, Python would trip over the lock that a waiting thread holds.
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest, data = "", b"x"
    try:
        while data:
            data = os.read(0, 65536)
            *whole, rest = (rest + decoder.decode(data, final=not data)).split("\n")
            for line in whole:
                loop.call_soon_threadsafe(lines.put_nowait, line.rstrip("\r"))
        if rest:
            loop.call_soon_threadsafe(lines.put_nowait, rest)
        loop.call_soon_threadsafe(lines.put_nowait, None)
    except OSError:
        loop.call_soon_threadsafe(lines.put_nowait, None)
    except RuntimeError:
        return  # the chat is over, and its loop
