"""XMPP, as much of it as two people need who write to each other, with receipts (XEP-0184) and acks (XEP-0198).

Owns what is said to a server such as ejabberd. SENT is the server's ack of the stanza (XEP-0198: it is handled, that
is, passed on or kept); DELIVERED is the reader's receipt (XEP-0184), one for each text, as the specification has it.
A group is a room (XEP-0045), which whoever logs in joins. It shows its authors their own texts, too, and that is SENT
there: the ack says no more than that the room has something to do.
(slixmpp was tried: to write and read a stanza takes 23 µs of CPU, and a text has a receipt; all of it takes 19 here.)
"""

from __future__ import annotations

import base64
import re
from collections import deque

from load.people import Person
from load.spec import Account
from load.streams import Out, Pending
from load.wire import padding, read_head
from load.world import World

HOST = "localhost"
STREAM = f"<?xml version='1.0'?><stream:stream to='{HOST}' xmlns='jabber:client' " \
    "xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"  # fmt: skip
_SM = "urn:xmpp:sm:3"
_RECEIPTS = "urn:xmpp:receipts"
_BIND = "urn:ietf:params:xml:ns:xmpp-bind"
_ASK = f"<r xmlns='{_SM}'/>".encode()
_ASK_RECEIPT = f"</body><request xmlns='{_RECEIPTS}'/></message>".encode()
_ROOMS = f"conference.{HOST}"
_JOIN = "<x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x>"
_JOINED = re.compile(rb"<status code=['\"]110['\"]")
_BODY = re.compile(rb"<body>([^<]*)</body>")
_RECEIVED = re.compile(rb"<received [^>]*?id=['\"]([^'\"]*)['\"]")
_H = re.compile(rb"h=['\"](\d+)['\"]")


def cut(data: bytes) -> tuple[list[bytes], bytes]:
    """Whole elements below the stream's own, and what is left. Enough for a server that writes plain stanzas."""
    found: list[bytes] = []
    at = 0
    while True:
        begin = data.find(b"<", at)
        close = data.find(b">", begin)
        if begin < 0 or close < 0:
            return found, data[at:]
        head = data[begin : close + 1]
        name = re.split(rb"[\s/>]", head, maxsplit=1)[0]
        if head.startswith((b"<?", b"<stream:stream", b"</stream")) or head.endswith(b"/>"):
            end = close + 1
        else:
            tail = b"</" + name[1:] + b">"
            where = data.find(tail, close)
            if where < 0:
                return found, data[at:]
            end = where + len(tail)
        found.append(data[begin:end])
        at = end


