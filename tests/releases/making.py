"""What the present tree leaves behind as a release: everything that another release may meet.

Owns what is in it. Clocks, ids and keys are fixed, so that the same tree makes the same files.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import tempfile
from pathlib import Path

import argon2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from broker.core.state import Location
from broker.presence.swaps import encode_location
from client.journal import SqliteJournal
from fabric import records
from protocol.inbound import InboundStream
from protocol.outbound import OutboundStream, Outgoing
from protocol.sparrow_pb2 import FILE, READ, TEXT, About, Hint, Message, Receipt
from store import StoreSettings
from store.contacts import Change
from store.interface import COMMON, File, NewRow, RowKind
from store.sessions import SessionStart
from store.sqlite import SqliteStore
from tests.releases.batches import Json, encode
from tests.vectors import files as vectors
from userapi.tokens import RefreshClaims, TokenMinter

NOW_S = 1_764_072_000
NOW_MS = NOW_S * 1000
YEARS_S = 100 * 365 * 86_400
"""What is kept expires long after the release."""
PASSWORD = "correct horse"
SEED = "07" * 32
"""Of the key that signs the release's tokens. No secret: it signs nothing else."""
VECTORS = ("frames", "bad_frames", "streams")


def make(folder: Path) -> None:
    """Write all files of a release."""
    folder.mkdir(parents=True, exist_ok=True)
    _dump(folder / "batches.json", [{**batch, "hex": _hex(batch["records"])} for batch in batches()])
    _dump(folder / "presence.json", presence())
    _dump(folder / "vectors.json", {name: digests(name) for name in VECTORS})
    with tempfile.TemporaryDirectory() as scratch:
        _dump(folder / "tokens.json", _tokens(Path(scratch)))
        path = Path(scratch) / "store.db"
        asyncio.run(_fill_store(path))
        (folder / "store.sql").write_text(_sql(path))
        path = Path(scratch) / "journal.db"
        _fill_journal(path)
        (folder / "journal.sql").write_text(_sql(path))
    _dump(folder / "store.json", STORE)
    _dump(folder / "journal.json", JOURNAL)


def _dump(path: Path, value: Json) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def _hex(parsed: list[Json]) -> str:
    return records.batch(map(encode, parsed)).hex()


def digests(name: str) -> dict[str, str]:
    """Of each of the conformance vectors of a file, by its name."""
    return {
        vector["name"]: hashlib.sha256(json.dumps(vector, sort_keys=True).encode()).hexdigest()[:16]
        for vector in vectors.load(name)
    }


def _sql(path: Path) -> str:
    """A database as text."""
    connection = sqlite3.connect(path)
    try:
        marks = [
            (name, *connection.execute(f"PRAGMA {name}").fetchone()) for name in ("application_id", "user_version")
        ]
        lines = [*connection.iterdump(), *(f"PRAGMA {name} = {value};" for name, value in marks)]
    finally:
        connection.close()
    return "\n".join(lines) + "\n"


# Messages, as they lie in bodies.


def message(number: int, body: str, author: str = "alice/a1", dest: str = "bob", kind: int = TEXT) -> bytes:
    """One, as a connector has put it together."""
    user, _, device = author.partition("/")
    named = Message(stream=9, id=number, settled=1, dest_id=dest, kind=kind, body=body.encode())  # type: ignore[arg-type]
    return (
        named.SerializeToString()
        + Message(from_id=user, from_device=device).SerializeToString()
        + Message(stamp=NOW_MS << 20 | number).SerializeToString()
    )


def receipt(*ids: int) -> bytes:
    """DELIVERED of messages of alice/a1."""
    return Receipt(stream=9, ids=ids, delivered=True, from_device="a1").SerializeToString()


# Between the processes.

C1, C2, BROKER = 0xC1, 2**64 - 1, 0xB1
"""Incarnations."""
LEASE, SESSION = 77, 0x5E55


