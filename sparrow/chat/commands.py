"""What can be typed behind a slash: one table, of which /help and the completion are made.

Owns the commands. What they do to the chat goes through its methods; what they ask the user API, through the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

from client import TEXT, Contact, Friend, Message, Profile
from client import Conversation as Talk
from client.api.files import Told
from client.api.local import safe_name
from protocol.errors import MisuseError
from protocol.ids import stamp_ms
from sparrow.chat.chat import Chat
from sparrow.chat.conversation import Conversation, Line
from sparrow.chat.group_commands import GROUP_COMMANDS
from sparrow.chat.table import Table, Takes, how_far_back, number
from sparrow.chat.text import HELP_END, date, short, who

OLDER_LINES = 20
COMMANDS = Table()
_SHORTER = {"q": "quit", "exit": "quit"}
command = COMMANDS.put


async def obey(chat: Chat, typed: str) -> None:
    """Do what was typed behind the slash. Raises `SparrowError`."""
    name, _, argument = typed.partition(" ")
    await COMMANDS.obey(chat, _SHORTER.get(name, name), argument)


def help_text() -> str:
    """What /help says."""
    return "\n".join([*COMMANDS.help(), *HELP_END])


# Conversations.


@command("NAME", Takes.PLACE, "talk to NAME, or in ~GROUP; @NAME text: and say this")
async def _to(chat: Chat, name: str) -> None:
    await chat.talk_to(name)


@command("", Takes.NOTHING, "conversations and what is new")
async def _who(chat: Chat, _: str) -> None:
    lines = [_talk(each) for each in chat.model.latest()]
    chat.notice("\n".join(lines) or "nobody yet: /to NAME begins a conversation")


def _talk(talk: Conversation) -> str:
    new = f": {talk.unread_count} new" if talk.unread_count else ""
    return f"{talk.label}{' (muted)' if talk.muted else ''}{new}"


@command("NAME [HOURS]", Takes.PLACE, "no news of it", "who")
async def _mute(chat: Chat, typed: str) -> None:
    name, _, last = typed.rpartition(" ")
    hours = number(last, COMMANDS["mute"].usage) if name and last[:1].isdecimal() else None
    talk = await _talk_with(chat, typed if hours is None else name.strip())
    await talk.mute(None if hours is None else hours * 3600)
    chat.model.conversation(talk.user).muted = True
    chat.notice(
        f"{chat.model.label(talk.user)} is muted{'' if hours is None else f' for {hours} h'}, on all your devices"
    )


@command("NAME", Takes.PLACE, "news again", "history")
async def _unmute(chat: Chat, name: str) -> None:
    talk = await _talk_with(chat, name)
    await talk.unmute()
    chat.model.conversation(talk.user).muted = False
    chat.notice(f"{chat.model.label(talk.user)} is not muted")


async def _talk_with(chat: Chat, name: str) -> Talk:
    return await chat.client.conversations.of(await chat.place(name))


@command("[N]", Takes.TEXT, "N older lines of this conversation (20)")
async def _history(chat: Chat, argument: str) -> None:
    count = number(argument, COMMANDS["history"].usage) if argument else OLDER_LINES
    await chat.back(count)


@command("[-N] TEXT", Takes.TEXT, "your last message here (-2: the one before it) says TEXT from now on")
async def _edit(chat: Chat, argument: str) -> None:
    back, text = how_far_back(argument)
    if not text:
        raise MisuseError(f"what is it to say? {COMMANDS['edit'].usage}")
    line = _ours(chat, back, TEXT)
    await chat.client.edit(line.peer, line.device, line.stream, line.id, text)
    _wait(chat)


@command("[-N]", Takes.TEXT, "your last message here is no more, for all of you")
async def _erase(chat: Chat, argument: str) -> None:
    back, rest = how_far_back(argument)
    if rest:
        raise MisuseError(f"which one? {COMMANDS['erase'].usage}")
    line = _ours(chat, back)
    await chat.client.erase(line.peer, line.device, line.stream, line.id)
    _wait(chat)


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


@command("WORDS", Takes.TEXT, "what was said with these words, in this conversation")
async def _find(chat: Chat, words: str) -> None:
    if chat.current is not None:
        found = await (await chat.client.conversations.of(chat.current.peer)).find(words)
    else:
        found = await chat.client.conversations.find(words)
    lines = [_found_line(message, chat.model.label(message.dest)) for message in reversed(found)]
    chat.notice("\n".join(lines) or f"nothing with {short(words)}")


def _found_line(message: Message, dest: str) -> str:
    return f"{date(stamp_ms(message.wire.stamp))} {who(message.sender)} to {dest}: {short(message.text)}"


@command("[send|drop]", Takes.TEXT, "what may have been sent already: send it here again, or drop it")
async def _unsent(chat: Chat, what: str) -> None:
    peer = chat.current.peer if chat.current is not None else ""
    found = [each for each in chat.client.doubtful if not what or each.dest == peer]
    if what not in ("", "send", "drop"):
        raise MisuseError(f"what? {COMMANDS['unsent'].usage}")
    if not what:
        lines = [f"to {chat.model.label(each.dest)}: {short(each.text)}" for each in found]
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


@command("", Takes.NOTHING, "give up what is on its way", "file")
async def _cancel(chat: Chat, _: str) -> None:
    chat.notice(f"{chat.transfers.cancel()} given up")


# Groups.


@command("[WHAT …]", Takes.GROUP_COMMAND, "your groups; /group help says what one can do with them")
async def _group(chat: Chat, typed: str) -> None:
    name, _, argument = typed.partition(" ")
    await GROUP_COMMANDS.obey(chat, name or "list", argument)


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
    chat.news.people.changed(contact)
    chat.notice(f"{contact.user} {said}")


@command("NAME", Takes.NAME, "ask NAME to be your friend")
async def _add(chat: Chat, name: str) -> None:
    contact = await chat.client.contacts.ask(name)
    chat.news.people.changed(contact)
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
