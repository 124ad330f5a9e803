"""The chat on a whole terminal: the conversation above, what is typed below, and a status line between.

Owns the screen, while it runs. Knows the chat only as something to ask and to hand lines to.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import (
    BufferControl,
    CompletionsMenu,
    ConditionalContainer,
    Float,
    FloatContainer,
    FormattedTextControl,
    HSplit,
    Layout,
    Window,
)
from prompt_toolkit.layout.processors import BeforeInput
from prompt_toolkit.output import Output
from prompt_toolkit.styles import Style

from protocol.ids import is_group_id
from sparrow.chat.completion import LineCompleter
from sparrow.chat.conversation import Conversation, Line
from sparrow.chat.rows import Rows
from sparrow.chat.text import bar, one_line, short
from sparrow.chat.transfers import Transfer

if TYPE_CHECKING:
    from sparrow.chat.chat import Chat

NOTICE_S = 10.0
"""A notice of one line goes away after this time."""
ROWS_LEFT = 3
"""How many rows of the screen the longest notice leaves."""

STYLE = Style.from_dict(
    {
        "read": "ansibrightblue bold",
        "failed": "ansired bold",
        "dim": "ansibrightblack",
        "me": "ansigreen",
        "peer": "ansicyan",
        "notice": "ansiyellow",
        "status": "reverse",
        "away": "reverse bold",
    }
)


class Screen:
    """See `chat.View`."""

    def __init__(self, *, input: Input | None = None, output: Output | None = None) -> None:
        self._chat: Chat | None = None
        self._stopped = False
        self._notice: list[str] = []
        self._notice_until = 0.0
        self._rows = Rows()
        self._buffer = Buffer(
            multiline=False,
            accept_handler=self._accept,
            on_text_changed=self._typed,
            history=InMemoryHistory(),
            completer=LineCompleter(self._names, self._files, self._groups),
        )
        history = Window(self._rows)
        notice = Window(FormattedTextControl(self._notice_text), dont_extend_height=True, wrap_lines=True)
        transfers = ConditionalContainer(
            Window(FormattedTextControl(self._transfers_text), dont_extend_height=True),
            Condition(lambda: self._chat is not None and bool(self._chat.transfers.running)),
        )
        status = Window(FormattedTextControl(self._status_text), height=1, style="class:status")
        typed = Window(
            BufferControl(self._buffer, input_processors=[BeforeInput(self._prompt)]),
            dont_extend_height=True,
            wrap_lines=True,
        )
        self._application: Application[None] = Application(
            layout=Layout(
                FloatContainer(
                    HSplit([history, notice, transfers, status, typed]),
                    [Float(CompletionsMenu(max_height=8, scroll_offset=1), xcursor=True, ycursor=True)],
                ),
                typed,
            ),
            key_bindings=self._keys(),
            style=STYLE,
            full_screen=True,
            refresh_interval=1.0,
            input=input,
            output=output,
        )
        self._application.ttimeoutlen = 0.05

    async def run(self, chat: Chat) -> None:
        """Draw the screen until somebody has had enough."""
        self._chat = chat
        if self._stopped:
            return
        await self._application.run_async(set_exception_handler=False)

    # Keys.

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("c-c")
        @keys.add("c-d")
        def _quit(event: KeyPressEvent) -> None:
            self.stop()

        @keys.add("pageup")
        def _up(event: KeyPressEvent) -> None:
            if self._rows.up() and self._chat is not None:
                self._chat.wants_older()

        @keys.add("pagedown")
        def _down(event: KeyPressEvent) -> None:
            self._rows.down()

        @keys.add("escape", eager=True)
        def _clear(event: KeyPressEvent) -> None:
            self._notice = []
            self._buffer.cancel_completion()

        return keys

    def _names(self) -> list[str]:
        return [] if self._chat is None else self._chat.news.names()

    def _groups(self) -> list[str]:
        return [] if self._chat is None else self._chat.news.group_names()

    def _files(self) -> list[str]:
        return (
            []
            if self._chat is None or self._chat.current is None
            else [str(number) for number in sorted(self._chat.current.files)]
        )

    def _accept(self, buffer: Buffer) -> bool:
        self._notice = []
        self._rows.to_end()
        if self._chat is not None:
            self._chat.submit(buffer.text)
        return False

    def _typed(self, buffer: Buffer) -> None:
        if self._chat is not None:
            self._chat.typed(buffer.text)

    # What is shown.

    def _notice_text(self) -> StyleAndTextTuples:
        if len(self._notice) == 1 and time.monotonic() > self._notice_until:
            self._notice = []
        rows = max(1, self._application.output.get_size().rows - ROWS_LEFT)
        shown, rest = self._notice[:rows], len(self._notice) - rows
        if rest > 0:
            shown[-1] = f"… ({rest + 1} more lines; sparrow chat --plain shows all)"
        return [("class:notice", "\n".join(shown))]

    def _transfers_text(self) -> StyleAndTextTuples:
        running = [] if self._chat is None else self._chat.transfers.running
        rows = [f"{'↑' if each.up else '↓'} {bar(each.percent)} {short(each.name)}" for each in running]
        return [("class:notice", "\n".join(rows))]

    def _status_text(self) -> StyleAndTextTuples:
        chat = self._chat
        if chat is None:
            return []
        parts: StyleAndTextTuples = [
            ("class:status" if chat.connected else "class:away", f" {short(chat.connection)} ")
        ]
        parts.append(("class:status", f"· {chat.model.user}"))
        typing = chat.typing.shown(chat.current)
        if typing:
            parts.append(("class:status", f" · {typing}"))
        if self._rows.leafing:
            parts.append(("class:status", " · (leafing: page down goes back)"))
        if chat.looking:
            parts.append(("class:status", " · (looking for older messages)"))
        unread = 0 if chat.current is None or chat.current.opened else chat.current.unread_count
        if unread:
            parts.append(("class:away", f" · {unread} not told as read (Enter tells it)"))
        parts.extend(
            ("class:away", f" · {each.label}: {each.unread_count} new (/to {_typed(each)})")
            for each in chat.elsewhere()
        )
        return parts

    def _prompt(self) -> StyleAndTextTuples:
        current = self._chat.current if self._chat is not None else None
        return [("class:peer", f"{current.label}> " if current is not None else "> ")]

    # View.

    def refresh(self) -> None:
        """See `View`."""
        self._application.invalidate()

    def opened(self, conversation: Conversation) -> None:
        """See `View`."""
        self._rows.conversation = conversation
        self._rows.to_end()
        self._notice = []
        self.refresh()

    def added(self, line: Line) -> None:
        """See `View`."""
        self.refresh()

    def changed(self, line: Line) -> None:
        """See `View`."""
        self.refresh()

    def amended(self, line: Line) -> None:
        """See `View`."""
        self.refresh()

    def loaded(self, conversation: Conversation) -> None:
        """See `View`."""
        self.refresh()

    def above(self, conversation: Conversation) -> int:
        """See `View`."""
        return self._rows.above()

    def back(self, conversation: Conversation, count: int) -> None:
        """See `View`."""
        self._rows.up()
        self.refresh()

    def notice(self, text: str) -> None:
        """See `View`."""
        self._notice = [one_line(line) for line in text.splitlines()]
        self._notice_until = time.monotonic() + NOTICE_S
        self._application.invalidate()

    def progress(self, transfer: Transfer) -> None:
        """See `View`."""
        self._application.invalidate()

    def stop(self) -> None:
        """See `View`."""
        self._stopped = True
        if self._application.is_running and not self._application.is_done:
            self._application.exit()


def _typed(conversation: Conversation) -> str:
    """What /to takes."""
    return conversation.label if is_group_id(conversation.peer) else conversation.peer
