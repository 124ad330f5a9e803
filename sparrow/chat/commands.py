"""What can be typed behind a slash: one table, of which /help and the completion are made.

Owns the commands. What they do to the chat goes through its methods; what they ask the user API, through the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TypeAlias

from client import TEXT, Contact, Friend, Message, Profile
from client.api.files import Told
from client.api.local import safe_name
from protocol.errors import MisuseError
from protocol.ids import stamp_ms
from sparrow.chat.chat import Chat
from sparrow.chat.model import Line
from sparrow.chat.text import HELP_END, date, short, who

Run: TypeAlias = "Callable[[Chat, str], Awaitable[None]]"


class Takes(Enum):
    """What stands behind a command, and can be completed."""

    NOTHING = auto()
    TEXT = auto()
    NAME = auto()
    PATH = auto()
    FILE = auto()


@dataclass(frozen=True, slots=True)
class Command:
    """One of them."""

    name: str
    argument: str
    """What people read; in brackets, if it may be left out."""
    text: str
    takes: Takes
    run: Run
    beside: str = ""
    """In /help it stands in the row of this one."""

    @property
    def usage(self) -> str:
        """How it is typed."""
        return f"/{self.name} {self.argument}".rstrip()


OLDER_LINES = 20
COMMANDS: dict[str, Command] = {}
"""Name → command, in the order in which /help has them."""
_SHORTER = {"q": "quit", "exit": "quit"}


def command(argument: str, takes: Takes, text: str, beside: str = "") -> Callable[[Run], Run]:
    """Put a function into the table, under its own name."""

    def put(run: Run) -> Run:
        name = run.__name__.strip("_").replace("_", "-")
        COMMANDS[name] = Command(name, argument, text, takes, run, beside)
        return run

    return put


async def obey(chat: Chat, typed: str) -> None:
    """Do what was typed behind the slash. Raises `SparrowError`."""
    name, _, argument = typed.partition(" ")
    found = COMMANDS.get(_SHORTER.get(name, name))
    if found is None:
        raise MisuseError(f"there is no command /{short(name, 20)}; /help names all")
    argument = argument.strip()
    if not argument and found.argument and not found.argument.startswith("["):
        raise MisuseError(f"{_MISSING.get(found.takes, 'what?')} {found.usage}")
    await found.run(chat, argument)


_MISSING = {Takes.NAME: "whom?", Takes.PATH: "which file?"}


def help_text() -> str:
    """What /help says."""
    width = max(len(each.usage) for each in COMMANDS.values()) + 2
    rows = {name: each.usage.ljust(width) + each.text for name, each in COMMANDS.items() if not each.beside}
    for each in COMMANDS.values():
        if each.beside:
            rows[each.beside] += f" · {each.usage}: {each.text}"
    return "\n".join([*rows.values(), *HELP_END])


# Conversations.


@command("NAME", Takes.NAME, "talk to NAME; @NAME text: and say this")
async def _to(chat: Chat, name: str) -> None:
    await chat.talk_to(name)


@command("", Takes.NOTHING, "conversations, and what is new in them")
async def _who(chat: Chat, _: str) -> None:
    found = chat.model.latest()
    lines = [f"{each.peer}: {each.unread_count} new" if each.unread_count else each.peer for each in found]
    chat.notice("\n".join(lines) or "nobody yet: /to NAME begins a conversation")


@command("[N]", Takes.TEXT, "N older lines of this conversation (20)")
async def _history(chat: Chat, argument: str) -> None:
    count = _number(argument, "history") if argument else OLDER_LINES
    await chat.back(count)


@command("[-N] TEXT", Takes.TEXT, "your last message here (-2: the one before it) says TEXT from now on")
async def _edit(chat: Chat, argument: str) -> None:
    back, text = _which(argument)
    if not text:
        raise MisuseError(f"what is it to say? {COMMANDS['edit'].usage}")
    line = _ours(chat, back, TEXT)
    await chat.client.edit(line.peer, line.device, line.stream, line.id, text)
    _wait(chat)


@command("[-N]", Takes.TEXT, "your last message here is no more, for both of you")
async def _erase(chat: Chat, argument: str) -> None:
    back, rest = _which(argument)
    if rest:
        raise MisuseError(f"which one? {COMMANDS['erase'].usage}")
    line = _ours(chat, back)
    await chat.client.erase(line.peer, line.device, line.stream, line.id)
    _wait(chat)


def _which(argument: str) -> tuple[int, str]:
    """How far back, and the rest."""
    first, _, rest = argument.partition(" ")
    if first[:1] == "-" and first[1:].isascii() and first[1:].isdecimal() and len(first) < 8:
        return int(first), rest.strip()
    return -1, argument


def _ours(chat: Chat, back: int, kind: int | None = None) -> Line:
    if chat.current is None:
        raise MisuseError("to whom? /to NAME first")
    line = chat.current.ours(-back, kind)
    if line is None:
        raise MisuseError("there is no such message of yours in this conversation")
    if not line.stream:
        raise MisuseError("it has not been sent yet: wait until there is a connection")
    return line


def _wait(chat: Chat) -> None:
    if not chat.connected:
        chat.notice("that is done when there is a connection")


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text[:8]) > 0 and len(text) < 8):
        raise MisuseError(f"how many? {COMMANDS[name].usage}")
    return int(text)


@command("WORDS", Takes.TEXT, "what was said with these words, in this conversation")
async def _find(chat: Chat, words: str) -> None:
    if chat.current is not None:
        found = await (await chat.client.conversations.of(chat.current.peer)).find(words)
    else:
        found = await chat.client.conversations.find(words)
    chat.notice("\n".join(map(_found_line, reversed(found))) or f"nothing with {short(words)}")


def _found_line(message: Message) -> str:
    return f"{date(stamp_ms(message.wire.stamp))} {who(message.sender)} to {who(message.dest)}: {short(message.text)}"


@command("[send|drop]", Takes.TEXT, "what may have been sent already: send it here again, or drop it")
async def _unsent(chat: Chat, what: str) -> None:
    peer = chat.current.peer if chat.current is not None else ""
    found = [each for each in chat.client.doubtful if not what or each.dest == peer]
    if what not in ("", "send", "drop"):
        raise MisuseError(f"what? {COMMANDS['unsent'].usage}")
    if not what:
        lines = [f"to {who(each.dest)}: {short(each.text)}" for each in found]
        chat.notice("\n".join(lines) or "nothing: all that you wrote is sent, or on its way")
        return
    for sending in found:
        await (chat.client.send_again if what == "send" else chat.client.give_up)(sending)
    chat.notice(f"{len(found)} {'sent again' if what == 'send' else 'dropped'}")


# Files.


@command("PATH", Takes.PATH, "send a file to whom you talk to")
async def _file(chat: Chat, path: str) -> None:
    if chat.current is None:
        raise MisuseError("to whom? /to NAME first")
    peer, source = chat.current.peer, _path(path)

    async def send(progress: Told) -> None:
        chat.sent(await chat.client.send_file(peer, source, progress=progress))

    chat.transfers.start(source.name, up=True, work=send)


@command("[N] [PATH]", Takes.FILE, "keep this conversation's file N (the last one) here, or as or in PATH")
async def _save(chat: Chat, argument: str) -> None:
    line, path = _file_and_path(chat, argument)
    reference = line.file
    assert reference is not None

    async def save(progress: Told) -> None:
        made = await chat.client.files.download(reference, path, progress=progress)
        chat.notice(f"{short(reference.name)} is saved as {made}")

    chat.transfers.start(reference.name, up=False, work=save)


def _file_and_path(chat: Chat, argument: str) -> tuple[Line, Path]:
    """Which file of this conversation, by its number or its name, and where to. Raises `MisuseError`."""
    if chat.current is None:
        raise MisuseError("whose? /to NAME first: files are numbered in their conversation")
    files = chat.current.files
    if not files:
        raise MisuseError("there is no file in this conversation")
    first, _, rest = argument.partition(" ")
    # What is a number is one, whatever somebody has called a file.
    if first.isascii() and first.isdecimal():
        number = int(first) if len(first) < 9 else 0
        if number not in files:
            raise MisuseError(
                f"there is no file {short(first, 20)} in this conversation: a file's line says its number"
            )
        return files[number], _path(rest.strip())
    by_name = {safe_name(line.file.name): line for line in files.values() if line.file is not None}
    if argument in by_name:
        return by_name[argument], Path()
    if first in by_name:
        return by_name[first], _path(rest.strip())
    theirs = [number for number, line in files.items() if not line.mine]
    return files[max(theirs or files)], _path(argument)


def _path(text: str) -> Path:
    """As it was typed. Raises `MisuseError`."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise MisuseError(f"{short(text)}: there is no such user on this machine") from None


