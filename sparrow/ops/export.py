"""`sparrow export`: what is kept of one user, straight from the store of either engine.

Owns what belongs to a user, and its two forms: lines to read, and JSON. Changes nothing in the store.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import dataclasses
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from client.api.local import safe_name
from protocol.errors import ChecksumError, NotFoundError
from protocol.ids import STAMP_SHIFT, check_user_id, is_group_id, stamp_ms
from protocol.sparrow_pb2 import Kind, Message, Receipt
from sparrow.chat.text import one_line
from sparrow.ops.newfiles import created, errors_of
from store import Store, StoreSettings, open_store
from store.groups import Group, MyGroup
from store.interface import COMMON, File, PageQuery, Row, RowKind
from store.sqlite.backup import existing
from store.timelines import FOR_EVER_MS, MAX_PAGE, HistoryQuery, Listed, Name, conversation_of
from userapi.endpoints.messages import rendered
from userapi.passwords import keeps_password

if TYPE_CHECKING:
    from sparrow.config.settings import Settings

Json = dict[str, Any]
_AT_ONCE = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sparrow export`."""
    parser.add_argument("user", metavar="USER")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it to FILE, which is not there yet")
    parser.add_argument("--files", type=Path, metavar="DIR", help="also save what the user has uploaded, into DIR")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Export a user. Raises `NotFoundError`, `ChecksumError`, as `errors_of`, and what opening a store raises."""
    check_user_id(options.user)

    async def work(out: IO[bytes] | None = None) -> Json:
        async with open_store(passive(settings.store), history=settings.history) as store:
            found = await collect(store, options.user)
            if options.files is not None:
                await _save_files(store, found, options.files)
            if out is not None:
                await _write(store, found, out)
            return found

    if options.files is not None:
        with errors_of(options.files):
            options.files.mkdir(mode=0o700, parents=True, exist_ok=True)
    if options.json is None:
        print(*lines(asyncio.run(work()), bodies=True), sep="\n")
        return 0
    with errors_of(options.json), created(options.json) as out:
        found = asyncio.run(work(out))
    print(*lines(found, bodies=False), sep="\n")
    print(f"all of it: {options.json}")
    return 0


def passive(settings: StoreSettings) -> StoreSettings:
    """For a process that only visits: others make the database, and drop what has expired. Raises `ConfigError`."""
    if settings.engine == "sqlite":
        existing(Path(settings.path))
    return dataclasses.replace(settings, purge_interval_s=0.0)


# What there is.


async def collect(store: Store, user: str) -> Json:
    """All that is kept of the user, but the password's hash and the contents of files. Raises `NotFoundError`."""
    account = await store.account(user)
    profile = (await store.profiles([user])).get(user)
    if account is None or profile is None:
        raise NotFoundError(f'there is no user "{user}" (any more)')
    devices = await store.list_devices(user)
    return {
        "user": user,
        "exported_ms": int(time.time() * 1000),
        "account": {
            "created_ms": account.created_ms,
            "disabled": account.disabled,
            "own_password": keeps_password(account.password_hash),
            "invitation": await store.codes.invitation_of(user) or None,
            "subjects": [one._asdict() for one in await store.subjects.of(user)],
            "last_seen_ms": (await store.last_seen([user])).get(user),
        },
        "profile": {name: getattr(profile, name) for name in ("display_name", "hides_presence", "friends_may_add_me")},
        "devices": [
            {name: getattr(device, name) for name in ("device", "label", "created_ms", "logged_in")}
            for device in devices
        ],
        "contacts": [contact async for contact in _contacts(store, user)],
        "files": [_file(file) for file in await store.files_of(user)],
        "conversations": [_conversation(one) async for one in _conversations(store, user)],
        "groups": [group async for group in _groups(store, user)],
        "invitations": [
            {"group": one.group, "by": one.by, "ms": one.ms} for one in await store.groups.invitations(user)
        ],
        "mutes": [
            {"conversation": other, "until_ms": until_ms}
            for other, until_ms in sorted((await store.timelines.mutes(user)).items())
        ],
        "waiting": await _waiting(store, user, [device.device for device in devices]),
    }


async def _contacts(store: Store, user: str) -> AsyncIterator[Json]:
    after = ""
    while True:
        some = await store.contacts(user, after, _AT_ONCE)
        for other, relation in some:
            stands = {name: getattr(relation, name) for name in ("friend", "asked", "asks", "blocks", "since_ms")}
            yield {"user": other, **stands}
        if len(some) < _AT_ONCE:
            return
        after = some[-1][0]


