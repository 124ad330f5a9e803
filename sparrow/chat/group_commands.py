"""What can be typed behind /group: one table, of which /group help and the completion are made.

Owns these commands. What they ask the user API goes through the client; what may be done there, the server says.
"""

from __future__ import annotations

from typing import Final, cast, get_args

from client import Message
from client.groups import Role
from protocol.errors import MisuseError
from protocol.ids import is_group_id
from sparrow.chat.chat import Chat
from sparrow.chat.conversation import Conversation, Line
from sparrow.chat.groups import MARK, invitation_text, people
from sparrow.chat.table import Table, Takes, how_far_back, number
from sparrow.chat.text import date, short, who

GROUP_COMMANDS = Table("/group ")
command = GROUP_COMMANDS.put

LINK_HOURS: Final = 24
"""A link lives so long, unless something else is asked for."""
LOOK_BACK: Final = 2000
"""So far back a message is looked for that is to be taken down."""
_SETTINGS: Final = {"write": "who_may_write", "add": "who_may_add", "newcomers": "newcomers_see"}
_VALUES: Final = {"write": ("all", "admins"), "add": ("all", "admins"), "newcomers": ("nothing", "history")}


def _here(chat: Chat) -> Conversation:
    """The group that is open. Raises `MisuseError`."""
    current = chat.current
    if current is None or not is_group_id(current.peer):
        raise MisuseError(f"in which group? /to {MARK}NAME first; /group lists yours")
    return current


# Which there are.


@command("", Takes.NOTHING, "your groups, and what is new in them")
async def _list(chat: Chat, _: str) -> None:
    found = await chat.client.groups.list()
    chat.groups.listed(found)
    chat.model.relabel()
    lines = []
    for each in found:
        conversation = chat.model.conversations.get(each.group)
        new = 0 if conversation is None else conversation.unread_count
        about = [each.role or f"left {date(each.left_ms or 0)}", *([f"{new} new"] if new else [])]
        lines.append(f"{chat.groups.label(each.group)}: {', '.join(about)}")
    lines += [invitation_text(each) for each in chat.groups.invitations]
    chat.notice("\n".join(lines) or "no groups yet: /group new NAME makes one")


@command("NAME", Takes.TEXT, "make a group, and talk in it")
async def _new(chat: Chat, name: str) -> None:
    group = await chat.client.groups.make(name)
    chat.group_seen(group)
    await chat.talk_to(group.group)
    chat.notice("you are alone in it: /group add NAME")


@command("", Takes.NOTHING, "what there is to know of this group")
async def _info(chat: Chat, _: str) -> None:
    here = _here(chat)
    group = await chat.client.groups.of(here.peer)
    chat.group_seen(group)
    chat.model.relabel()
    lines = [
        f"{here.label}, {people(len(group.members))}; you are {group.role}",
        f"may write: {group.who_may_write} · may add: {group.who_may_add} · newcomers see {group.newcomers_see}",
        f"made {date(group.created_ms)} · version {group.version} · id {group.group}",
    ]
    chat.notice("\n".join(lines))


@command("NAME", Takes.TEXT, "this group is called NAME")
async def _rename(chat: Chat, name: str) -> None:
    chat.group_seen(await chat.client.groups.change(_here(chat).peer, name=name))
    chat.model.relabel()
    chat.notice("done")


@command("WHAT WHO", Takes.TEXT, "write all|admins, add all|admins, newcomers nothing|history")
async def _set(chat: Chat, argument: str) -> None:
    here = _here(chat)
    what, _, value = argument.partition(" ")
    if what not in _SETTINGS or value.strip() not in _VALUES[what]:
        raise MisuseError(f"what? {GROUP_COMMANDS['set'].usage}: {GROUP_COMMANDS['set'].text}")
    setting = cast("dict[str, object]", {_SETTINGS[what]: value.strip()})
    await chat.client.groups.change(here.peer, **setting)  # type: ignore[arg-type]  # checked above
    chat.notice("done")


# Members.


@command("", Takes.NOTHING, "who is in this group")
async def _members(chat: Chat, _: str) -> None:
    group = await chat.client.groups.of(_here(chat).peer)
    order = {role: number for number, role in enumerate(reversed(get_args(Role)))}
    found = sorted(group.members, key=lambda each: (order.get(each.role, len(order)), each.user))
    names = [who(each.user) + (f" ({each.role})" if each.role != "member" else "") for each in found]
    chat.notice(f"{people(len(names))}: {', '.join(names)}")


@command("NAME", Takes.NAME, "add or ask NAME")
async def _add(chat: Chat, name: str) -> None:
    here = _here(chat)
    member = await chat.client.groups.add(here.peer, name)
    said = "is asked to be" if member is None else "is"
    chat.notice(f"{who(name)} {said} in {here.label}")


@command("NAME", Takes.NAME, "take NAME out", "add")
async def _remove(chat: Chat, name: str) -> None:
    here = _here(chat)
    await chat.client.groups.remove(here.peer, name)
    chat.notice(f"{who(name)} is not in {here.label}")


@command("NAME ROLE", Takes.NAME, "NAME is member, admin or owner from now on")
async def _role(chat: Chat, argument: str) -> None:
    here = _here(chat)
    name, _, role = argument.partition(" ")
    if role.strip() not in get_args(Role):
        raise MisuseError(f"which role? {GROUP_COMMANDS['role'].usage}: member, admin or owner")
    member = await chat.client.groups.set_role(here.peer, name, cast("Role", role.strip()))
    chat.notice(f"{who(member.user)} is {member.role} in {here.label}")


