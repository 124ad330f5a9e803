"""`sparrow chat`: a chat for the terminal, made of the client library.

Owns the command, from its arguments to its end.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys

from client import Client, Options
from protocol.errors import TokenRejectedError
from protocol.ids import check_user_id
from sparrow.chat import account
from sparrow.chat.account import SignIn, SignInOptions, Terminal
from sparrow.chat.chat import Chat, View
from sparrow.chat.commands import obey
from sparrow.chat.groups import MARK

HISTORY_LINES = 20_000
"""Kept in the state file, of all conversations together."""
OPTIONS = Options(close_timeout_s=2.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sparrow chat`."""
    account.add_arguments(parser)
    parser.add_argument(
        "--to", metavar="NAME", help="whom, or in which ~GROUP, to talk to first (default: the latest conversation)"
    )
    parser.add_argument("--plain", action="store_true", help="line in, line out: for pipes and simple terminals")


def run(options: argparse.Namespace) -> int:
    """Chat until it is enough. Raises `SparrowError`."""
    who = account.account_of(options, os.environ)
    if options.to is not None and not options.to.startswith(MARK):
        check_user_id(options.to)
    plain = options.plain or not sys.stdin.isatty() or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb"
    sign_in = SignIn(who, Terminal())
    sign_in.run()
    while True:
        try:
            asyncio.run(_chat(who, options.to, plain))
            return 0
        except TokenRejectedError:
            # It was kept for too long.
            sign_in.run(again=True)


async def _chat(who: SignInOptions, to: str | None, plain: bool) -> None:
    view = _view(plain)
    chat = Chat(who.user, view, obey)
    loop = asyncio.get_running_loop()
    # Nothing may be written across the screen.
    logging.getLogger().handlers[:] = [_Notices(view)]
    loop.set_exception_handler(lambda _, context: view.notice(str(context.get("exception") or context["message"])))
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        loop.add_signal_handler(number, view.stop)
    client = Client(
        who.user,
        password=who.password,
        api=who.api,
        ca=who.ca,
        state=who.state,
        history=HISTORY_LINES,
        name="sparrow-chat",
        on_event=chat.happened,
        background=True,
        options=OPTIONS,
    )
    async with client:
        chat.begin(client, to)
        await _until_enough(chat, view)
    if chat.error is not None:
        raise chat.error


def _view(plain: bool) -> View:
    if plain:
        from sparrow.chat.plain import PlainView

        return PlainView()
    from sparrow.chat.screen import Screen

    return Screen()


async def _until_enough(chat: Chat, view: View) -> None:
    viewing, working = asyncio.create_task(view.run(chat)), asyncio.create_task(chat.run())
    try:
        await asyncio.wait([viewing, working], return_when=asyncio.FIRST_COMPLETED)
        view.stop()
        await asyncio.wait([viewing])
    finally:
        working.cancel()
        await asyncio.wait([working])
    for task in (viewing, working):
        if not task.cancelled():
            task.result()


class _Notices(logging.Handler):
    """Warnings, where they do not hurt."""

    def __init__(self, view: View) -> None:
        super().__init__(logging.WARNING)
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self._view.notice(record.getMessage())