class XmppPerson(Person):
    """A client with one resource; what comes while it is away is kept for it."""

    def __init__(self, account: Account, body_bytes: int, world: World, number: int) -> None:
        super().__init__(account.user, body_bytes, world, number)
        self.token = account.token
        self._data = b""
        self._authenticated = self._counts = False
        self._rooms = 0
        """Still to be joined."""
        self._unacked: deque[tuple[Out, int] | None] = deque()
        """Stanzas that the server has not acked; None is a receipt, or presence."""
        self._again: list[tuple[Out, int]] = []
        """What had no ack when the connection broke."""
        self._acked = 0
        self._handled = 0
        self._wrote = False

    def begin(self) -> None:
        self._data, self._acked, self._handled = b"", 0, 0
        self._authenticated = self._counts = False
        self._out.append(STREAM.encode())

    def received(self, data: bytes) -> None:
        stanzas, self._data = cut(self._data + data if self._data else data)
        for stanza in stanzas:
            self._stanza(stanza)

    def flush(self) -> None:
        if self._wrote and self.online:
            self._out.append(_ASK)
            self._wrote = False
        super().flush()

    def _stanza(self, stanza: bytes) -> None:
        if stanza.startswith(b"<message"):
            self._handled += 1
            self._message(stanza)
        elif stanza.startswith(b"<a "):
            self._server_has(stanza)
        elif stanza.startswith(b"<r "):
            self._out.append(f"<a xmlns='{_SM}' h='{self._handled}'/>".encode())
        elif stanza.startswith((b"<iq", b"<presence")):
            if not self._counts:
                self._log_in(stanza)
                return
            self._handled += 1
            if not self.online and stanza.startswith(b"<presence"):
                self._presence(stanza)
        else:
            self._log_in(stanza)

    def _log_in(self, stanza: bytes) -> None:
        """One step after the other."""
        if stanza.startswith(b"<stream:features"):
            if self._authenticated:
                self._say(f"<iq type='set' id='b'><bind xmlns='{_BIND}'><resource>load</resource></bind></iq>")
            else:
                secret = base64.b64encode(f"\0{self.user}\0{self.token}".encode()).decode()
                self._say(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>")
        elif stanza.startswith(b"<success"):
            self._authenticated = True
            self._say(STREAM)
        elif stanza.startswith(b"<iq") and b"jid" in stanza:
            self._say(f"<enable xmlns='{_SM}'/>")
        elif stanza.startswith(b"<enabled"):
            self._enabled()
        elif stanza.startswith((b"<failure", b"<failed", b"<stream:error", b"<iq")):
            self.turned_away(stanza.decode(errors="replace")[:300])

    def _enabled(self) -> None:
        self._counts = True
        self._again += [what for what in self._unacked if what is not None]
        self._unacked.clear()
        rooms = self.own_groups()
        self._rooms = len(rooms)
        for presence in (
            "<presence/>",
            *(f"<presence to='{id}@{_ROOMS}/{self.user}'>{_JOIN}</presence>" for id in rooms),
        ):
            # Presence is a stanza of ours, too, and the server counts it.
            self._unacked.append(None)
            self._say(presence)
        if not rooms:
            self._arrived()

    def _presence(self, stanza: bytes) -> None:
        """In a room, by the time that we join."""
        if b"type='error'" in stanza:
            self.world.error(stanza.decode(errors="replace")[:300])
            self.turned_away("a room lets nobody in")
        elif _JOINED.search(stanza):
            self._rooms -= 1
            if not self._rooms:
                self._arrived()

    def _arrived(self) -> None:
        self.welcomed()
        again, self._again = self._again, []
        for out, number in again:
            if number in out.open:
                self.world.counts.resent += 1
                self.put(out, number, out.open[number])
        self.send_backlog()

    def _say(self, text: str) -> None:
        self._out.append(text.encode())

    # Writing.

    def opened(self, out: Out) -> None:
        to, kind = (HOST, "chat") if out.group is None else (_ROOMS, "groupchat")
        out.head = f"<message to='{out.dest}@{to}' type='{kind}' id='{out.number}-".encode()
        out.padding = padding(self.body_bytes * 3 // 4)

    def put(self, out: Out, number: int, pending: Pending) -> None:
        body = base64.b64encode(pending.tail)
        ask = _ASK_RECEIPT if out.group is None else b"</body></message>"
        self._out.append(out.head + str(number).encode() + b"'><body>" + body + ask)
        self._unacked.append((out, number))
        self._wrote = True

    def _server_has(self, stanza: bytes) -> None:
        match = _H.search(stanza)
        if match is None:
            return
        while self._acked < int(match[1]) and self._unacked:
            self._acked += 1
            what = self._unacked.popleft()
            if what is not None and what[0].group is None:
                self.was_sent(what[0], (what[1],), False)

    # Reading.

    def _message(self, stanza: bytes) -> None:
        receipt = _RECEIVED.search(stanza)
        if receipt is not None:
            stream, _, number = receipt[1].decode().partition("-")
            out = self.outs.get(int(stream))
            if out is not None:
                self.was_delivered(out, (int(number),))
            return
        found = _BODY.search(stanza)
        if found is None:
            if b"type='error'" in stanza:
                self.world.error("a message came back as an error")
            return
        content = base64.b64decode(found[1])
        _, sequence, stream_number = read_head(content)
        if stream_number in self.outs:  # a room's, by this one
            self.was_sent(self.outs[stream_number], (sequence,), False)
            return
        heard = self.hears(stream_number.to_bytes(8, "little"))
        if heard is None:
            self.world.counts.foreign += 1
            return
        if heard.tally.has(sequence):
            self.world.counts.repeated_on_the_wire += 1
            return
        self.show(heard, sequence, content)
        if heard.author.group is not None:
            return
        author = heard.author.owner.user
        told = f"<received xmlns='{_RECEIPTS}' id='{stream_number}-{sequence}'/>"
        self._say(f"<message to='{author}@{HOST}' type='chat'>{told}</message>")
        self._unacked.append(None)

    def ping(self) -> None:
        if self.online:
            self._out.append(b" ")
            self.flush()
