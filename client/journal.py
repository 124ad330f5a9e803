"""What a device keeps in a SQLite file: the core's `Journal` and a little more.

Owns the state file: its schema, its lock, and what makes one commit. Decides nothing about messages.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from client import schema
from client.changes import Change, Changes, Target
from client.history import History
from client.memory import (
    ClientJournal,
    Content,
    MemoryJournal,
    Noting,
    Untaken,
    content_of,
    message_name,
    outgoing_of,
    remember_paged,
)
from client.schema import DEVICE, signed, unsigned
from client.state import Event, Kept, KeptInbound, MessageName
from client.streams import StreamKey, stream_key
from protocol.errors import ConfigError, StateError
from protocol.inbound import InboundStream, Shown
from protocol.outbound import OutboundStream, Outgoing
from protocol.sparrow_pb2 import Message

__all__ = ["ClientJournal", "MemoryJournal", "MessageName", "SqliteJournal", "Untaken", "message_name", "open_journal"]


class SqliteJournal(Noting):
    """Keeps in a file that one client at a time may use. One transaction for each commit, on the disk when it returns.

    `history`: so many lines of conversation are kept as well (0: none).
    Raises `ConfigError` for a file that is in use, damaged, of a newer version or of another program.
    """

    durable = True

    def __init__(self, path: str | os.PathLike[str], history: int = 0) -> None:
        self._path = Path(path)
        self._pending: list[tuple[str, tuple[Any, ...]]] = []
        self._connection = schema.open_file(self._path)
        self._paged: dict[MessageName, None] = {}
        self.changes = Changes(self._put_change, self._drop_change)
        self.history: History | None = None
        if history:
            self.history = History(self._do, self._query, self.changes, history)
        try:
            self.is_device("", self.value(DEVICE) or "")
            self._restore_changes()
        except BaseException:
            self._connection.close()
            raise

    def is_device(self, user: str, device: str) -> None:
        """See `ClientJournal`."""
        super().is_device(user, device)
        if self.history is not None:
            self.history.user, self.history.device = user, device

    def _do(self, sql: str, *values: object) -> None:
        """Part of the next commit."""
        self._pending.append((sql, values))

    def _query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise schema.config_error(self._path, error) from error

    def load(self) -> Kept:
        """See `Journal`. Raises `ConfigError` for a damaged file."""
        self._pending.clear()
        try:
            return self._load()
        except (ValueError, TypeError, KeyError, DecodeError) as error:
            raise ConfigError(f"state file {self._path} is damaged ({error}): {schema.NAME_ANOTHER}") from error

    def _load(self) -> Kept:
        kept = Kept(int(self.value(schema.SESSION) or 0), self.value(schema.SESSION_OPEN) == "1")
        kept.doubtful = frozenset(map(int, json.loads(self.value(schema.DOUBTFUL) or "[]")))
        streams: dict[int, OutboundStream] = {}
        for number, dest, next_id, retired in self._query(
            "SELECT number, dest, next_id, retired FROM outbound ORDER BY position"
        ):
            stream = OutboundStream(unsigned(number), dest, next_id, bool(retired))
            streams[number] = stream
            kept.outbound.append(stream)
        for number, message_id, *row in self._query(
            "SELECT stream, id, kind, body, about, revision, mark, numbered_ms FROM outgoing ORDER BY stream, id"
        ):
            stream = streams[number]
            stream.messages[message_id] = outgoing_of(stream.dest, _content(*row), stream, message_id)
        for draft, dest, *row in self._query(
            "SELECT draft, dest, kind, body, about, revision, mark FROM drafts ORDER BY draft"
        ):
            kept.drafts.append(outgoing_of(dest, _content(*row), draft=draft))
        for from_id, device, number, next_id, settled, gaps in self._query(
            "SELECT from_id, from_device, stream, next, settled, gaps FROM inbound"
        ):
            state = KeptInbound(unsigned(next_id), unsigned(settled), frozenset(map(int, gaps.split())))
            kept.inbound[from_id, device, unsigned(number)] = state
        kept.parked = [Message.FromString(row[0]) for row in self._query("SELECT message FROM parked")]
        held = self._query("SELECT message, late FROM untaken WHERE held ORDER BY position")
        kept.held = [Shown(Message.FromString(message), bool(late)) for message, late in held]
        groups = self._query("SELECT name, version FROM groups")
        kept.groups = {group: unsigned(version) for group, version in groups}
        return kept

    def put_session(self, session: int, is_open: bool) -> None:
        """See `Journal`."""
        self.put_value(schema.SESSION, str(session))
        self.put_value(schema.SESSION_OPEN, str(int(is_open)))

    def put_outbound(self, stream: OutboundStream) -> None:
        """See `Journal`."""
        self._do(
            "INSERT INTO outbound (number, dest, next_id, retired) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (number) DO UPDATE SET next_id = excluded.next_id, retired = excluded.retired",
            *(signed(stream.number), stream.dest, stream.next_id, stream.retired),
        )

    def drop_outbound(self, stream: OutboundStream) -> None:
        """See `Journal`."""
        self._do("DELETE FROM outbound WHERE number = ?", signed(stream.number))
        self._do("DELETE FROM outgoing WHERE stream = ?", signed(stream.number))

    def put_outgoing(self, outgoing: Outgoing) -> None:
        """See `Journal`."""
        *content, mark, numbered_ms = content_of(outgoing)
        if outgoing.stream is None:
            self._do(_PUT_DRAFT, outgoing.draft, outgoing.dest, *content, signed(mark))
        else:
            self._do("DELETE FROM drafts WHERE draft = ?", outgoing.draft)
            number = signed(outgoing.stream.number)
            self._do(_PUT_OUTGOING, number, outgoing.id, *content, signed(mark), numbered_ms)
        if self.history is not None:
            self.history.outgoing(outgoing)

    def drop_outgoing(self, outgoing: Outgoing) -> None:
        """See `Journal`."""
        if outgoing.stream is not None:
            number = signed(outgoing.stream.number)
            self._do("DELETE FROM outgoing WHERE stream = ? AND id = ?", number, outgoing.id)
            return
        self._do("DELETE FROM drafts WHERE draft = ?", outgoing.draft)
        if self.history is not None:
            self.history.given_up(outgoing)

    def put_doubtful(self, drafts: Iterable[int]) -> None:
        """See `Journal`."""
        self.put_value(schema.DOUBTFUL, json.dumps(list(drafts)))

    def put_inbound(self, key: StreamKey, stream: InboundStream[Message]) -> None:
        """See `Journal`."""
        from_id, device, number = key
        gaps = " ".join(map(str, sorted(stream.gaps)))
        self._do(
            "INSERT OR REPLACE INTO inbound VALUES (?, ?, ?, ?, ?, ?)",
            *(from_id, device, signed(number), signed(stream.next), signed(stream.settled), gaps),
        )

    def drop_inbound(self, key: StreamKey) -> None:
        """See `Journal`."""
        from_id, device, number = key
        statement = "DELETE FROM inbound WHERE from_id = ? AND from_device = ? AND stream = ?"
        self._do(statement, from_id, device, signed(number))

    def park(self, message: Message) -> None:
        """See `Journal`."""
        self._do("INSERT OR REPLACE INTO parked VALUES (?, ?, ?, ?, ?)", *_key(message), message.SerializeToString())

    def show(self, message: Message, late: bool) -> None:
        """See `Journal`."""
        self._put_untaken(message, late, False)

    def hold(self, message: Message, late: bool) -> None:
        """See `Journal`."""
        self._put_untaken(message, late, True)

    def _put_untaken(self, message: Message, late: bool, held: bool) -> None:
        key = _key(message)
        self._do(f"DELETE FROM parked WHERE {_NAMED}", *key)
        self._do(_PUT_UNTAKEN, *key, late, message.SerializeToString(), held)

    def release(self, message: Message, *, show: bool) -> None:
        """See `Journal`."""
        sql = "UPDATE untaken SET held = 0" if show else "DELETE FROM untaken"
        self._do(f"{sql} WHERE {_NAMED} AND held", *_key(message))

    def put_group(self, group: str, version: int) -> None:
        """See `Journal`."""
        self._do(_PUT_GROUP.format("version"), group, signed(version))

    def put_mark(self, group: str, stamp: int) -> None:
        """See `ClientJournal`."""
        self._do(_PUT_GROUP.format("mark"), group, signed(stamp))

    def marks(self) -> dict[str, int]:
        """See `ClientJournal`."""
        return {group: unsigned(mark) for group, mark in self._query("SELECT name, mark FROM groups WHERE mark != 0")}

    def put_called(self, group: str, name: str) -> None:
        """See `ClientJournal`."""
        self._do(_PUT_GROUP.format("called"), group, name)

    def called(self) -> dict[str, str]:
        """See `ClientJournal`."""
        return dict(self._query("SELECT name, called FROM groups WHERE called != ''"))

    def paged(self, name: MessageName) -> bool:
        """See `Journal`."""
        return name in self._paged or (self.history is not None and self.history.paged(name))

    def again(self, message: Message) -> None:
        """See `Journal`."""
        self._do(f"DELETE FROM parked WHERE {_NAMED}", *_key(message))
        if self.history is not None:
            self.history.again(message)

    def put_paged(self, name: MessageName) -> None:
        """See `ClientJournal`."""
        remember_paged(self._paged, name)

    def _put_change(self, change: Change) -> None:
        target, (edit_device, edit_stream, edit_id) = change.target, change.edit
        name = (target.author, target.device, signed(target.stream), signed(target.id))
        edit = (change.revision, edit_device, signed(edit_stream), signed(edit_id))
        self._do(_PUT_CHANGE, target.peer, *name, *edit, change.body, signed(change.stamp), change.erased_by)
        if change.erased_by:
            self.untake(target.key)
        if self.history is not None:
            self.history.changed(change)

    def _drop_change(self, target: Target) -> None:
        values = (target.peer, target.author, target.device, signed(target.stream), signed(target.id))
        self._do(
            "DELETE FROM changes WHERE peer = ? AND author = ? AND device = ? AND stream = ? AND id = ?",
            *values,
        )

    def _restore_changes(self) -> None:
        for peer, author, device, stream, number, revision, *edit, body, stamp, erased_by in self._query(
            "SELECT peer, author, device, stream, id, revision, edit_device, edit_stream, edit_id, body, stamp, "
            "erased_by FROM changes ORDER BY position"
        ):
            target = Target(peer, author, device, unsigned(stream), unsigned(number))
            name = (edit[0], unsigned(edit[1]), unsigned(edit[2]))
            self.changes.restore(Change(target, revision, name, body, unsigned(stamp), erased_by))

    def note(self, events: Iterable[Event]) -> bool:
        """See `Journal`."""
        changed = False
        for event in events:  # in their order: what was changed in this turn may have come in it
            changed = self._note(event) or changed
            if self.history is not None:
                changed = self.history.note((event,)) or changed
        return changed

    def commit(self) -> None:
        """See `Journal`. Raises `StateError`; then nothing was kept, and the client has to end."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for sql, values in pending:
                connection.execute(sql, values)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            _roll_back(connection)
            raise StateError(f"state file {self._path} cannot be written: {schema.why(error)}") from error

    def untaken(self) -> list[Untaken]:
        """See `ClientJournal`. Raises `ConfigError` for a damaged file."""
        try:
            rows = self._query("SELECT message, late FROM untaken WHERE NOT held ORDER BY position")
            return [Untaken(Message.FromString(message), bool(late)) for message, late in rows]
        except DecodeError as error:
            raise ConfigError(f"state file {self._path} is damaged ({error}): {schema.NAME_ANOTHER}") from error

    def taken(self, message: Message) -> None:
        """See `ClientJournal`."""
        self._do(f"DELETE FROM untaken WHERE {_NAMED}", *_key(message))

    def untake(self, name: MessageName) -> None:
        """See `ClientJournal`."""
        from_id, device, stream, number = name
        key = (from_id, device, signed(stream), signed(number))
        self._do(f"DELETE FROM untaken WHERE {_NAMED}", *key)

    def value(self, key: str) -> str | None:
        """See `ClientJournal`."""
        rows = self._query("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else None

    def put_value(self, key: str, value: str) -> None:
        """See `ClientJournal`."""
        self._do("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value)

    def close(self) -> None:
        """See `ClientJournal`."""
        self._pending.clear()
        self._connection.close()


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error:
            return  # closing does it


def _key(message: Message) -> tuple[str, str, int, int]:
    from_id, device, stream = stream_key(message)
    return from_id, device, signed(stream), signed(message.id)


def _content(kind: int, body: bytes, about: bytes | None, revision: int, mark: int, numbered_ms: int = 0) -> Content:
    return Content(kind, body, about, revision, unsigned(mark), numbered_ms)


_NAMED = "from_id = ? AND from_device = ? AND stream = ? AND id = ?"
_PUT_UNTAKEN = """
INSERT OR IGNORE INTO untaken (from_id, from_device, stream, id, late, message, held) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_PUT_GROUP = """
INSERT INTO groups (name, {0}) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET {0} = excluded.{0}
"""
_PUT_DRAFT = """
INSERT OR REPLACE INTO drafts (draft, dest, kind, body, about, revision, mark) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_PUT_OUTGOING = """
INSERT OR REPLACE INTO outgoing (stream, id, kind, body, about, revision, mark, numbered_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_PUT_CHANGE = """
INSERT OR REPLACE INTO changes (peer, author, device, stream, id, revision, edit_device, edit_stream, edit_id, body,
    stamp, erased_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def open_journal(path: str | os.PathLike[str] | None, history: int = 0) -> ClientJournal:
    """The journal for a client's `state`. Raises `ConfigError`."""
    return MemoryJournal() if path is None else SqliteJournal(path, history)