@command("", Takes.NOTHING, "give up what is being sent and saved")
async def _cancel(chat: Chat, _: str) -> None:
    chat.notice(f"{chat.transfers.cancel()} given up")


# People.


@command("", Takes.NOTHING, "friends, who of them is online, and who waits for an answer")
async def _friends(chat: Chat, _: str) -> None:
    contacts = chat.client.contacts
    friends, requests, blocks = await asyncio.gather(contacts.friends(), contacts.requests(), contacts.blocks())
    lines = [_friend(each) for each in friends]
    lines += [f"{each.user} asks to be your friend: /accept {each.user}" for each in requests if each.asks]
    lines += [f"{each.user} has not answered yet" for each in requests if each.asked]
    lines += [f"{each.user} is blocked" for each in blocks]
    chat.notice("\n".join(lines) or "nobody yet: /add NAME asks somebody")


def _friend(friend: Friend) -> str:
    if friend.online:
        return f"{friend.user}: online"
    if friend.last_seen_ms:
        return f"{friend.user}: last seen {date(friend.last_seen_ms)}"
    return friend.user


async def _change(chat: Chat, change: Awaitable[Contact], said: str) -> None:
    contact = await change
    chat.people.changed(contact)
    chat.notice(f"{contact.user} {said}")


@command("NAME", Takes.NAME, "ask NAME to be your friend")
async def _add(chat: Chat, name: str) -> None:
    contact = await chat.client.contacts.ask(name)
    chat.people.changed(contact)
    chat.notice(f"{name} is your friend now" if contact.friend else f"{name} is asked to be your friend")