async def _conversations(store: Store, user: str) -> AsyncIterator[Listed]:
    """Of what is kept: all that the user has with others, hidden or not."""
    timelines = store.timelines
    if not (await timelines.terms()).keep_days:
        return
    after = ""
    while True:
        some = await timelines.conversations(user, after, _AT_ONCE, hidden=True)
        for one in some:
            if is_group_id(one.other):  # all of them stand at the end
                return
            yield one
        if len(some) < _AT_ONCE:
            return
        after = some[-1].other


def _conversation(listed: Listed) -> Json:
    newest_ms = None if listed.newest is None else stamp_ms(listed.newest.stamp)
    return {"user": listed.other, "newest_ms": newest_ms, "mark": str(listed.mine.private)}


async def _groups(store: Store, user: str) -> AsyncIterator[Json]:
    """Those that the user is in, and those that the user was in lately."""
    after = ""
    while True:
        some = await store.groups.of_user(user, after, _AT_ONCE)
        found = await store.groups.groups([one.group for one in some])
        for one in some:
            yield _group(one, found.get(one.group), user)
        if len(some) < _AT_ONCE:
            return
        after = some[-1].group


def _group(mine: MyGroup, group: Group | None, user: str) -> Json:
    """What is said of a group that the user is not in any more is not the user's."""
    member = None if group is None else group.members.get(user)
    if group is None or member is None:
        return {"group": mine.group, "left_ms": mine.left_ms}
    role = member.role.name.lower()
    return {"group": mine.group, "name": group.name, "role": role, "members": len(group.members), "left_ms": None}


async def _messages(store: Store, user: str, conversation: str, *, own: bool = False) -> AsyncIterator[Json]:
    """What the user may see of a conversation, newest first, each once; `own`: only what the user wrote."""
    before, seen = b"", set[Name]()
    while True:
        page = await store.timelines.page(HistoryQuery(conversation, user, before, MAX_PAGE, own))
        for message in page.messages:
            if message.name not in seen:
                seen.add(message.name)
                yield {"sent_ms": stamp_ms(message.stamp), **rendered(message)}
        if not page.next:
            return
        before = page.next


def _file(file: File) -> Json:
    names = ("file", "name", "media_type", "size", "sha256", "complete", "created_ms")
    kept = {name: getattr(file, name) for name in names}
    return {**kept, "expires_ms": file.gone_ms, "readers": sorted(file.readers)}


async def _waiting(store: Store, user: str, devices: list[str]) -> list[Json]:
    """What waits in the queue of each device, then in the common one, which every device's page shows as well."""
    queues = {device: await _pass(store, user, device) for device in (*devices, COMMON)}
    common = {row.key for row in queues[COMMON]}
    return [
        {"device": device, **_row(row)}
        for device, rows in queues.items()
        for row in rows
        if device == COMMON or row.key not in common
    ]


async def _pass(store: Store, user: str, device: str) -> list[Row]:
    rows: list[Row] = []
    after, fresh = b"", True
    while True:
        (page,) = await store.page([PageQuery(user, device, after, fresh, _AT_ONCE)])
        rows += page.rows
        if page.end:
            return rows
        after, fresh = page.next, False


def _row(row: Row) -> Json:
    try:
        if row.kind == RowKind.RECEIPT:
            receipt = Receipt.FromString(row.body)
            return {"kind": "RECEIPT", "size": len(row.body), "stream": receipt.stream, "ids": list(receipt.ids)}
        message = Message.FromString(row.body)
    except DecodeError:  # of a later version
        return {"kind": f"row {row.kind}", "size": len(row.body), **_body(row.body)}
    kind = Kind.Name(message.kind) if message.kind in Kind.values() else str(message.kind)
    at = {"from": message.from_id, "from_device": message.from_device, "to": message.dest_id}
    sent_ms = message.stamp >> STAMP_SHIFT
    return {"kind": kind, **at, "sent_ms": sent_ms, "size": len(message.body), **_body(message.body)}


def _body(body: bytes) -> Json:
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


# Onto the disk.


async def _write(store: Store, found: Json, out: IO[bytes]) -> None:
    """All of it as JSON; messages of conversations page by page, as there may be more than fit into memory."""
    user = found["user"]
    text = json.dumps({**found, "conversations": None, "groups": None}, indent=1, ensure_ascii=False)
    head, rest = text.split('\n "conversations": null', 1)
    between, tail = rest.split('\n "groups": null', 1)
    out.write(f'{head}\n "conversations": ['.encode())
    talks = [(one, _messages(store, user, conversation_of(user, one["user"]))) for one in found["conversations"]]
    await _write_talks(talks, out)
    out.write(f']{between}\n "groups": ['.encode())
    talks = [(one, _messages(store, user, one["group"], own=one["left_ms"] is not None)) for one in found["groups"]]
    await _write_talks(talks, out)
    out.write(f"]{tail}\n".encode())