def batches() -> list[Json]:
    """Of every kind of record, both ways, and in every way in which a kind is used."""
    bob, hint = {"to": "bob/b1", "session": SESSION}, Hint(kind=Hint.FRIEND_ASKED, user_id="bob").SerializeToString()
    alice = b"alice/a1".hex()
    text, read = message(1, "hello").hex(), message(2, "", kind=READ).hex()
    copied = {**bob, "origin": C2, "body": text}
    return [
        {"name": "nothing", "from": "connector", "records": []},
        {
            "name": "what a connector says",
            "from": "connector",
            "records": [
                {"kind": "HEARTBEAT", "origin": C1, "attempt": LEASE},
                {"kind": "ONLINE", **bob, "attempt": LEASE},
                {"kind": "ONLINE", **bob, "attempt": LEASE, "flags": "AGAIN"},
                {"kind": "OFFLINE", **bob},
                {"kind": "ROUTE", "to": "bob", "by": alice, "attempt": 7, "session": SESSION, "body": text},
                {"kind": "ROUTE", "to": "bob", "by": alice, "attempt": 8, "flags": "QUIET|TRACED", "body": read},
                {"kind": "ROUTE", "to": "alice", "attempt": 1 << 63, "flags": "RECEIPT", "body": receipt(1).hex()},
                {"kind": "STORE", **copied, "attempt": 9, "index": 1, "count": 3, "flags": "OTHERS|TRACED"},
                {"kind": "OUTCOMES", "origin": C2, "outcomes": [[9, 1, 3, "DELIVERED|OTHERS_BIT"], [10, 0, 1, "SAFE"]]},
                {"kind": "PAGE", **bob, "attempt": 3, "count": 64, "flags": "FRESH"},
                {"kind": "PAGE", **bob, "attempt": 4, "count": 64, "by": "0001ff"},
                {"kind": "REMOVE", "to": "bob/b1", "keys": ["6b31", "00"]},
                {"kind": "NOTIFIED", **bob, "attempt": 12},
                {"kind": "EVICTED", "origin": C2, "attempt": SESSION},
            ],
        },
        {
            "name": "what a broker says",
            "from": "broker",
            "records": [
                {
                    "kind": "HEARTBEAT",
                    "origin": BROKER,
                    "attempt": LEASE,
                    "session": 0,
                    "flags": "UNWELL",
                    "members": [[BROKER, "tcp://10.0.0.5:7410"], [C2, "tcp://[::1]:7410"]],
                },
                {"kind": "ONLINE_REPLY", **bob, "attempt": 5, "flags": "OK"},
                *({"kind": "ONLINE_REPLY", **bob, "flags": flags} for flags in ("PREDECESSOR", "TAKEN", "AWAY")),
                {"kind": "ONLINE_REPLY", **bob, "flags": "NO_DEVICE"},
                {"kind": "COPY", **copied, "attempt": 9, "count": 1},
                {"kind": "COPY", **copied, "attempt": 9, "index": 1, "count": 3, "flags": "OWN|OTHERS|QUIET|TRACED"},
                {"kind": "COPY", **bob, "origin": C2, "count": 1, "flags": "RECEIPT", "body": receipt(1, 2).hex()},
                {
                    "kind": "OUTCOMES",
                    "origin": C1,
                    "outcomes": [
                        [7, 0, 0, state]
                        for state in ("UNAVAILABLE", "NO_SUCH_USER", "BLOCKED", "BLOCKS", "NOT_FRIEND", "SAFE")
                    ],
                },
                {"kind": "STORED", "session": SESSION, "attempt": 2},
                {
                    "kind": "ROWS",
                    "session": SESSION,
                    "attempt": 3,
                    "by": "0001ff",
                    "flags": "END",
                    "rows": [["6b31", "MESSAGE", text], ["6b32", "RECEIPT", receipt(5).hex()]],
                },
                {"kind": "ROWS", "session": SESSION, "attempt": 4, "flags": "FAILED"},
                {"kind": "NOTIFY", **bob, "attempt": 12},
                {"kind": "EVICT", **bob, "origin": C2, "attempt": 6},
                {"kind": "EVICT", **bob},
                {"kind": "EVICTED", "origin": C1, "attempt": SESSION},
                {"kind": "CLOSE", **bob, "flags": "LOGGED_OUT"},
                {"kind": "CLOSE", **bob, "flags": "DEVICE_REMOVED"},
                {"kind": "HINT", **bob, "body": hint.hex()},
            ],
        },
        {
            "name": "what the user API asks",
            "from": "userapi",
            "records": [
                {"kind": "CHANGED", "attempt": 1, "users": ["alice", "bob"]},
                {"kind": "WHERE", "attempt": 2, "users": ["bob"]},
                {"kind": "CLOSE", "attempt": 3, "to": "bob", "flags": "LOGGED_OUT"},
                {"kind": "CLOSE", "attempt": 4, "to": "bob/b1", "flags": "DEVICE_REMOVED"},
                {"kind": "HINT", "attempt": 5, "to": "bob", "body": hint.hex()},
            ],
        },
        {"name": "an answer", "from": "asked", "records": [{"kind": "ANSWER", "attempt": 2, "body": "01"}]},
        {"name": "no", "from": "asked", "records": [{"kind": "ANSWER", "attempt": 2, "flags": "FAILED"}]},
    ]