@command("", Takes.NOTHING, "leave this group")
async def _leave(chat: Chat, _: str) -> None:
    here = _here(chat)
    await chat.client.groups.leave(here.peer)
    chat.notice(f"you have left {here.label}")


@command("~NAME", Takes.TEXT, "end it for all", "leave")
async def _close(chat: Chat, name: str) -> None:
    here = _here(chat)
    if name not in (here.label, here.peer):
        raise MisuseError(f"to end this group for all: /group close {here.label}")
    await chat.client.groups.close(here.peer)
    chat.notice(f"{here.label} is closed")


# Invitations and links.


@command("", Takes.NOTHING, "who asks you to be in a group")
async def _invitations(chat: Chat, _: str) -> None:
    found = await chat.client.groups.invitations()
    chat.groups.invited(found)
    chat.notice("\n".join(map(invitation_text, found)) or "nobody asks you")


@command("[GROUP]", Takes.TEXT, "yes")
async def _accept(chat: Chat, argument: str) -> None:
    group = await chat.client.groups.join(await _invitation(chat, argument))
    chat.groups.answered(group.group)
    chat.group_seen(group)
    await chat.talk_to(group.group)


@command("[GROUP]", Takes.TEXT, "no", "accept")
async def _decline(chat: Chat, argument: str) -> None:
    group = await _invitation(chat, argument)
    await chat.client.groups.decline(group)
    chat.groups.answered(group)
    chat.notice("declined")


async def _invitation(chat: Chat, argument: str) -> str:
    chat.groups.invited(await chat.client.groups.invitations())
    return chat.groups.invitation(argument)


@command("[HOURS [USES]]", Takes.TEXT, "make a link: who has its secret may join (24 hours, 1 use)")
async def _link(chat: Chat, argument: str) -> None:
    here, usage = _here(chat), GROUP_COMMANDS["link"].usage
    hours, _, uses = argument.partition(" ")
    link = await chat.client.groups.add_link(
        here.peer,
        number(hours, usage) if hours else LINK_HOURS,
        number(uses.strip(), usage) if uses.strip() else 1,
    )
    until = f"until {date(link.ends_ms)}, {link.uses_left} {'use' if link.uses_left == 1 else 'uses'}"
    chat.notice(f"tell it only to whom you want there: /group join {link.secret} ({until})")


@command("", Takes.NOTHING, "links that still work")
async def _links(chat: Chat, _: str) -> None:
    found = await chat.client.groups.links(_here(chat).peer)
    lines = [f"{each.link}: until {date(each.ends_ms)}, uses left: {each.uses_left}" for each in found]
    chat.notice("\n".join(lines) or "there is none")


@command("ID", Takes.TEXT, "end one", "links")
async def _unlink(chat: Chat, link: str) -> None:
    await chat.client.groups.drop_link(_here(chat).peer, link)
    chat.notice("it works no more")


@command("SECRET", Takes.TEXT, "where a link leads to")
async def _look(chat: Chat, secret: str) -> None:
    found = await chat.client.groups.look(secret)
    chat.notice(f"{MARK}{short(found.name)}, {people(found.members)}: /group join SECRET")


@command("SECRET", Takes.TEXT, "join by it", "look")
async def _join(chat: Chat, secret: str) -> None:
    group = await chat.client.groups.join_by_link(secret)
    chat.group_seen(group)
    await chat.talk_to(group.group)


@command("yes|no", Takes.TEXT, "whether friends may add you to groups without asking")
async def _friends(chat: Chat, answer: str) -> None:
    if answer not in ("yes", "no"):
        raise MisuseError(f"which? {GROUP_COMMANDS['friends'].usage}")
    profile = await chat.client.profiles.change(friends_may_add_me=answer == "yes")
    may = "may add you without asking" if profile.friends_may_add_me else "ask you first"
    chat.notice(f"friends {may}")


# Messages.


@command("[-N]", Takes.TEXT, "who has read your last message (-2: the one before it)")
async def _read(chat: Chat, argument: str) -> None:
    here = _here(chat)
    back, rest = how_far_back(argument)
    if rest:
        raise MisuseError(f"which one? {GROUP_COMMANDS['read'].usage}")
    line = here.ours(-back)
    if line is None:
        raise MisuseError("there is no such message of yours in this group")
    found = await chat.client.groups.read_by(await _message(chat, line))
    names = f": {', '.join(map(who, found.users))}" if found.users else ""
    chat.notice(f"read by {len(found.users)} of {found.of}{names}")


@command("NAME [-N]", Takes.NAME, "as owner: NAME's last message here is no more")
async def _take_down(chat: Chat, argument: str) -> None:
    here = _here(chat)
    name, _, rest = argument.partition(" ")
    back, rest = how_far_back(rest.strip())
    found = [line for line in here.lines if line.author == name and not line.erased and not line.is_change]
    if rest or not 0 < -back <= len(found):
        raise MisuseError(f"there is no such message here: {GROUP_COMMANDS['take-down'].usage}")
    await chat.client.groups.take_down(await _message(chat, found[back]))


async def _message(chat: Chat, line: Line) -> Message:
    """As the client has it. Raises `MisuseError`."""
    author = chat.model.user if line.mine else line.author
    device = line.device or chat.client.device
    looked = 0
    async for message in (await chat.client.conversations.of(line.peer)).backwards():
        if message.name == (author, device, line.stream, line.id):
            return message
        looked += 1
        if looked == LOOK_BACK:
            break
    raise MisuseError("it is not in the history of this group (any more)")


@command("", Takes.NOTHING, "this")
async def _help(chat: Chat, _: str) -> None:
    chat.notice("\n".join(GROUP_COMMANDS.help()))