async def _write_talks(talks: Iterable[tuple[Json, AsyncIterator[Json]]], out: IO[bytes]) -> None:
    for number, (one, messages) in enumerate(talks):
        line = json.dumps(one, ensure_ascii=False)
        out.write(f'{"," if number else ""}\n  {line[:-1]}, "messages": ['.encode())
        separator = "\n   "
        async for message in messages:
            out.write((separator + json.dumps(message, ensure_ascii=False)).encode())
            separator = ",\n   "
        out.write(b"]}")


async def _save_files(store: Store, found: Json, folder: Path) -> None:
    """The bytes of each file; "saved" then says where."""
    for file in found["files"]:
        path = folder / f"{file['file']}-{safe_name(file['name'])}"
        digest, size = hashlib.sha256(), 0
        with errors_of(path), created(path) as out:
            while piece := await store.read_file(file["file"], size):
                out.write(piece)
                digest.update(piece)
                size += len(piece)
        if file["complete"] and digest.hexdigest() != file["sha256"]:
            raise ChecksumError(f"{path}: the file is not what it was when it came, or was removed meanwhile")
        file["saved"] = str(path)


# To read.


def lines(found: Json, *, bodies: bool) -> Iterator[str]:
    """The list of all that was found; with the messages' bodies, if asked for."""
    account, profile = found["account"], found["profile"]
    disabled = ", disabled" if account["disabled"] else ""
    password = "a password of ours" if account["own_password"] else "no password of ours"
    seen = f", online last {_at(account['last_seen_ms'])}" if account["last_seen_ms"] else ""
    yield f"account {found['user']}: since {_at(account['created_ms'])}, {password}{disabled}{seen}"
    for one in account["subjects"]:
        yield f"subject: {one_line(one['subject'])} of {one_line(one['issuer'])}"
    hides = ", hides presence" if profile["hides_presence"] else ""
    may_add = ", friends may add to groups" if profile["friends_may_add_me"] else ""
    yield f'profile: display name "{one_line(profile["display_name"])}"{hides}{may_add}'
    yield f"devices: {len(found['devices'])}"
    for device in found["devices"]:
        logged_in = ", logged in" if device["logged_in"] else ""
        yield f"  {device['device']}  {one_line(device['label'])}, since {_at(device['created_ms'])}{logged_in}"
    yield f"contacts and blocks: {len(found['contacts'])}"
    for contact in found["contacts"]:
        stands = [name for name in ("friend", "asked", "asks", "blocks") if contact[name]]
        yield f"  {contact['user']}  {', '.join(stands)}, since {_at(contact['since_ms'])}"
    yield f"files: {len(found['files'])}"
    yield from map(_file_line, found["files"])
    yield f"conversations: {len(found['conversations'])}"
    for one in found["conversations"]:
        newest = "all of it has expired" if one["newest_ms"] is None else f"newest {_at(one['newest_ms'])}"
        yield f"  {one['user']}  {newest}"
    yield f"groups: {len(found['groups'])}"
    for one in found["groups"]:
        left = one["left_ms"]
        about = f"left {_at(left)}" if left else f"{one_line(one['name'])}, {one['role']} of {one['members']} members"
        yield f"  {one['group']}  {about}"
    yield f"invitations: {len(found['invitations'])}"
    for one in found["invitations"]:
        yield f"  {one['group']}  by {one['by']}, {_at(one['ms'])}"
    yield f"muted: {len(found['mutes'])}"
    for one in found["mutes"]:
        until = "for ever" if one["until_ms"] == FOR_EVER_MS else f"until {_at(one['until_ms'])}"
        yield f"  {one['conversation']}  {until}"
    yield f"waiting in inboxes: {len(found['waiting'])}"
    for row in found["waiting"]:
        yield _waiting_line(row) + (f": {_shown(row)}" if bodies and _shown(row) else "")


def _file_line(file: Json) -> str:
    readers = ", ".join(file["readers"]) or "nobody else"
    state = "" if file["complete"] else ", not complete"
    saved = f", saved as {file['saved']}" if "saved" in file else ""
    name, until = one_line(file["name"]), _at(file["expires_ms"])
    return f"  {file['file']}  {name}, {file['size']} bytes{state}, until {until}, for {readers}{saved}"


def _waiting_line(row: Json) -> str:
    queue = f"for {row['device']}" if row["device"] else "for any device"
    whose = f"  from {row['from']}, {_at(row['sent_ms'])}" if "from" in row else ""
    return f"  {row['kind']}{whose}, {row['size']} bytes, {queue}"


def _shown(row: Json) -> str:
    return one_line(row["text"]) if "text" in row else str(row.get("base64", ""))


def _at(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(ms / 1000))