@command("NAME", Takes.NAME, "be friends with NAME, who has asked")
async def _accept(chat: Chat, name: str) -> None:
    await _change(chat, chat.client.contacts.accept(name), "is your friend now")


@command("NAME", Takes.NAME, "do not", "accept")
async def _decline(chat: Chat, name: str) -> None:
    await _change(chat, chat.client.contacts.decline(name), "is not asked, and does not ask, to be a friend")


@command("NAME", Takes.NAME, "be friends no more", "add")
async def _unfriend(chat: Chat, name: str) -> None:
    await _change(chat, chat.client.contacts.unfriend(name), "is your friend no more")


@command("NAME", Takes.NAME, "no message goes from or to NAME")
async def _block(chat: Chat, name: str) -> None:
    await _change(chat, chat.client.contacts.block(name), "is blocked")


@command("NAME", Takes.NAME, "no more", "block")
async def _unblock(chat: Chat, name: str) -> None:
    await _change(chat, chat.client.contacts.unblock(name), "is not blocked")


@command("PREFIX", Takes.TEXT, "users whose names begin so")
async def _search(chat: Chat, prefix: str) -> None:
    found = await chat.client.profiles.search(prefix)
    chat.notice("\n".join(map(_profile_line, found)) or f"nobody's name begins with {short(prefix)}")


@command("[NAME]", Takes.NAME, "what people see of NAME, or of you")
async def _profile(chat: Chat, name: str) -> None:
    chat.notice(_profile_line(await chat.client.profiles.of(name or chat.model.user)))


def _profile_line(profile: Profile) -> str:
    # What people call themselves is a stranger's text.
    return f"{profile.user} ({short(profile.display_name)})" if profile.display_name else profile.user


# Oneself.


@command("TEXT", Takes.TEXT, "what people see as your name")
async def _name(chat: Chat, text: str) -> None:
    chat.notice(f"you are {_profile_line(await chat.client.profiles.change(display_name=text))}")


@command("", Takes.NOTHING, "your devices")
async def _devices(chat: Chat, _: str) -> None:
    lines = []
    for device in await chat.client.devices.list():
        marks = ["this one"] * device.current + ["logged out"] * (not device.logged_in)
        about = [short(device.label) or "no label", f"since {date(device.created_ms)}", *marks]
        lines.append(f"{device.device}: {', '.join(about)}")
    chat.notice("\n".join(lines))


@command("ID", Takes.TEXT, "remove another", "devices")
async def _remove_device(chat: Chat, device: str) -> None:
    if device == chat.client.device:
        raise MisuseError("this is the device that you are at: remove it from another")
    await chat.client.devices.remove(device)
    chat.notice(f"device {device} is removed")


@command("", Takes.NOTHING, "this. Tab completes, page up and down leaf through")
async def _help(chat: Chat, _: str) -> None:
    chat.notice(help_text())


@command("", Takes.NOTHING, "leave (Ctrl-D and Ctrl-C do, too)")
async def _quit(chat: Chat, _: str) -> None:
    running = len(chat.transfers.running)
    if running:
        raise MisuseError(f"files are on their way ({running}): wait, or /cancel them; Ctrl-C leaves at once")
    chat.quit()
