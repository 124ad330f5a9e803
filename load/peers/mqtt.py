"""MQTT 3.1.1, as much of it as two people need who write to each other at QoS 1.

Owns what is said to a broker such as mosquitto. SENT is its PUBACK; DELIVERED is a message back from the reader, at
QoS 1 as well, which names what one read of its socket has brought. A group is a topic, which brings its authors their
own texts, too: MQTT 3.1.1 cannot leave them out.
(paho-mqtt was tried: 121 µs of CPU for a message where this takes 9 and mosquitto itself 14, so that it would be what
is measured.)
"""

from __future__ import annotations

from load.peers.repeating import RepeatingPerson
from load.spec import Account
from load.streams import Out, Pending
from load.wire import padding
from load.world import World

KEEP_ALIVE_S = 60
_CONNACK, _PUBLISH, _PUBACK, _SUBACK = 0x20, 0x30, 0x40, 0x90
_PUBLISH_QOS_1 = 0x32
_TEXT, _RECEIPT, _GROUP = b"t/", b"r/", b"g/"
"""What topics begin with; the user's name follows, or the group's."""
_PACKET_IDS = 0xFFFF


def packet(first: int, body: bytes) -> bytes:
    """A control packet."""
    length, size = bytearray(), len(body)
    while True:
        length.append(size & 0x7F | (0x80 if size > 0x7F else 0))
        size >>= 7
        if not size:
            return bytes((first,)) + bytes(length) + body


def string(value: bytes) -> bytes:
    """A string as MQTT has it: its length in front."""
    return len(value).to_bytes(2, "big") + value


def cut(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Whole packets (first byte, body), and what is left."""
    found: list[tuple[int, bytes]] = []
    at, size = 0, len(data)
    while True:
        length = shift = 0
        start = at + 1
        while start < size:
            byte = data[start]
            length |= (byte & 0x7F) << shift
            shift += 7
            start += 1
            if byte < 0x80:
                break
        else:
            return found, data[at:]
        if start + length > size:
            return found, data[at:]
        found.append((data[at], data[start : start + length]))
        at = start + length


class MqttPerson(RepeatingPerson[int]):
    """A client with a session that the broker keeps while it is away (`clean session` 0)."""

    def __init__(self, account: Account, body_bytes: int, world: World, number: int) -> None:
        super().__init__(account.user, body_bytes, world, number)
        self._data = b""
        self._last_id = 0
        """The last packet id: what waits for PUBACK is under way by it."""

    def begin(self) -> None:
        self._data = b""
        flags = string(b"MQTT") + bytes((4, 0)) + KEEP_ALIVE_S.to_bytes(2, "big")
        self._out.append(packet(0x10, flags + string(self.name)))
        names = [kind + self.name for kind in (_TEXT, _RECEIPT)] + [_GROUP + id.encode() for id in self.own_groups()]
        topics = b"".join(string(name) + b"\x01" for name in names)
        self._out.append(packet(0x82, self._packet_id(None) + topics))

    def _packet_id(self, what: tuple[Out, int] | None) -> bytes:
        while True:
            self._last_id = self._last_id % _PACKET_IDS + 1
            if self._last_id not in self._under_way:
                break
        self._under_way[self._last_id] = what
        return self._last_id.to_bytes(2, "big")

    def received(self, data: bytes) -> None:
        packets, self._data = cut(self._data + data if self._data else data)
        for first, body in packets:
            kind = first & 0xF0
            if kind == _PUBLISH:
                self._published(body)
            elif kind == _PUBACK:
                self._acked(int.from_bytes(body, "big"))
            elif kind == _SUBACK:
                self._under_way.pop(int.from_bytes(body[:2], "big"), None)
                self._arrived()
            elif kind == _CONNACK and body[1]:
                self.turned_away(f"CONNACK says {body[1]}")
        self._tell()

    # Writing.

    def opened(self, out: Out) -> None:
        out.head = string((_TEXT if out.group is None else _GROUP) + out.dest.encode())
        out.padding = padding(self.body_bytes)

    def put(self, out: Out, number: int, pending: Pending) -> None:
        self._out.append(packet(_PUBLISH_QOS_1, out.head + self._packet_id((out, number)) + pending.tail))

    def _acked(self, packet_id: int) -> None:
        what = self._under_way.pop(packet_id, None)
        if what is not None:
            out, number = what
            self.was_sent(out, (number,), False)

    # Reading.

    def _published(self, body: bytes) -> None:
        size = 2 + int.from_bytes(body[:2], "big")
        topic, packet_id, content = body[2:size], body[size : size + 2], body[size + 2 :]
        self._out.append(b"\x40\x02" + packet_id)
        if topic.startswith(_RECEIPT):
            self._receipt(content)
        else:
            self._text(content)

    def _tell(self) -> None:
        for author, content in self._receipts():
            topic = string(_RECEIPT + author.user.encode())
            self._out.append(packet(_PUBLISH_QOS_1, topic + self._packet_id(None) + content))

    def ping(self) -> None:
        if self.online:
            self._out.append(b"\xc0\x00")
            self.flush()
