"""What a device keeps, in memory or in a SQLite file: the core's `Journal` and a little more.

Owns the state file: its schema, its lock, and what makes one commit. Decides nothing about messages.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

from google.protobuf.message import DecodeError

from client import schema
from client.history import History
from client.schema import signed, unsigned
from client.state import Event, Journal, Kept, KeptInbound
from client.streams import StreamKey
from protocol.errors import ConfigError, StateError
from protocol.inbound import InboundStream
from protocol.outbound import OutboundStream, Outgoing
from protocol.sparrow_pb2 import About, Message

MessageName: TypeAlias = tuple[str, str, int, int]
"""from_id, from_device, stream, id."""


class Untaken(NamedTuple):
    """A message that was shown to nobody yet, as far as the journal knows."""

    message: Message
    late: bool


class ClientJournal(Journal, Protocol):
    """A `Journal` that also keeps what a client needs around its core."""

    durable: bool
    """Whether it outlives the process."""
    history: History | None

    def untaken(self) -> list[Untaken]:
        """Messages that were shown but not taken by the application, in the order of showing."""

    def taken(self, message: Message) -> None:
        """The application has used this message."""

    def value(self, key: str) -> str | None:
        """A small value, as committed."""

    def put_value(self, key: str, value: str) -> None:
        """Keep a small value."""

    def close(self) -> None:
        """Let go of the file. What was not committed is forgotten."""


def message_name(message: Message) -> MessageName:
    """What names a message for ever."""
    return message.from_id, message.from_device, message.stream, message.id


class MemoryJournal:
    """Keeps as long as the object lives."""

    durable = False
    history: History | None = None

    def __init__(self) -> None:
        self._session = (0, False)
        self._streams: dict[int, tuple[str, int, bool]] = {}
        self._messages: dict[int, dict[int, tuple[int, bytes, bytes | None]]] = {}
        self._drafts: dict[int, tuple[str, int, bytes, bytes | None]] = {}
        self._doubtful: frozenset[int] = frozenset()
        self._inbound: dict[StreamKey, KeptInbound] = {}
        self._parked: dict[MessageName, Message] = {}
        self._untaken: dict[MessageName, Untaken] = {}
        self._values: dict[str, str] = {}
        self._pending: list[tuple[Any, ...]] = []

    def load(self) -> Kept:
        """See `Journal`."""
        self._pending.clear()
        kept = Kept(*self._session, inbound=dict(self._inbound), parked=list(self._parked.values()))
        kept.doubtful = self._doubtful
        for number, (dest, next_id, retired) in self._streams.items():
            stream = OutboundStream(number, dest, next_id, retired)
            for message_id, (kind, body, about) in sorted(self._messages.get(number, {}).items()):
                stream.messages[message_id] = Outgoing(dest, kind, body, _about(about), stream, message_id)
            kept.outbound.append(stream)
        for draft, (dest, kind, body, about) in sorted(self._drafts.items()):
            kept.drafts.append(Outgoing(dest, kind, body, _about(about), draft=draft))
        return kept

    def put_session(self, session: int, is_open: bool) -> None:
        """See `Journal`."""
        self._pending.append((self._set_session, session, is_open))

    def _set_session(self, session: int, is_open: bool) -> None:
        self._session = (session, is_open)

    def put_outbound(self, stream: OutboundStream) -> None:
        """See `Journal`."""
        state = (stream.dest, stream.next_id, stream.retired)
        self._pending.append((self._streams.__setitem__, stream.number, state))

    def drop_outbound(self, stream: OutboundStream) -> None:
        """See `Journal`."""
        self._pending.append((self._streams.pop, stream.number, None))
        self._pending.append((self._messages.pop, stream.number, None))

    def put_outgoing(self, outgoing: Outgoing) -> None:
        """See `Journal`."""
        content = (outgoing.kind, outgoing.body, _packed(outgoing.about))
        if outgoing.stream is None:
            self._pending.append((self._drafts.__setitem__, outgoing.draft, (outgoing.dest, *content)))
        else:
            self._pending.append((self._number, outgoing.draft, outgoing.stream.number, outgoing.id, content))

    def _number(self, draft: int, number: int, message_id: int, content: tuple[int, bytes, bytes | None]) -> None:
        self._drafts.pop(draft, None)
        self._messages.setdefault(number, {})[message_id] = content

    def drop_outgoing(self, outgoing: Outgoing) -> None:
        """See `Journal`."""
        if outgoing.stream is None:
            self._pending.append((self._drafts.pop, outgoing.draft, None))
        else:
            self._pending.append((self._drop, outgoing.stream.number, outgoing.id))

    def _drop(self, number: int, message_id: int) -> None:
        self._messages.get(number, {}).pop(message_id, None)

    def put_doubtful(self, drafts: Iterable[int]) -> None:
        """See `Journal`."""
        self._pending.append((self._set_doubtful, frozenset(drafts)))

    def _set_doubtful(self, drafts: frozenset[int]) -> None:
        self._doubtful = drafts

    def put_inbound(self, key: StreamKey, stream: InboundStream[Message]) -> None:
        """See `Journal`."""
        state = KeptInbound(stream.next, stream.settled, frozenset(stream.gaps))
        self._pending.append((self._inbound.__setitem__, key, state))

    def drop_inbound(self, key: StreamKey) -> None:
        """See `Journal`."""
        self._pending.append((self._inbound.pop, key, None))

    def park(self, message: Message) -> None:
        """See `Journal`."""
        self._pending.append((self._parked.__setitem__, message_name(message), message))

    def show(self, message: Message, late: bool) -> None:
        """See `Journal`."""
        name = message_name(message)
        self._pending.append((self._parked.pop, name, None))
        self._pending.append((self._untaken.setdefault, name, Untaken(message, late)))

    def note(self, events: Iterable[Event]) -> bool:
        """See `Journal`."""
        return False

    def commit(self) -> None:
        """See `Journal`."""
        pending, self._pending = self._pending, []
        for change, *arguments in pending:
            change(*arguments)

    def untaken(self) -> list[Untaken]:
        """See `ClientJournal`."""
        return list(self._untaken.values())

    def taken(self, message: Message) -> None:
        """See `ClientJournal`."""
        self._pending.append((self._untaken.pop, message_name(message), None))

    def value(self, key: str) -> str | None:
        """See `ClientJournal`."""
        return self._values.get(key)

    def put_value(self, key: str, value: str) -> None:
        """See `ClientJournal`."""
        self._pending.append((self._values.__setitem__, key, value))

    def close(self) -> None:
        """See `ClientJournal`."""
        self._pending.clear()


class SqliteJournal:
    """Keeps in a file that one client at a time may use. One transaction for each commit, on the disk when it returns.

    `history`: so many lines of conversation are kept as well (0: none).
    Raises `ConfigError` for a file that is in use, damaged, of a newer version or of another program.
    """

    durable = True

    def __init__(self, path: str | os.PathLike[str], history: int = 0) -> None:
        self._path = Path(path)
        self._pending: list[tuple[str, tuple[Any, ...]]] = []
        self._connection = schema.open_file(self._path)
        self.history: History | None = History(self._do, self._query, history) if history else None

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
        for number, message_id, kind, body, about in self._query(
            "SELECT stream, id, kind, body, about FROM outgoing ORDER BY stream, id"
        ):
            stream = streams[number]
            stream.messages[message_id] = Outgoing(stream.dest, kind, body, _about(about), stream, message_id)
        for draft, dest, kind, body, about in self._query(
            "SELECT draft, dest, kind, body, about FROM drafts ORDER BY draft"
        ):
            kept.drafts.append(Outgoing(dest, kind, body, _about(about), draft=draft))
        for from_id, device, number, next_id, settled, gaps in self._query(
            "SELECT from_id, from_device, stream, next, settled, gaps FROM inbound"
        ):
            state = KeptInbound(unsigned(next_id), unsigned(settled), frozenset(map(int, gaps.split())))
            kept.inbound[from_id, device, unsigned(number)] = state
        kept.parked = [Message.FromString(row[0]) for row in self._query("SELECT message FROM parked")]
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
        content = (outgoing.kind, outgoing.body, _packed(outgoing.about))
        if outgoing.stream is None:
            self._do("INSERT OR REPLACE INTO drafts VALUES (?, ?, ?, ?, ?)", outgoing.draft, outgoing.dest, *content)
        else:
            self._do("DELETE FROM drafts WHERE draft = ?", outgoing.draft)
            number = signed(outgoing.stream.number)
            self._do("INSERT OR REPLACE INTO outgoing VALUES (?, ?, ?, ?, ?)", number, outgoing.id, *content)
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
        key = _key(message)
        self._do("DELETE FROM parked WHERE from_id = ? AND from_device = ? AND stream = ? AND id = ?", *key)
        self._do(
            "INSERT OR IGNORE INTO untaken (from_id, from_device, stream, id, late, message) VALUES (?, ?, ?, ?, ?, ?)",
            *(*key, late, message.SerializeToString()),
        )

    def note(self, events: Iterable[Event]) -> bool:
        """See `Journal`."""
        return self.history is not None and self.history.note(events)

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
            rows = self._query("SELECT message, late FROM untaken ORDER BY position")
            return [Untaken(Message.FromString(message), bool(late)) for message, late in rows]
        except DecodeError as error:
            raise ConfigError(f"state file {self._path} is damaged ({error}): {schema.NAME_ANOTHER}") from error

    def taken(self, message: Message) -> None:
        """See `ClientJournal`."""
        self._do("DELETE FROM untaken WHERE from_id = ? AND from_device = ? AND stream = ? AND id = ?", *_key(message))

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
    return message.from_id, message.from_device, signed(message.stream), signed(message.id)


def _packed(about: About | None) -> bytes | None:
    return None if about is None else about.SerializeToString()


def _about(packed: bytes | None) -> About | None:
    return None if packed is None else About.FromString(packed)


def open_journal(path: str | os.PathLike[str] | None, history: int = 0) -> ClientJournal:
    """The journal for a client's `state`. Raises `ConfigError`."""
    return MemoryJournal() if path is None else SqliteJournal(path, history)
