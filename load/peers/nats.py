"""NATS' text protocol and JetStream on it, as much of it as people need who write to each other.

Owns what is said to a nats-server. SENT is JetStream's ack of a publish: the text is in the stream. DELIVERED is a
message back from the reader, through the stream as well, which names what one read of its socket has brought. Each
person has a durable consumer, which pushes to its connection and keeps what comes while there is none. A group is a
subject, of which each member has a consumer, and which brings its authors their own texts, too.
(nats-py was not tried: the generator is to be alike for all servers, and cheap.)
"""

from __future__ import annotations

import json
from typing import Any
from zlib import crc32

from load.peers.repeating import RepeatingPerson
from load.spec import Account
from load.streams import Out, Pending
from load.wire import padding
from load.world import World

STREAMS = 8
"""With one alone, one write after the other would wait for the disk."""
CONNECT = b"CONNECT " + json.dumps({"verbose": False, "pedantic": False, "headers": False}).encode() + b"\r\n"
ACK_WAIT_S = 10.0
"""What a reader has not acked for so long comes again, behind newer ones: a connection that breaks costs the order."""
_RECEIPT = b"\0"
"""What a receipt begins with, and no text."""


def streams() -> list[dict[str, Any]]:
    """The settings of all: what waits for users, a subject for each, until it is acked; and what is said in groups, a
    subject for each, which stays, since nobody is the last to ack it."""
    return [
        {"name": f"{name}{number}", "subjects": [f"{kind}.{number}.*"], "storage": "file", "retention": retention}
        for name, kind, retention in (("USERS", "u", "workqueue"), ("GROUPS", "g", "limits"))
        for number in range(STREAMS)
    ]


def _shard(name: str) -> int:
    return crc32(name.encode()) % STREAMS


def subject(name: str, *, group: bool = False) -> str:
    """What is for this user, or said in this group."""
    return f"{'g' if group else 'u'}.{_shard(name)}.{name}"


def consumer(user: str, group: str = "") -> bytes:
    """The request for a user's own, or for what is said in a group. Who has it already makes none anew."""
    stream = f"GROUPS{_shard(group)}" if group else f"USERS{_shard(user)}"
    name = f"{user}-{group}" if group else user
    config = {
        "durable_name": name,
        "deliver_subject": f"d.{user}",
        "filter_subject": subject(group or user, group=bool(group)),
        "deliver_policy": "all",
        "ack_policy": "all" if group else "explicit",  # the only one that a work queue knows
        "ack_wait": int(ACK_WAIT_S * 1e9),
        "max_ack_pending": -1,
        # Else a file is written anew for each message.
        "mem_storage": True,
    }
    asked = {"stream_name": stream, "config": config}
    return ask(f"CONSUMER.CREATE.{stream}.{name}", f"a.{user}.c".encode(), asked)


def replay(group: str, to: str, reply: bytes) -> bytes:
    """The request for all that was said in a group, from its beginning."""
    config = {
        "deliver_subject": to,
        "filter_subject": subject(group, group=True),
        "deliver_policy": "all",
        "ack_policy": "none",
        "mem_storage": True,
    }
    stream = f"GROUPS{_shard(group)}"
    return ask(f"CONSUMER.CREATE.{stream}", reply, {"stream_name": stream, "config": config})


def publish(subject: bytes, reply: bytes, payload: bytes) -> bytes:
    """A message; `reply` is where its answer goes."""
    return b"PUB %s %s %d\r\n%s\r\n" % (subject, reply, len(payload), payload)


def ask(api: str, reply: bytes, asked: dict[str, Any]) -> bytes:
    """A request to JetStream's API."""
    return publish(f"$JS.API.{api}".encode(), reply, json.dumps(asked).encode())


def cut(data: bytes) -> tuple[list[tuple[list[bytes], bytes]], bytes]:
    """Whole operations (the words of their line, and the payload), and what is left."""
    found: list[tuple[list[bytes], bytes]] = []
    at = 0
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return found, data[at:]
        words = data[at:end].split(b" ")
        begin = stop = after = end + 2
        if words[0] == b"MSG":
            stop = begin + int(words[-1])
            after = stop + 2
            if after > len(data):
                return found, data[at:]
        found.append((words, data[begin:stop]))
        at = after


class NatsPerson(RepeatingPerson[bytes]):
    """A client with a durable consumer of what is for it."""

    def __init__(self, account: Account, body_bytes: int, world: World, number: int) -> None:
        super().__init__(account.user, body_bytes, world, number)
        self._data = b""
        self._last_answer = 0
        """Where answers to publishes go is numbered: what waits for one is under way by that."""
        self.own = subject(account.user).encode()
        """What is sent to this one goes there."""
        self._awaited = 0
        """Consumers that are not made yet."""
        self._to_ack: dict[bytes, bytes] = {}
        """Subject of a group → where the ack of all that came so far goes."""

    def begin(self) -> None:
        self._data = b""
        self._to_ack.clear()
        self._out.append(CONNECT + b"SUB a.%s.* 1\r\nSUB d.%s 2\r\n" % (self.name, self.name))
        asked = [consumer(self.user), *(consumer(self.user, group) for group in self.own_groups())]
        self._awaited = len(asked)
        self._out += asked

    def received(self, data: bytes) -> None:
        operations, self._data = cut(self._data + data if self._data else data)
        for words, payload in operations:
            kind = words[0]
            if kind == b"MSG":
                if words[2] == b"2":
                    self._brought(words, payload)
                else:
                    self._answered(words[1], payload)
            elif kind == b"PING":
                self._out.append(b"PONG\r\n")
            elif kind == b"-ERR":
                self._refused(b" ".join(words))
        self._tell()

    def _refused(self, said: bytes) -> str:
        text = said.decode(errors="replace")[:300]
        self.world.error(text)
        self.turned_away(text)
        return text

    def _answered(self, subject: bytes, payload: bytes) -> None:
        """By JetStream, to a publish or to the making of the consumer."""
        what = self._under_way.pop(subject, None)
        if b'"error"' in payload:
            why = self._refused(payload)
            if what is not None:
                self.turned_down(*what, why)
        elif what is not None:
            out, number = what
            self.was_sent(out, (number,), False)
        elif subject.endswith(b".c"):
            self._awaited -= 1
            if not self._awaited:
                self._arrived()

    # Writing.

    def opened(self, out: Out) -> None:
        out.head = subject(out.dest, group=out.group is not None).encode()
        out.padding = padding(self.body_bytes)

    def put(self, out: Out, number: int, pending: Pending) -> None:
        self._publish(out.head, pending.tail, (out, number))

    def _publish(self, subject: bytes, payload: bytes, what: tuple[Out, int] | None) -> None:
        self._last_answer += 1
        reply = b"a.%s.%d" % (self.name, self._last_answer)
        self._under_way[reply] = what
        self._out.append(publish(subject, reply, payload))

    # Reading.

    def _brought(self, words: list[bytes], content: bytes) -> None:
        _, subject, _, ack, _ = words
        if subject == self.own:
            self._out.append(b"PUB %s 0\r\n\r\n" % ack)
        else:
            self._to_ack[subject] = ack
        if content.startswith(_RECEIPT):
            self._receipt(content[1:])
        else:
            self._text(content)

    def _tell(self) -> None:
        for ack in self._to_ack.values():
            self._out.append(b"PUB %s 0\r\n\r\n" % ack)
        self._to_ack.clear()
        for author, content in self._receipts():
            self._publish(author.own, _RECEIPT + content, None)

    def ping(self) -> None:
        if self.online:
            self._out.append(b"PING\r\n")
            self.flush()
