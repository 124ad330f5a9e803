"""A bot and a sensor: the smallest client that loses nothing (docs/protocol.md, "A bot or a sensor").

    BOT_PASSWORD=… python examples/bot.py NAME [--api URL] [--key FILE] [--echo]

Sends each line `USER TEXT` of its standard input, prints what comes as `USER "TEXT"`, and ends when its input has and
all is SENT. With --echo it answers everybody instead, for ever. FILE keeps what makes its device the same over restarts.
"""

import argparse
import json
import os
import random
import secrets
import select
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from protocol.sparrow_pb2 import TEXT, Ack, Frame, Goodbye, Login, Message, Ping

FINAL = {Goodbye.REPLACED, Goodbye.LOGGED_OUT, Goodbye.DEVICE_REMOVED, Goodbye.ACCOUNT_DISABLED}
MAX_NAMES, MAX_FRAME, MAX_TEXT, SILENCE_S, GOOD_S = 100_000, 1 << 20, 60_000, 10.0, 60.0


class Bot:
    def __init__(self, user: str, password: str, api: str, key: str, echo: bool) -> None:
        self.user, self.password, self.api, self.key, self.echo = user, password, api, key, echo
        self.waiting: dict[str, deque[str]] = {}  # user -> texts that have no id yet
        self.flying: dict[str, Message] = {}  # user -> the one message in flight
        self.due: dict[str, tuple[float, float]] = {}  # user -> when to send it again, and the time after that
        self.streams: dict[str, tuple[int, int]] = {}  # user -> stream and last id
        self.seen: dict[tuple[str, str, int, int], None] = {}  # names, the oldest first
        self.start, self.tries, self.token, self.addresses = random.getrandbits(63) | 1, 0, "", [""]
        self.input, self.lines = b"", not echo

    def log_in(self) -> None:
        """Over HTTP. The same key makes it the same device each time."""
        body = json.dumps({"user": self.user, "password": self.password, "label": "bot"}).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": self.key}
        request = urllib.request.Request(f"{self.api}/v1/login", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code in (400, 401, 403, 404, 409):
                raise SystemExit(f"bot: {json.load(error).get('detail')}") from None
            raise  # not now
        self.token, self.addresses = found["access_token"], random.sample(found["connectors"], len(found["connectors"]))

    def run(self) -> None:
        failures = 0
        while self.lines or self.echo or self.flying or self.waiting:
            began, wait = time.monotonic(), 0.0
            try:
                wait = self.session()
            except (OSError, ValueError) as error:
                print(f"bot: {error}", file=sys.stderr)
            failures = 0 if time.monotonic() - began > GOOD_S else failures + 1
            if self.lines or self.echo or self.flying or self.waiting:
                time.sleep(max(random.uniform(0, min(60, 2 ** (failures - 1))), wait * random.uniform(1, 1.5)))

    def session(self) -> float:
        """One connection, from its beginning to its end; returns how long to wait at least before the next."""
        if not self.token:
            self.log_in()
        self.addresses.append(self.addresses.pop(0))
        host, _, port = self.addresses[0].removeprefix("tls://").rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=SILENCE_S) as plain:
            self.socket, self.buffer, self.counted = plain, b"", 0
            if self.addresses[0].startswith("tls://"):
                context = ssl.create_default_context()
                context.set_alpn_protocols(["sparrow/1"])
                self.socket = context.wrap_socket(plain, server_hostname=host.strip("[]"))
            self.tries += 1
            self.send(login=Login(token=self.token, client="bot 1", start=self.start, tries=self.tries))
            return self.talk()

    def talk(self) -> float:
        heartbeat_s, heard, self.window = 0.0, time.monotonic(), 0  # 0: not logged in yet
        while self.lines or self.echo or self.flying or self.waiting:
            now = time.monotonic()
            if now - heard > SILENCE_S + heartbeat_s:
                raise TimeoutError("the server is silent")
            if heartbeat_s and now - self.spoke > heartbeat_s:
                self.send(ping=Ping(n=1))
            ready = [self.socket, *([sys.stdin] if heartbeat_s and self.lines else [])]
            pending = isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()
            readable = [self.socket] if pending else select.select(ready, [], [], 0.5)[0]
            if sys.stdin in readable:
                self.read_lines()
            if self.socket in readable:
                before, heard = self.counted, time.monotonic()
                for frame in self.receive():
                    kind = frame.WhichOneof("kind")
                    if kind == "logged_in":
                        heartbeat_s = frame.logged_in.heartbeat_ms / 2000
                        self.window = frame.logged_in.max_unsettled_per_connection
                        self.due = dict.fromkeys(self.flying, (0.0, 3.0))
                    elif kind == "goodbye":
                        return self.goodbye(frame.goodbye)
                    else:
                        self.handle(kind, frame)
                if self.counted > before:  # all of it is printed, and may be forgotten by the server
                    self.send(ack=Ack(up_to=self.counted))
            if heartbeat_s:
                self.send_due()
        return 0.0

    def goodbye(self, told: Goodbye) -> float:
        if told.code in FINAL:
            raise SystemExit(f"bot: {told.text}")
        if told.code == Goodbye.BAD_TOKEN:
            self.token = ""
        return told.retry_after_ms / 1000

    def handle(self, kind: str | None, frame: Frame) -> None:
        if kind == "message":
            self.counted += 1
            self.show(frame.message)
        elif kind == "receipt" and not frame.receipt.sent:
            self.counted += 1  # DELIVERED, of which we make nothing
        elif kind == "receipt":
            for number in frame.receipt.ids:
                self.settled(frame.receipt.stream, number)
        elif kind == "failed":
            user = self.settled(frame.failed.stream, frame.failed.id, frame.failed.retry_after_ms)
            if user and not frame.failed.retry_after_ms:
                print(f"bot: not sent to {user}: {frame.failed.text}", file=sys.stderr)

    def show(self, message: Message) -> None:
        name = (message.from_id, message.from_device, message.stream, message.id)
        if name in self.seen or message.from_id == self.user or message.kind != TEXT:
            return
        self.seen[name] = None
        if len(self.seen) > MAX_NAMES:
            del self.seen[next(iter(self.seen))]
        text = message.body.decode(errors="replace")
        print(message.from_id, json.dumps(text, ensure_ascii=True), flush=True)
        if self.echo:
            self.waiting.setdefault(message.from_id, deque()).append(text)

    def read_lines(self) -> None:
        data = os.read(0, 65536)
        self.lines = bool(data)
        *lines, self.input = (self.input + data).split(b"\n")
        for line in lines:
            user, _, text = line.decode(errors="replace").partition(" ")
            if len(text.encode()) > MAX_TEXT:
                print(f"bot: a line to {user} is too long", file=sys.stderr)
            elif text:
                self.waiting.setdefault(user, deque()).append(text)

    def settled(self, stream: int, number: int, retry_after_ms: int = 0) -> str:
        """Of whom the message in flight was that this is about; it goes again later, or is done."""
        user = next((user for user, one in self.flying.items() if (one.stream, one.id) == (stream, number)), "")
        if user and retry_after_ms:
            self.due[user] = (time.monotonic() + retry_after_ms / 1000, self.due[user][1])
        elif user:
            del self.flying[user], self.due[user]
        return user

    def send_due(self) -> None:
        now = time.monotonic()
        free = [user for user in self.waiting if user not in self.flying]
        for user in free[: max(0, self.window - len(self.flying))]:
            stream, last = self.streams.get(user, (random.getrandbits(64) or 1, 0))
            self.streams[user], number = (stream, last + 1), last + 1
            text = self.waiting[user].popleft().encode()
            self.flying[user] = Message(stream=stream, id=number, settled=number, dest_id=user, kind=TEXT, body=text)
            self.due[user] = (0.0, 3.0)
            if not self.waiting[user]:
                del self.waiting[user]
        for user, (at, again_s) in self.due.items():
            if at <= now:
                self.send(message=self.flying[user])
                self.due[user] = (now + again_s, min(30.0, again_s * 2))

    def send(self, **frame: object) -> None:
        payload = Frame(**frame).SerializeToString()
        size, prefix = len(payload), b""
        while size > 127:
            prefix, size = prefix + bytes((size & 127 | 128,)), size >> 7
        self.socket.sendall(prefix + bytes((size,)) + payload)
        self.spoke = time.monotonic()

    def receive(self) -> list[Frame]:
        """The frames that one read has completed; one that is no frame is only counted, if it is a Message (R10)."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the connection is closed")
        self.buffer += data
        frames = []
        while True:
            size = at = 0
            while at < len(self.buffer) and self.buffer[at] > 127:
                size, at = size | (self.buffer[at] & 127) << 7 * at, at + 1
            if at == len(self.buffer):
                return frames
            size, at = size | self.buffer[at] << 7 * at, at + 1
            if size > MAX_FRAME:
                raise ValueError("the server sends what is no frame")
            if len(self.buffer) < at + size:
                return frames
            payload, self.buffer = self.buffer[at : at + size], self.buffer[at + size :]
            try:
                frames.append(Frame.FromString(payload))
            except Exception:
                self.counted += payload[:1] == b"\x12"


def main() -> None:
    parser = argparse.ArgumentParser(description="A bot and a sensor.")
    parser.add_argument("name")
    parser.add_argument("--api", default="http://127.0.0.1:7480")
    parser.add_argument("--key", type=Path, default=Path("bot.key"))
    parser.add_argument("--echo", action="store_true")
    options = parser.parse_args()
    if not options.key.exists():
        options.key.write_text(secrets.token_hex(16))
    Bot(options.name, os.environ["BOT_PASSWORD"], options.api, options.key.read_text(), options.echo).run()


if __name__ == "__main__":
    main()