def presence() -> list[Json]:
    """Keys of etcd without the prefix, their values, and what they mean."""
    location = Location(C2, 7)
    return [
        {"key": "place/bob/b1", "value": encode_location(location).decode(), "place": ["bob", "b1", *location]},
        {"key": f"broker/{BROKER:016x}", "value": "tcp://10.0.0.5:7410", "broker": [BROKER, "tcp://10.0.0.5:7410"]},
        {"key": "changed/bob", "value": "", "changed": "bob"},
        {"key": "mark", "value": ""},
    ]


def minter(scratch: Path) -> TokenMinter:
    """Who made the release's tokens."""
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SEED))
    path = scratch / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return TokenMinter(path, lifetime_s=YEARS_S)


def _tokens(scratch: Path) -> Json:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SEED)).public_key()
    token, expires = minter(scratch).mint("bob", "b1", NOW_S, "login-of-b1")
    claims = RefreshClaims("bob", "b1", "login-of-b1", 2)
    return {
        "seed": SEED,
        "public_key": key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        "access": token,
        "means": {"user": "bob", "device": "b1", "login": "login-of-b1", "expires": expires},
        "refresh": minter(scratch).refresh_token(claims),
        "refresh_means": {"user": "bob", "device": "b1", "login": "login-of-b1", "generation": 2},
    }


# What is kept.

FILE_ID, FILE_BYTES = "6f1d5a0c3b9e4f7288d0c1a2b3e4f506", b"holiday"
STORE: Json = {
    "password": PASSWORD,
    "created_ms": {"alice": NOW_MS, "bob": NOW_MS, "carol": NOW_MS},
    "devices": {"alice": ["a1"], "bob": ["b1", "b2"], "carol": []},
    "removed": ["bob", "b3"],
    "display_name": ["bob", "Bob"],
    "session": ["bob", "b1", SESSION],
    "friends": ["alice", "bob"],
    "blocks": ["bob", "carol"],
    "seen_ms": ["alice", NOW_MS],
    "login": ["bob", "b1", "login-of-b1", 2],
    "file": {
        "file": FILE_ID,
        "owner": "alice",
        "readers": ["bob"],
        "content": FILE_BYTES.decode(),
        "sha256": hashlib.sha256(FILE_BYTES).hexdigest(),
    },
    "waiting": {"bob/b1": ["for the first device", "for the first device, too", "for whichever comes first"]},
    "receipts": {"alice/a1": [[9, 1], [9, 2]]},
}
"""What `_fill_store` has put there; what waits is named by its body."""


async def _fill_store(path: Path) -> None:
    salted = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD, salt=bytes(16))
    settings = StoreSettings(path=str(path), inbox_ttl_days=YEARS_S / 86_400, purge_interval_s=0.0)
    async with SqliteStore(settings, clock=lambda: float(NOW_S)) as store:
        for user in ("alice", "bob", "carol"):
            await store.create_account(user, salted)
        for user, device in (("alice", "a1"), ("bob", "b1"), ("bob", "b2"), ("bob", "b3")):
            await store.add_device(user, device, f"{user}'s {device}")
        await store.remove_device("bob", "b3")
        await store.change_profile("bob", "Bob")
        await store.begin_sessions([SessionStart("bob", "b1", SESSION)])
        await store.begin_login("bob", "b1", "login-of-b1")
        await store.refresh_login("bob", "b1", "login-of-b1", 1, 60_000, YEARS_S * 1000)
        await store.change_contact("alice", "bob", Change.ASK)
        await store.change_contact("bob", "alice", Change.ACCEPT)
        await store.change_contact("bob", "carol", Change.BLOCK)
        await store.saw({"alice": NOW_MS})
        expires_ms = NOW_MS + YEARS_S * 1000
        sha256 = STORE["file"]["sha256"]
        file = File(
            FILE_ID,
            "alice",
            "holiday.jpg",
            "image/jpeg",
            len(FILE_BYTES),
            NOW_MS,
            expires_ms,
            frozenset({"bob"}),
            sha256,
        )
        await store.create_file(file)
        await store.append_file(file, 0, FILE_BYTES)
        await store.finish_file(FILE_ID, sha256)
        await store.append(
            [
                NewRow("bob", "b1", RowKind.MESSAGE, message(1, "for the first device")),
                NewRow("bob", "b1", RowKind.MESSAGE, message(2, "for the first device, too", kind=FILE)),
                NewRow("bob", COMMON, RowKind.MESSAGE, message(1, "for whichever comes first", author="carol/c1")),
                NewRow("alice", "a1", RowKind.RECEIPT, receipt(1, 2)),
            ]
        )


JOURNAL: Json = {
    "session": SESSION,
    "session_open": False,
    "outbound": [[2**64 - 1, "bob", 4, False], [5, "carol", 1, True]],
    "outgoing": [[2**64 - 1, 2, TEXT, "second", None], [2**64 - 1, 3, READ, "", [1, 2]]],
    "drafts": [[4, "dave", TEXT, "not numbered"]],
    "inbound": [["bob", "b1", 2**64 - 2, 7, 5, [3, 4]]],
    "parked": ["came too early"],
    "untaken": [["shown to nobody yet", False]],
    "values": {"device": "a1"},
    "history": ["second"],
}
"""What `_fill_journal` has put there; messages that came are named by their bodies."""


def _fill_journal(path: Path) -> None:
    journal = SqliteJournal(path, history=100)
    assert journal.history is not None
    journal.history.user, journal.history._now_ms = "alice", lambda: NOW_MS
    bob, carol = (OutboundStream(number, dest, next_id, gone) for number, dest, next_id, gone in JOURNAL["outbound"])
    journal.put_session(SESSION, False)
    journal.put_outbound(bob)
    journal.put_outbound(carol)
    journal.put_outgoing(Outgoing("bob", TEXT, b"second", None, bob, 2))
    journal.put_outgoing(Outgoing("bob", READ, b"", About(from_device="b1", stream=3, ids=[1, 2]), bob, 3))
    journal.put_inbound(("bob", "b1", 2**64 - 2), InboundStream(7, 5, frozenset({3, 4})))
    base = {"stream": 2**64 - 2, "settled": 5, "from_id": "bob", "from_device": "b1", "dest_id": "alice", "kind": TEXT}
    journal.park(Message(**base, id=9, body=b"came too early"))
    journal.show(Message(**base, id=6, body=b"shown to nobody yet"), False)
    journal.put_value("device", "a1")
    journal.commit()
    journal.history = None  # a draft is in the history as well, but once is enough here
    journal.put_outgoing(Outgoing("dave", TEXT, b"not numbered", draft=4))
    journal.commit()
    journal.close()
